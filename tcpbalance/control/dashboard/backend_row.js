// One backend: its figures, and what can be changed of it.

import { byteRate, rate, requestRate, span, whole } from "./amounts.js";
import { BACKEND_COUNTS, countsOfBackend, hasRequests, sessionsOf } from "./counts.js";
import { hide, made, partsOf, set, show } from "./elements.js";
import { Meter } from "./meter.js";
import { Spark } from "./spark.js";

/** The administrative states that two buttons lead to, from each; and their words. */
const STATES_FROM = {
  ready: ["drain", "maintenance"],
  drain: ["ready", "maintenance"],
  maintenance: ["ready", "drain"],
};

const WORDS = { ready: "Ready", drain: "Drain", maintenance: "Maintenance" };

export class BackendRow {
  element = made("backend-template");
  meter = new Meter(BACKEND_COUNTS);
  history = null; // What is drawn: of requests, where there are any.
  text = ""; // What a filter looks at.
  #parts = partsOf(this.element);
  #spark = new Spark(this.#parts.spark);
  #acts;
  #pool;
  #backend;

  /** `acts` change it; null where nothing may be changed. */
  constructor(acts, onSessions) {
    this.#acts = acts;
    const parts = this.#parts;
    parts.sessions.addEventListener("click", () => onSessions(this.#pool.name, this.#backend.name));
    if (acts === null) {
      parts.acts.remove();
      return;
    }
    const stateOf = (place) => STATES_FROM[this.#backend.admin_state][place];
    const changeState = (place) => acts.changeState(this.#pool, this.#backend, stateOf(place));
    parts["first-state"].addEventListener("click", () => changeState(0));
    parts["second-state"].addEventListener("click", () => changeState(1));
    parts["change-weight"].addEventListener("click", () => acts.changeWeight(this.#pool, this.#backend));
  }

  update(backend, pool, at) {
    this.#pool = pool;
    this.#backend = backend;
    this.text = `${backend.name} ${backend.address} ${backend.state} ${backend.cause}`.toLowerCase();
    this.meter.note(countsOfBackend(backend), at);
    this.#showState(backend);
    this.#showFigures(backend);
    if (this.#acts !== null) {
      this.#nameButtons(backend, pool);
    }
  }

  #showState(backend) {
    const parts = this.#parts;
    show(parts.name, backend.name);
    show(parts.address, backend.name === backend.address ? "" : backend.address);
    hide(parts.backup, !backend.backup);
    show(parts.state, backend.state);
    set(parts.state, "data-state", backend.state);
    const notes = [backend.up ? "" : backend.cause || "not checked yet"];
    // Where an operator has taken it out, its health is not in the state.
    if (!backend.up && backend.state !== "down") {
      notes.unshift("down");
    }
    const ends = backend.drain_deadline === null ? "" : `sessions are ended in ${span(backend.drain_deadline)}`;
    show(parts.cause, [notes.filter(Boolean).join(": "), ends].filter(Boolean).join("; "));
    set(this.element, "data-state", backend.state);
  }

  #showFigures(backend) {
    const parts = this.#parts;
    const { rates } = this.meter;
    const sessions = whole(sessionsOf(backend));
    show(parts.sessions, sessions);
    set(parts.sessions, "aria-label", `${sessions} sessions of ${backend.name}`);
    show(parts.max, backend.max_connections === null ? "" : ` / ${whole(backend.max_connections)}`);
    show(parts.connections, rate(rates.connections));
    show(parts.requests, hasRequests(backend) ? requestRate(rates.requests) : "");
    this.history = this.meter.history[hasRequests(backend) ? "requests" : "connections"];
    show(parts.errors, rate(rates.errors));
    set(parts.errors, "data-tone", rates.errors > 0 ? "bad" : "");
    show(parts.bytes, `${byteRate(rates.in)}, ${byteRate(rates.out)}`);
    show(parts.weight, whole(backend.weight));
  }

  #nameButtons(backend, pool) {
    const parts = this.#parts;
    const whole = `${backend.name} of pool ${pool.name}`;
    STATES_FROM[backend.admin_state].forEach((state, place) => {
      const button = parts[["first-state", "second-state"][place]];
      show(button, WORDS[state]);
      set(button, "aria-label", `${WORDS[state]}: ${whole}`);
    });
    set(parts["change-weight"], "aria-label", `Weight: ${whole}`);
  }

  draw(at, max) {
    this.#spark.show(this.history, this.meter.history.errors, at, max);
  }
}
