// The page: what it asks for, and what it shows of that.

import { ApiError, get } from "./api.js";
import { showAbout } from "./about.js";
import { Acts } from "./acts.js";
import { Bans } from "./bans.js";
import { byId, hide, show } from "./elements.js";
import { EventList } from "./event_list.js";
import { EventStream } from "./event_stream.js";
import { Frontends } from "./frontends.js";
import { Liveness } from "./liveness.js";
import { Overview } from "./overview.js";
import { Poll } from "./poll.js";
import { Pools } from "./pools.js";
import { Sessions } from "./sessions.js";
import { askForToken } from "./token_page.js";

const VIEW_EVERY = 1_000; // Milliseconds, as the others.
const STATUS_EVERY = 10_000;

const FIGURES = "Figures";
const STATUS = "Status";
const STREAM = "Event stream";

const liveness = new Liveness();
let running = [];

/** Begins once it is known what the operator may do. */
const first = new Poll(VIEW_EVERY, () => get("status"), {
  answer: (status) => {
    first.stop();
    liveness.back(STATUS);
    begin(status);
  },
  failure: (error) => failed(STATUS, error),
});

function failed(what, error) {
  if (!(error instanceof ApiError)) {
    // A defect of this page, which goes on with the next answer.
    reportError(error);
  } else if (error.needsToken) {
    running.forEach((each) => each.stop());
    running = [];
    liveness.connecting();
    askForToken(error);
  } else {
    liveness.lost(what, error);
  }
}

function begin(status) {
  const acts = status.access === "full" ? new Acts(() => changed()) : null;
  const overview = new Overview();
  const frontends = new Frontends();
  const sessions = new Sessions(acts);
  const pools = new Pools(acts, (pool, backend) => sessions.select(pool, backend));
  const bans = new Bans(acts);
  const events = new EventList();

  const views = new Poll(VIEW_EVERY, () => get("view"), {
    answer: (view) => {
      // By the clock of the balancer: this machine may have slept, and answers may come late.
      const at = view.clock * 1_000;
      liveness.back(FIGURES);
      liveness.answered();
      overview.update(view, at);
      frontends.update(view.frontends, at);
      pools.update(view.pools, at);
      acts?.update(view.frontends);
    },
    failure: (error) => failed(FIGURES, error),
  });
  const statuses = new Poll(STATUS_EVERY, () => get("status"), {
    answer: (status) => {
      liveness.back(STATUS);
      showAbout(status);
    },
    failure: (error) => failed(STATUS, error),
  });
  const stream = new EventStream({
    event: (event) => {
      events.add(event);
      // What has flipped is seen at once.
      views.now();
      if (event.kind.startsWith("ban")) {
        bans.poll.now();
      } else if (!event.kind.startsWith("backend")) {
        statuses.now();
      }
    },
    missed: () => events.add({ time: new Date().toISOString(), kind: "missed", summary: "some events are not known any more" }),
    live: () => liveness.back(STREAM),
    lost: (error) => failed(STREAM, error),
  });
  const changed = () => [views, sessions.poll, bans.poll].forEach((each) => each.now());

  running = [views, statuses, stream, sessions.poll, bans.poll];
  hide(byId("page"), false);
  hide(byId("jumps"), false);
  hide(byId("access"), acts !== null);
  runWhileSeen();
  document.addEventListener("visibilitychange", runWhileSeen);
}

/** Asks for nothing while the page is not to be seen. */
function runWhileSeen() {
  if (document.hidden) {
    liveness.connecting();
  }
  running.forEach((each) => (document.hidden ? each.stop() : each.start()));
}

show(byId("host"), location.host);
document.title = `tcpbalance · ${location.host}`;
first.start();
