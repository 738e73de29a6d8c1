// What has happened lately, the latest first.

import { moment } from "./amounts.js";
import { byId, hide, made, partsOf, set, show } from "./elements.js";
import { toneOf, wordOf } from "./event_words.js";

const MAX_SHOWN = 100;

const list = byId("events");

export class EventList {
  #waiting = [];

  /** Shows an event, together with the others of this moment. */
  add(event) {
    if (this.#waiting.length === 0) {
      // Not before the next frame, of which there is none while the page is not seen.
      requestAnimationFrame(() => this.#show());
    }
    this.#waiting.push(event);
    if (this.#waiting.length > MAX_SHOWN) {
      this.#waiting.shift();
    }
  }

  #show() {
    const made = this.#waiting.map(lineOf).reverse();
    this.#waiting = [];
    list.prepend(...made);
    while (list.childElementCount > MAX_SHOWN) {
      list.lastElementChild.remove();
    }
    hide(byId("no-events"), true);
  }
}

function lineOf(event) {
  const line = made("event-template");
  const parts = partsOf(line);
  show(parts.time, moment(event.time));
  set(parts.time, "datetime", event.time);
  show(parts.kind, event.kind.replaceAll("_", " "));
  set(parts.kind, "data-tone", toneOf(event));
  show(parts.text, wordOf(event));
  return line;
}
