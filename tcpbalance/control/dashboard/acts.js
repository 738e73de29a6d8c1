// What an operator can do: each asks first, does it, and says how it is undone.

import { AdminState } from "./admin_state.js";
import { ApiError, change, get, pathOf } from "./api.js";
import { counted, span } from "./amounts.js";
import { ask } from "./ask.js";
import { sessionsOf } from "./counts.js";
import { addResult } from "./results.js";

const DEFAULT_BAN = "10m";

const MAX_BANS = 1_000; // That the API gives.

const SAME_END = 1_000; // Milliseconds between two ends of a ban that are the same: the API rounds them.

const STATES = {
  ready: {
    title: (name) => `Let ${name} serve again?`,
    what: (name) => `${name} gets new connections while it is healthy.`,
    confirmed: "Ready",
    done: "is ready",
  },
  drain: {
    title: (name) => `Drain ${name}?`,
    what: (name) => `${name} gets no new clients; those with affinity to it still come.`,
    confirmed: "Drain",
    done: "drains",
  },
  maintenance: {
    title: (name) => `Put ${name} in maintenance?`,
    what: (name) => `${name} gets no clients at all, also not those with affinity to it.`,
    confirmed: "Maintenance",
    done: "is in maintenance",
  },
};

const DEADLINE = {
  name: "deadline",
  label: "End the sessions that are open after (optional)",
  hint: "Such as 30s, 5m or 1h. Empty: after drain_timeout of the pool.",
  autocomplete: "off",
  spellcheck: "false",
};

export class Acts {
  #onChange;
  #frontends = [];

  /** `onChange` is called when something has been changed. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Names the frontends, which a ban may be for. */
  update(frontends) {
    this.#frontends = frontends.map(({ name }) => name);
  }

  changeState(pool, backend, state) {
    const { title, what, confirmed, done } = STATES[state];
    const name = `${backend.name} of pool ${pool.name}`;
    const others = pool.backends.filter((other) => other !== backend && other.state === "up");
    const open = sessionsOf(backend);
    ask({
      title: title(backend.name),
      lines: [
        what(name),
        state !== "ready" && open > 0 && `Its open sessions go on: ${counted(open, "session")} now.`,
        "It holds until the next restart.",
      ],
      warning: state === "ready" || others.length > 0 ? "" : "No other backend of this pool is up.",
      inputs: state === "drain" ? [DEADLINE] : [],
      confirmed,
      act: async ({ deadline }) => {
        const path = backendPath(pool, backend);
        const before = await adminState(path);
        const given = new AdminState(await change("PATCH", path, { state, ...(deadline && { deadline }) }));
        this.#onChange();
        const undo = given.isSameAs(before) ? null : () => this.#stateBack(path, name, before, given);
        return () => addResult(`${name} ${done}.`, undo);
      },
    });
  }

