// The clients that are banned, while they are unfolded.

import { get, pathOf } from "./api.js";
import { counted, moment, span, whole } from "./amounts.js";
import { byId, made, partsOf, Rows, set, show } from "./elements.js";
import { FoldedPoll } from "./folded_poll.js";

const MAX_BANS = 100;

const BY = { operator: "by an operator", limits: "by limits" };

const EVERY = 5_000; // Milliseconds.

const fold = byId("bans-fold");
const count = byId("bans-count");

export class Bans {
  #rows;
  poll = new FoldedPoll(fold, EVERY, () => get(pathOf(["bans"], { limit: MAX_BANS })), {
    answer: (page) => this.#update(page),
    failure: (error) => show(count, error.message),
  });

  /** `acts` change bans; null where nothing may be changed. */
  constructor(acts) {
    const keyOf = ({ frontend, client, by }) => `${frontend}\n${client}\n${by}`;
    this.#rows = new Rows(byId("ban-rows"), keyOf, () => new BanRow(acts));
    if (acts === null) {
      fold.querySelector("[data-part=acts]").remove();
    } else {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Ban a client…";
      button.addEventListener("click", () => acts.ban());
      byId("bans-head").prepend(button);
    }
  }

  #update({ bans, total }) {
    const shown = bans.length < total ? `${whole(bans.length)} of ` : "";
    show(count, total === 0 ? "no client is banned" : `${shown}${counted(total, "ban")}`);
    this.#rows.update(bans);
  }
}

class BanRow {
  element = made("ban-template");
  #parts = partsOf(this.element);
  #ban;

  constructor(acts) {
    if (acts === null) {
      this.#parts.acts.remove();
    } else {
      this.#parts.lift.addEventListener("click", () => acts.liftBan(this.#ban));
    }
  }

  update(ban) {
    this.#ban = ban;
    const parts = this.#parts;
    const by = BY[ban.by];
    show(parts.client, ban.client);
    show(parts.by, by);
    show(parts.frontend, ban.frontend);
    show(parts.until, moment(ban.until));
    show(parts.left, span(ban.seconds));
    set(parts.lift, "aria-label", `Lift: ban of ${ban.client} at ${ban.frontend}, ${by}`);
  }
}
