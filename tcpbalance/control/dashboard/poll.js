// Asks again and again, one question at a time, and more rarely where answers take long.

const SHARE = 4; // Of the time, an answer may take a fourth.

const LEAST_PAUSE = 200; // Milliseconds between two questions, also where many are wanted at once.

const AFTER_FAILURE = 2_000; // Milliseconds, at least.

export class Poll {
  #interval;
  #ask;
  #on;
  #timer = null;
  #began = 0;
  #round = null; // The one that goes on; null while nothing is wanted.
  #isBusy = false;
  #isWantedSoon = false;

  /**
   * Milliseconds; what asks; and `on.answer`, called with what came and when it was asked for, and `on.failure`.
   */
  constructor(interval, ask, on) {
    this.#interval = interval;
    this.#ask = ask;
    this.#on = on;
  }

  start() {
    if (this.#round === null) {
      this.#round = {};
      this.#run(this.#round);
    }
  }

  stop() {
    clearTimeout(this.#timer);
    this.#round = null;
    this.#isBusy = this.#isWantedSoon = false;
  }

  /** Asks at once, if anything is wanted at all; where that is said often, not each time. */
  now() {
    if (this.#isBusy) {
      this.#isWantedSoon = true;
    } else if (this.#round !== null) {
      this.#later(LEAST_PAUSE - (performance.now() - this.#began));
    }
  }

  #later(milliseconds) {
    const round = this.#round;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(round), milliseconds);
  }

  async #run(round) {
    this.#isBusy = true;
    this.#isWantedSoon = false;
    const began = (this.#began = performance.now());
    let pause = this.#interval;
    try {
      const answer = await this.#ask();
      if (round !== this.#round) {
        return;
      }
      this.#on.answer(answer, (began + performance.now()) / 2);
    } catch (error) {
      if (round !== this.#round) {
        return;
      }
      pause = Math.max(pause, AFTER_FAILURE);
      this.#on.failure(error);
    }
    // What was called may have stopped it.
    if (round !== this.#round) {
      return;
    }
    this.#isBusy = false;
    const took = performance.now() - began;
    this.#later(this.#isWantedSoon ? Math.max(LEAST_PAUSE, took) : Math.max(pause, SHARE * took));
  }
}