  async #stateBack(path, name, before, given) {
    const now = await adminState(path);
    if (!now.isSameAs(given)) {
      const what = now.name === given.name ? "with another deadline" : `to ${now.name}`;
      throw new ApiError(0, `${name} has been changed since, ${what}`);
    }
    await change("PATCH", path, before.change);
    this.#onChange();
    const deadline = before.left === null ? "" : `; its sessions are ended in ${span(before.left)}`;
    return `Undone: ${name} ${STATES[before.name].done} again${deadline}.`;
  }

  changeWeight(pool, backend) {
    const name = `${backend.name} of pool ${pool.name}`;
    ask({
      title: `Change the weight of ${backend.name}?`,
      lines: [`${name} gets new connections in proportion to its weight.`, "It holds until the next reload."],
      inputs: [
        { name: "weight", label: "Weight", type: "number", min: 1, max: 256, required: "", value: backend.weight },
      ],
      confirmed: "Change weight",
      act: async ({ weight }) => {
        const path = backendPath(pool, backend);
        const { weight: before } = await get(path);
        await change("PATCH", path, { weight: Number(weight) });
        this.#onChange();
        const text = `The weight of ${name} is ${weight} instead of ${before}.`;
        return () => addResult(text, () => this.#weightBack(path, name, before, Number(weight)));
      },
    });
  }

  async #weightBack(path, name, before, given) {
    const { weight: now } = await get(path);
    if (now !== given) {
      throw new ApiError(0, `the weight of ${name} has been changed since, to ${now}`);
    }
    await change("PATCH", path, { weight: before });
    this.#onChange();
    return `Undone: the weight of ${name} is ${before} again.`;
  }

  endSession(session) {
    ask({
      title: `End the session of ${session.client}?`,
      lines: [
        `Client and backend see a reset: ${session.client} at frontend ${session.frontend}.`,
        "This cannot be undone. The client may connect again.",
      ],
      confirmed: "End session",
      isGrave: true,
      act: async () => {
        await change("DELETE", pathOf(["sessions", session.id]));
        this.#onChange();
        return () => addResult(`The session of ${session.client} has ended.`);
      },
    });
  }

  ban(client = "", frontend = this.#frontends[0]) {
    ask({
      title: client ? `Ban ${client}?` : "Ban a client?",
      lines: [
        "Its new connections are refused at the frontend. Its open sessions go on.",
        "It holds in all workers and over reloads, until the next restart.",
      ],
      inputs: [
        {
          name: "client",
          label: "Client",
          value: client,
          required: "",
          autocomplete: "off",
          spellcheck: "false",
          hint: "An address, or a network such as 203.0.113.0/24.",
        },
        { name: "frontend", label: "Frontend", options: this.#frontends, value: frontend },
        { name: "for", label: "For", value: DEFAULT_BAN, required: "", hint: "Such as 30s, 10m or 1h." },
      ],
      confirmed: "Ban",
      isGrave: true,
      act: async (wanted) => {
        const { bans, total } = await bansByOperator(wanted);
        const asked = performance.now(); // Not by this machine's wall clock.
        const { client, frontend } = await change("POST", "bans", wanted);
        const before = bans.find((ban) => ban.client === client);
        const given = await banByOperator({ client, frontend });
        this.#onChange();
        if (haveSameEnd(before, given)) {
          return () => addResult(`Client ${client} was banned at ${frontend} already, and not for a shorter time.`);
        }
        const left = () => (before ? before.seconds - (performance.now() - asked) / 1_000 : 0);
        const text = `Client ${client} is banned at ${frontend} for ${wanted.for}.`;
        // Where not all were seen, there may have been one.
        return () => addResult(text, total > bans.length ? null : () => this.#banBack(given, left()));
      },
    });
  }

  /** Goes back to an earlier ban, as long as it would last. */
  async #banBack(ban, left) {
    if (!haveSameEnd(await banByOperator(ban), ban)) {
      throw new ApiError(0, `the ban of client ${ban.client} has been changed since`);
    }
    if (left > 0) {
      await banFor(ban, left, { replace: true });
    } else {
      await change("DELETE", banPath(ban));
    }
    this.#onChange();
    const now = left > 0 ? `is banned for ${span(left)} again` : "is banned no longer";
    return `Undone: client ${ban.client} ${now} at ${ban.frontend}.`;
  }

  liftBan(ban) {
    ask({
      title: `Lift the ban of ${ban.client}?`,
      lines: [`Client ${ban.client} may connect to frontend ${ban.frontend} again.`],
      confirmed: "Lift ban",
      act: async () => {
        const { seconds } = (await theBan(ban)) ?? { seconds: 0 };
        const asked = performance.now(); // Not by this machine's wall clock.
        await change("DELETE", banPath(ban));
        this.#onChange();
        const text = `The ban of client ${ban.client} at ${ban.frontend} is lifted.`;
        const left = () => seconds - (performance.now() - asked) / 1_000;
        return () => addResult(text, () => this.#liftBack(ban, left()));
      },
    });
  }

  async #liftBack(ban, left) {
    if (left <= 0) {
      return `The ban of client ${ban.client} would have ended meanwhile.`;
    }
    await banFor(ban, left);
    this.#onChange();
    return `Undone: client ${ban.client} is banned again at ${ban.frontend}.`;
  }
}

function backendPath(pool, backend) {
  return pathOf(["pools", pool.name, "backends", backend.name]);
}

/** Looks at the state of a backend: without its counters, for which workers would be asked. */
async function adminState(path) {
  return new AdminState(await get(`${path}?counters=false`));
}

function banPath({ client, frontend, by }) {
  return pathOf(["bans", client], { frontend, by });
}

/** Gives the bans of a client, and of networks that it has something in common with. */
function bansOf({ frontend, client, by }) {
  return get(pathOf(["bans"], { frontend, client, by, limit: MAX_BANS }));
}

function bansByOperator(ban) {
  return bansOf({ ...ban, by: "operator" });
}

/** Gives a ban as it is now; undefined where there is none. */
async function theBan(ban) {
  return (await bansOf(ban)).bans.find(({ client }) => client === ban.client);
}

function banByOperator(ban) {
  return theBan({ ...ban, by: "operator" });
}

/** Whether two bans end at one time; one that is not there does not. */
function haveSameEnd(one, other) {
  return one && other ? Math.abs(Date.parse(one.until) - Date.parse(other.until)) <= SAME_END : one === other;
}

function banFor({ client, frontend }, seconds, more = {}) {
  return change("POST", "bans", { client, frontend, for: seconds, ...more });
}
