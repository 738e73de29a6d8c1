// What an operator has set of a backend: its state, and how long its open sessions may go on.

const SAME_DEADLINE = 2; // Seconds between two deadlines that are the same: answers take their time.

export class AdminState {
  #left;
  #at = performance.now(); // Not by this machine's wall clock.

  /** Takes what the API has just answered of a backend. */
  constructor({ admin_state: name, drain_deadline: left }) {
    this.name = name;
    this.#left = left;
  }

  /** Seconds until its sessions are ended; null for no limit. */
  get left() {
    return this.#left === null ? null : Math.max(0, this.#left - (performance.now() - this.#at) / 1_000);
  }

  /** Whether another look at the backend shows the same. */
  isSameAs(other) {
    const [one, two] = [this.left, other.left];
    const isSameDeadline = one === null || two === null ? one === two : Math.abs(one - two) <= SAME_DEADLINE;
    return this.name === other.name && isSameDeadline;
  }

  /** The change that leads to it. */
  get change() {
    return { state: this.name, ...(this.name !== "ready" && { deadline: this.left }) };
  }
}
