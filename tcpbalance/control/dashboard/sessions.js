// The open sessions, the oldest first, while they are unfolded.

import { get, pathOf } from "./api.js";
import { bytes, counted, span } from "./amounts.js";
import { byId, hide, made, partsOf, Rows, set, show } from "./elements.js";
import { FoldedPoll } from "./folded_poll.js";

const MAX_SESSIONS = 50;

const EVERY = 2_000; // Milliseconds.

const form = byId("sessions-form");
const fold = byId("sessions-fold");
const count = byId("sessions-count");
const failure = byId("sessions-error");

export class Sessions {
  #rows;
  poll = new FoldedPoll(fold, EVERY, () => get(this.#path()), {
    answer: (page) => this.#update(page),
    failure: (error) => show(failure, error.message),
  });

  /** `acts` change sessions; null where nothing may be changed. */
  constructor(acts) {
    this.#rows = new Rows(byId("session-rows"), ({ id }) => id, () => new SessionRow(acts));
    if (acts === null) {
      fold.querySelector("[data-part=acts]").remove();
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.poll.now());
  }

  /** Unfolds those of one backend. */
  select(pool, backend) {
    form.reset();
    form.elements.pool.value = pool;
    form.elements.backend.value = backend;
    fold.open = true;
    this.poll.now();
  }

  #path() {
    return pathOf(["sessions"], { ...Object.fromEntries(new FormData(form)), limit: MAX_SESSIONS });
  }

  #update({ sessions, next }) {
    show(failure, "");
    show(
      count,
      next === null ? counted(sessions.length, "session") : `the oldest ${sessions.length}; there are more`,
    );
    this.#rows.update(sessions);
  }
}

class SessionRow {
  element = made("session-template");
  #parts = partsOf(this.element);
  #session;

  constructor(acts) {
    const parts = this.#parts;
    if (acts === null) {
      parts.acts.remove();
      return;
    }
    parts.end.addEventListener("click", () => acts.endSession(this.#session));
    parts.ban.addEventListener("click", () => acts.ban(hostOf(this.#session.client), this.#session.frontend));
  }

  update(session) {
    this.#session = session;
    const parts = this.#parts;
    show(parts.client, session.client);
    show(parts.more, [session.server_name, session.tls_version].filter(Boolean).join(", "));
    show(parts.frontend, session.frontend);
    show(parts.backend, session.backend ? `${session.pool}/${session.backend}` : (session.pool ?? "–"));
    show(parts.state, session.state);
    show(parts.age, span(session.age));
    show(parts.idle, span(session.idle));
    show(parts.bytes, `${bytes(session.client_bytes)}, ${bytes(session.backend_bytes)}`);
    set(parts.end, "aria-label", `End: session of ${session.client}`);
    set(parts.ban, "aria-label", `Ban: client ${hostOf(session.client)}`);
    // A client of a unix socket has no address that could be banned.
    hide(parts.ban, !session.client.includes(":") || session.client.startsWith("unix:"));
  }
}

/** The address of a client without its port. */
function hostOf(client) {
  return client.slice(0, client.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}
