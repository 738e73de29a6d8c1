// A chart of two values over the last minute.

import { areaUnder, line, roundedUp } from "./drawing.js";
import { partsOf, set, show } from "./elements.js";

const WIDTH = 600;
const HEIGHT = 120;

export class Chart {
  #parts;
  #svg;
  #word;
  #title;

  /** `word` writes a value. */
  constructor(figure, word) {
    this.#parts = partsOf(figure);
    this.#svg = figure.querySelector("svg");
    this.#title = figure.querySelector("h3").textContent;
    this.#word = word;
  }

  /** Each value has a name, its rate now and its history. */
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
    const rates = [first, second].map(({ name, rate }) => `${this.#word(rate)} ${name}`).join(", ");
    set(this.#svg, "aria-label", `${this.#title}: now ${rates}; at most ${this.#word(max)} in the last minute`);
  }
}
