// The states of backends: how many are in which.

import { whole } from "./amounts.js";

/** From the one that needs an operator to the one that does not. */
const STATES = ["down", "ejected", "maintenance", "draining", "up"];

/** Counts backends by their states: 2 down, 198 up. */
export function statesOf(backends) {
  return STATES.map((state) => [state, backends.filter((backend) => backend.state === state).length])
    .filter(([, count]) => count > 0)
    .map(([state, count]) => `${whole(count)} ${state}`)
    .join(", ");
}

export function upOf(backends) {
  return backends.filter((backend) => backend.state === "up").length;
}

/** Puts those that are not up before the others, and leaves the order as it is otherwise. */
export function urgentFirst(backends) {
  return backends.toSorted((one, other) => (one.state === "up") - (other.state === "up"));
}
