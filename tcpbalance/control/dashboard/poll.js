// Asks again and again, one question at a time, and more rarely where answers take long.

const SHARE = 4; // Of the time, an answer may take a fourth.

const LEAST_PAUSE = 200; // Milliseconds between two questions.

const HURRY_EVERY = 1_000; // Milliseconds at least between two questions that are wanted at once.

const AFTER_FAILURE = 2_000; // Milliseconds, also where it is asked more rarely otherwise.

export class Poll {
  #interval;
  #ask;
  #on;
  #timer = null;
  #due = Infinity; // When it is asked next.
  #notBefore = 0; // Also what is wanted at once leaves the balancer half of the time.
  #hurried = -Infinity; // When it was asked at once.
  #isHurry = false; // Whether the next question is one that is wanted at once.
  #round = null; // The one that goes on; null while nothing is wanted.
  #isBusy = false;
  #isWantedSoon = false;

  /** Milliseconds; what asks; and `on.answer`, called with what came, and `on.failure`. */
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
    this.#isBusy = this.#isWantedSoon = this.#isHurry = false;
  }

  /** Asks at once, if anything is wanted at all; where that is said often, once a second. */
  now() {
    if (this.#isBusy) {
      this.#isWantedSoon = true;
    } else if (this.#round !== null) {
      const soonest = Math.max(performance.now(), this.#notBefore, this.#hurried + HURRY_EVERY);
      if (soonest < this.#due) {
        this.#isHurry = true;
        this.#askAt(soonest);
      }
    }
  }

  #askAt(time) {
    const round = this.#round;
    this.#due = time;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(round), time - performance.now());
  }

  async #run(round) {
    this.#isBusy = true;
    this.#isWantedSoon = false;
    const began = performance.now();
    if (this.#isHurry) {
      this.#hurried = began;
      this.#isHurry = false;
    }
    let pause = this.#interval;
    try {
      const answer = await this.#ask();
      if (round !== this.#round) {
        return;
      }
      this.#on.answer(answer);
    } catch (error) {
      if (round !== this.#round) {
        return;
      }
      pause = AFTER_FAILURE;
      this.#on.failure(error);
    }
    // What was called may have stopped it.
    if (round !== this.#round) {
      return;
    }
    this.#isBusy = false;
    const now = performance.now();
    this.#notBefore = now + Math.max(LEAST_PAUSE, now - began);
    this.#askAt(now + Math.max(pause, SHARE * (now - began)));
    if (this.#isWantedSoon) {
      this.now();
    }
  }
}
