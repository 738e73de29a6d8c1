// The whole balancer: its figures of now, and the charts of the last minute.

import { byteRate, counted, rate, requestRate, whole } from "./amounts.js";
import { Chart } from "./chart.js";
import { hasRequests, queueOf, sessionsOf, TOTAL_COUNTS, totalCounts } from "./counts.js";
import { byId, set, show } from "./elements.js";
import { Meter } from "./meter.js";
import { statesOf, upOf } from "./states.js";

export class Overview {
  #meter = new Meter([...TOTAL_COUNTS, "away"]);
  #connections = new Chart("Connections per second", ["accepted", "turned away"], rate);
  #throughput = new Chart("Throughput", ["from backends", "from clients"], byteRate);

  constructor() {
    byId("events-card").before(this.#connections.element, this.#throughput.element);
  }

  update(view, at) {
    const counts = totalCounts(view);
    this.#meter.note({ ...counts, away: counts.refused + counts.unserved }, at);
    this.#showFigures(view, counts);
    const value = (key) => ({ rate: this.#meter.rates[key], history: this.#meter.history[key] });
    this.#connections.show(value("connections"), value("away"), at);
    this.#throughput.show(value("out"), value("in"), at);
  }

  #showFigures({ frontends, pools }, counts) {
    const { rates } = this.#meter;
    const backends = pools.flatMap((pool) => pool.backends);
    const sum = (those, amount) => those.reduce((total, each) => total + amount(each), 0);
    show(byId("total-sessions"), whole(sum(frontends, sessionsOf)));
    show(byId("total-frontends"), `at ${counted(frontends.length, "frontend")}`);
    show(byId("total-connections"), rate(rates.connections));
    const requests = frontends.some(hasRequests) ? `${requestRate(rates.requests)}, ` : "";
    show(byId("total-refused"), `${requests}${rate(rates.refused)} refused/s`);
    show(byId("total-queue"), whole(sum(pools, queueOf)));
    show(byId("total-unqueued"), `${whole(counts.unqueued)} timed out or full`);
    show(byId("total-unserved"), rate(rates.unserved));
    show(byId("total-errors"), `${rate(rates.errors)} backend errors/s`);
    show(byId("total-backends"), `${whole(upOf(backends))} of ${whole(backends.length)}`);
    show(byId("total-states"), statesOf(backends.filter(({ state }) => state !== "up")) || "all of them");
    mark("tile-unserved", rates.unserved > 0 ? "bad" : "");
    mark("tile-backends", backends.some(({ state }) => ["down", "ejected"].includes(state)) ? "bad" : "");
  }
}

function mark(id, tone) {
  set(byId(id), "data-tone", tone);
}
