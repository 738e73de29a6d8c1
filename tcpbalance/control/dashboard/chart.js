// A chart of two values over the last minute.

import { areaUnder, line, roundedUp } from "./drawing.js";
import { made, partsOf, set, show } from "./elements.js";

const WIDTH = 600;
const HEIGHT = 120;

export class Chart {
  element = made("chart-template");
  #parts = partsOf(this.element);
  #title;
  #names;
  #word;

  /** `names` are those of the two values, and `word` writes a value. */
  constructor(title, names, word) {
    this.#title = title;
    this.#names = names;
    this.#word = word;
    const parts = this.#parts;
    set(this.element, "aria-label", title);
    show(parts.title, title);
    show(parts["first-name"], names[0]);
    show(parts["second-name"], names[1]);
    [parts.first, parts.second].forEach((part) => show(part, word(null)));
  }

  /** Each value has its rate now and its history. */
  show(first, second, now) {
    const parts = this.#parts;
    const max = Math.max(first.history.max(now), second.history.max(now));
    const top = roundedUp(max);
    const drawn = line(first.history, now, top, WIDTH, HEIGHT);
    set(parts["first-line"], "d", drawn);
    set(parts["first-area"], "d", areaUnder(drawn, HEIGHT));
    set(parts["second-line"], "d", line(second.history, now, top, WIDTH, HEIGHT));
    show(parts.first, this.#word(first.rate));
    show(parts.second, this.#word(second.rate));
    show(parts.top, this.#word(top));
    const rates = [first, second].map(({ rate }, place) => `${this.#word(rate)} ${this.#names[place]}`).join(", ");
    set(parts.plot, "aria-label", `${this.#title}: now ${rates}; at most ${this.#word(max)} in the last minute`);
  }
}
