// Events in words.

import { span, whole } from "./amounts.js";

const TONES = {
  backend_down: "bad",
  backend_ejected: "bad",
  reload_refused: "bad",
  backend_up: "good",
  backend_readmitted: "good",
  overload_begins: "warning",
  overload_ends: "good",
  ban: "warning",
  missed: "warning",
};

const SUBJECTS = ["pool", "backend", "frontend", "worker", "client"];

/** Keys that are shown already, or that say the same in another way. */
const LEFT_OUT = new Set(["number", "time", "kind", "address", ...SUBJECTS]);

/** How some keys are worded that would not be clear, or say nothing new, as they are. */
const PHRASES = {
  cause: (text) => text,
  summary: (text) => text,
  state: (state) => `now ${state}`,
  seconds: (seconds) => `for ${span(seconds)}`,
  count: (count) => (count > 1 ? `with ${whole(count - 1)} more` : ""),
};

export function toneOf({ kind, cause }) {
  // A worker that has been replaced has ended without a cause.
  return kind === "worker_ended" && cause ? "bad" : (TONES[kind] ?? "plain");
}

/** Words what an event is about, and what more it says: an event of a kind that is not known, too. */
export function wordOf(event) {
  const about = event.backend
    ? [`${event.pool}/${event.backend}`]
    : SUBJECTS.filter((name) => name in event).map((name) => `${name} ${event[name]}`);
  const more = Object.entries(event)
    .filter(([name, value]) => !LEFT_OUT.has(name) && value !== "" && value !== null)
    .map(([name, value]) => PHRASES[name]?.(value) ?? `${name} ${value}`);
  return [...about, ...more].filter(Boolean).join(", ");
}
