// Says whether the page shows what is so now.

import { timeOfDay } from "./amounts.js";
import { byId, hide, set, show } from "./elements.js";

const banner = byId("lost");
const live = byId("live");

export class Liveness {
  #lost = new Map();

  /** `what` is lost, such as the stream of events; `reason` is an error. */
  lost(what, reason) {
    const since = this.#lost.get(what)?.since ?? new Date();
    this.#lost.set(what, { since, reason: reason.message });
    this.#show();
  }

  back(what) {
    this.#lost.delete(what);
    this.#show();
  }

  #show() {
    const isLive = this.#lost.size === 0;
    const lines = [...this.#lost].map(
      ([what, { since, reason }]) => `${what} lost since ${timeOfDay(since)}: ${reason}.`,
    );
    hide(banner, isLive);
    show(banner, isLive ? "" : [...lines, "It is tried again by itself."].join(" "));
    show(live, isLive ? "Live" : "Lost");
    set(live, "data-live", isLive ? "yes" : "no");
    set(document.body, "data-live", isLive ? "yes" : "no");
  }
}
