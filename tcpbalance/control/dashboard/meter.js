// What counters say of the last second and the last minute.

export const MINUTE = 60_000; // Milliseconds.

const POINTS = 60;

const LEAST_INTERVAL = 900; // Milliseconds: over less, one connection would look like many a second.

const GAP = 10_000; // Milliseconds after which what was before says nothing of what is now.

/** The last points of a value, the oldest first. */
export class History {
  #points = [];

  add(at, value) {
    this.#points.push({ at, value });
    if (this.#points.length > POINTS) {
      this.#points.shift();
    }
  }

  clear() {
    this.#points = [];
  }

  /** Those of the minute before a time. */
  since(now) {
    return this.#points.filter((point) => now - point.at <= MINUTE);
  }

  max(now) {
    return Math.max(0, ...this.since(now).map((point) => point.value));
  }
}

/** Makes rates of counters that only grow, and keeps them for a minute. */
export class Meter {
  #before = null;
  rates = {}; // By name, a second; null while they are not known.
  history = {}; // By name.

  constructor(names) {
    for (const name of names) {
      this.rates[name] = null;
      this.history[name] = new History();
    }
  }

  /** Takes what has been counted until a time of the balancer, by name. */
  note(counts, at) {
    const before = this.#before;
    if (before === null || at < before.at || at - before.at > GAP || shrinks(before.counts, counts)) {
      this.#begin(counts, at);
    } else if (at - before.at >= LEAST_INTERVAL) {
      const seconds = (at - before.at) / 1_000;
      for (const name of Object.keys(this.rates)) {
        this.rates[name] = (counts[name] - before.counts[name]) / seconds;
        this.history[name].add(at, this.rates[name]);
      }
      this.#before = { counts, at };
    }
  }

  #begin(counts, at) {
    this.#before = { counts, at };
    for (const name of Object.keys(this.rates)) {
      this.rates[name] = null;
      this.history[name].clear();
    }
  }
}

/** Whether the balancer has begun to count anew. */
function shrinks(before, now) {
  return Object.keys(before).some((name) => now[name] < before[name]);
}

/** Adds up those counters of a table whose names have a label behind a name. */
export function sumOf(counters, name) {
  let sum = 0;
  for (const key in counters) {
    if (key.startsWith(`${name}.`)) {
      sum += counters[key];
    }
  }
  return sum;
}
