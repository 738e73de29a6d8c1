// The pools, a card each, with their backends.

import { whole } from "./amounts.js";
import { BackendRow } from "./backend_row.js";
import { queueOf, sessionsOf } from "./counts.js";
import { byId, hide, made, partsOf, Rows, set, show } from "./elements.js";
import { statesOf, urgentFirst } from "./states.js";

export class Pools {
  #rows;
  #filter = byId("filter");

  /** `acts` change backends; null where nothing may be changed. */
  constructor(acts, onSessions) {
    this.#rows = new Rows(
      byId("pool-cards"),
      ({ name }) => name,
      () => new PoolCard(acts, onSessions),
    );
    this.#filter.addEventListener("input", () => this.#select());
  }

  update(pools, at) {
    this.#rows.update(pools, at);
    this.#select();
  }

  #select() {
    const words = this.#filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const cards = [...this.#rows];
    const shown = cards.reduce((sum, card) => sum + card.select(words), 0);
    const all = cards.reduce((sum, card) => sum + card.size, 0);
    show(byId("filtered"), words.length > 0 ? `${whole(shown)} of ${whole(all)} backends` : "");
  }
}

class PoolCard {
  element = made("pool-template");
  #parts = partsOf(this.element);
  #rows;
  size = 0;

  constructor(acts, onSessions) {
    this.#rows = new Rows(
      this.#parts.rows,
      ({ name, address }) => `${name}\n${address}`,
      () => new BackendRow(acts, onSessions),
    );
    if (acts === null) {
      this.#parts.acts.remove();
    }
  }

  update(pool, at) {
    const parts = this.#parts;
    this.size = pool.backends.length;
    show(parts.name, pool.name);
    set(parts.table, "aria-label", `Backends of pool ${pool.name}`);
    show(parts.states, statesOf(pool.backends));
    show(parts.sessions, whole(pool.backends.reduce((sum, backend) => sum + sessionsOf(backend), 0)));
    show(parts.queue, whole(queueOf(pool)));
    hide(parts["affinity-fact"], pool.affinity === null);
    show(parts.affinity, whole(pool.affinity ?? 0));
    this.#rows.update(urgentFirst(pool.backends), pool, at);
    const rows = [...this.#rows];
    // One scale for all, so that an uneven distribution is seen.
    const max = Math.max(1, ...rows.map((row) => row.history.max(at)));
    rows.forEach((row) => row.draw(at, max));
  }

  /** Shows those rows alone that have all of some words; gives how many these are. */
  select(words) {
    let shown = 0;
    for (const row of this.#rows) {
      const isShown = words.every((word) => row.text.includes(word));
      hide(row.element, !isShown);
      shown += isShown;
    }
    hide(this.#parts.none, shown > 0);
    return shown;
  }
}
