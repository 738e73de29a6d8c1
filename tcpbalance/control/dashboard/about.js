// Which balancer this is, and what it takes.

import { bytes, counted, milliseconds, moment, span } from "./amounts.js";
import { byId, hide, show } from "./elements.js";

const error = byId("config-error");

export function showAbout({ version, started, config, processes }) {
  const memory = processes.reduce((sum, process) => sum + process.memory, 0);
  const facts = [
    `version ${version}`,
    `up for ${span(Date.now() / 1_000 - started)}`,
    `${counted(processes.length, "process", "processes")}, ${bytes(memory)}`,
    `event loop at most ${milliseconds(Math.max(0, ...processes.map((process) => process.worst_loop_lag)))} late`,
    `configuration of ${moment(config.loaded)}`,
  ];
  show(byId("about"), facts.join(" · "));
  hide(error, config.error === null);
  show(error, config.error === null ? "" : mistake(config));
}

function mistake({ path, error: { time, message } }) {
  return `${path} could not be used at ${moment(time)}, the earlier configuration serves: ${message}`;
}
