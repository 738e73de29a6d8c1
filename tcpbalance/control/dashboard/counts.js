// Which counters of the API the dashboard shows, and under which names.

import { sumOf } from "./meter.js";

export const BACKEND_COUNTS = ["connections", "requests", "errors", "in", "out"];
export const FRONTEND_COUNTS = ["connections", "requests", "refused", "unserved", "in", "out"];
export const TOTAL_COUNTS = [...FRONTEND_COUNTS, "errors", "unqueued"];

/** End reasons of sessions and requests that the balancer could not serve. */
const UNSERVED = [
  "no_route",
  "no_backend",
  "queue_full",
  "queue_timeout",
  "connect_failed",
  "dial_timeout",
  "local_failure",
  "out_of_descriptors",
  "overload",
  "internal_error",
].flatMap((reason) => [`ended.${reason}`, `requests_ended.${reason}`]);

/** Counters that a balancer leaves out are 0. */
function of(counters, ...names) {
  return names.reduce((sum, name) => sum + (counters[name] ?? 0), 0);
}

function errors(counters) {
  return of(counters, "connect_failures", "local_failures", "resets_before_answer", "responses.5xx");
}

export function countsOfBackend({ counters }) {
  return {
    connections: of(counters, "connections_total"),
    requests: of(counters, "requests_total"),
    errors: errors(counters),
    in: of(counters, "bytes_in"),
    out: of(counters, "bytes_out"),
  };
}

export function countsOfFrontend({ counters }) {
  return {
    connections: of(counters, "connections_total"),
    requests: of(counters, "requests_total"),
    refused: sumOf(counters, "refused"),
    unserved: of(counters, ...UNSERVED, "connections_shed", "setup_failures"),
    in: of(counters, "bytes_in"),
    out: of(counters, "bytes_out"),
  };
}

/** Of the whole balancer; the counters of a pool itself have the backends that it had once. */
export function totalCounts({ frontends, pools }) {
  const total = Object.fromEntries(TOTAL_COUNTS.map((name) => [name, 0]));
  for (const frontend of frontends) {
    for (const [name, count] of Object.entries(countsOfFrontend(frontend))) {
      total[name] += count;
    }
  }
  for (const { counters, backends } of pools) {
    total.errors += backends.reduce((sum, backend) => sum + errors(backend.counters), errors(counters));
    total.unqueued += of(counters, "queue_overflows", "queue_displacements", "queue_timeouts");
  }
  return total;
}

/** Whether there have been requests of HTTP, which say more than the connections that they come on. */
export function hasRequests({ counters }) {
  return of(counters, "requests_total") > 0;
}

export function sessionsOf({ counters }) {
  return of(counters, "connections_active");
}

export function queueOf({ counters }) {
  return of(counters, "queue_active");
}
