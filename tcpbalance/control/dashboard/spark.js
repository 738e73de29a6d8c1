// A minute of history, small beside a row: connections as a line, errors as marks.

import { rate } from "./amounts.js";
import { areaUnder, line, ticks } from "./drawing.js";
import { set } from "./elements.js";

const WIDTH = 120;
const HEIGHT = 24;

export class Spark {
  #svg;
  #area;
  #line;
  #ticks;
  #isSeen = false;
  #draw = () => {};

  constructor(svg) {
    this.#svg = svg;
    [this.#area, this.#line, this.#ticks] = svg.children;
    seen.watch(svg, (isSeen) => {
      this.#isSeen = isSeen;
      if (isSeen) {
        this.#draw();
      }
    });
  }

  /** `max` is at the top. */
  show(connections, errors, now, max) {
    const words = `${rate(connections.max(now))} connections and ${rate(errors.max(now))} errors a second`;
    set(this.#svg, "aria-label", `Last minute: at most ${words}`);
    // Of hundreds of rows, a few are to be seen.
    this.#draw = () => {
      const drawn = line(connections, now, max, WIDTH, HEIGHT);
      set(this.#line, "d", drawn);
      set(this.#area, "d", areaUnder(drawn, HEIGHT));
      set(this.#ticks, "d", ticks(errors, now, WIDTH, HEIGHT));
    };
    if (this.#isSeen) {
      this.#draw();
    }
  }
}

/** Notices which elements are on the screen, or near. */
const seen = {
  calls: new WeakMap(),
  observer: new IntersectionObserver(
    (entries) => entries.forEach((entry) => seen.calls.get(entry.target)?.(entry.isIntersecting)),
    { rootMargin: "200px" },
  ),
  watch(element, call) {
    this.calls.set(element, call);
    this.observer.observe(element);
  },
};
