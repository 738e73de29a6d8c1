// The frontends, a row each.

import { byteRate, rate, requestRate, whole } from "./amounts.js";
import { countsOfFrontend, FRONTEND_COUNTS, hasRequests, sessionsOf } from "./counts.js";
import { byId, hide, made, partsOf, Rows, set, show } from "./elements.js";
import { Meter } from "./meter.js";
import { Spark } from "./spark.js";

export class Frontends {
  #rows = new Rows(byId("frontends"), ({ name }) => name, () => new FrontendRow());

  update(frontends, at) {
    this.#rows.update(frontends, at);
    const rows = [...this.#rows];
    const max = Math.max(1, ...rows.map((row) => row.history.max(at)));
    rows.forEach((row) => row.draw(at, max));
  }
}

class FrontendRow {
  element = made("frontend-template");
  meter = new Meter(FRONTEND_COUNTS);
  history = null; // What is drawn: of requests, where there are any.
  #parts = partsOf(this.element);
  #spark = new Spark(this.#parts.spark);

  update(frontend, at) {
    const parts = this.#parts;
    this.meter.note(countsOfFrontend(frontend), at);
    const { rates } = this.meter;
    show(parts.name, frontend.name);
    show(parts.listen, frontend.listen.join(", "));
    hide(parts.tls, !frontend.tls);
    show(parts.pools, frontend.pools.join(", "));
    show(parts.sessions, whole(sessionsOf(frontend)));
    show(parts.connections, rate(rates.connections));
    show(parts.requests, hasRequests(frontend) ? requestRate(rates.requests) : "");
    this.history = this.meter.history[hasRequests(frontend) ? "requests" : "connections"];
    show(parts.refused, rate(rates.refused));
    set(parts.refused, "data-tone", rates.refused > 0 ? "warning" : "");
    show(parts.unserved, rate(rates.unserved));
    set(parts.unserved, "data-tone", rates.unserved > 0 ? "bad" : "");
    show(parts.bytes, `${byteRate(rates.in)}, ${byteRate(rates.out)}`);
  }

  draw(at, max) {
    this.#spark.show(this.history, this.meter.history.unserved, at, max);
  }
}
