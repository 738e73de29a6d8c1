// Says whether the page shows what is so now.

import { span, timeOfDay } from "./amounts.js";
import { byId, hide, set, show } from "./elements.js";

const banner = byId("lost");
const live = byId("live");

const FRESH_FOR = 3_000; // Milliseconds that figures are those of now.

export class Liveness {
  #lost = new Map();
  #answered = null; // When the last figures came; null until they come.

  constructor() {
    setInterval(() => this.#answered !== null && this.#show(), 1_000);
  }

  /** Figures have come. */
  answered() {
    this.#answered = performance.now();
    this.#show();
  }

  /** What is shown says nothing of now, until figures come. */
  connecting() {
    this.#answered = null;
    this.#lost.clear();
    this.#show();
  }

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
    const lines = [...this.#lost].map(
      ([what, { since, reason }]) => `${what} lost since ${timeOfDay(since)}: ${reason}.`,
    );
    const word = this.#word();
    const isLive = word === "Live" ? "yes" : "no";
    hide(banner, lines.length === 0);
    show(banner, lines.length === 0 ? "" : [...lines, "It is tried again by itself."].join(" "));
    show(live, word);
    set(live, "data-live", isLive);
    set(document.body, "data-live", isLive);
  }

  #word() {
    if (this.#lost.size > 0) {
      return "Lost";
    }
    if (this.#answered === null) {
      return "Connecting";
    }
    const age = performance.now() - this.#answered;
    return age <= FRESH_FOR ? "Live" : `${span(age / 1_000)} old`;
  }
}
