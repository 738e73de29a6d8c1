// Asks again and again while a part of the page is unfolded.

import { Poll } from "./poll.js";

export class FoldedPoll {
  #fold;
  #poll;
  #isWanted = false;

  /** `fold` is the element that unfolds; for the others see `Poll`. */
  constructor(fold, interval, ask, on) {
    this.#fold = fold;
    this.#poll = new Poll(interval, ask, on);
    fold.addEventListener("toggle", () => this.#run());
  }

  start() {
    this.#isWanted = true;
    this.#run();
  }

  stop() {
    this.#isWanted = false;
    this.#run();
  }

  /** Asks at once, if it is unfolded. */
  now() {
    this.#poll.now();
  }

  #run() {
    if (this.#isWanted && this.#fold.open) {
      this.#poll.start();
    } else {
      this.#poll.stop();
    }
  }
}
