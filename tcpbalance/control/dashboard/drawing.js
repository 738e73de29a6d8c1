// Lines of the last minute, for paths of SVG.

import { MINUTE } from "./meter.js";

/** Draws a history from the left, a minute ago, to the right, now; empty where there is too little of it. */
export function line(history, now, max, width, height) {
  const points = history.since(now);
  if (points.length < 2) {
    return "";
  }
  const top = max || 1;
  const drawn = points.map(({ at, value }) => {
    const x = width * (1 - (now - at) / MINUTE);
    const y = height - 1 - (height - 2) * Math.min(1, value / top);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return `M${drawn.join("L")}`;
}

/** Closes a line to the area under it. */
export function areaUnder(drawn, height) {
  const end = drawn.slice(drawn.lastIndexOf("L") + 1).split(" ")[0];
  const begin = drawn.slice(1).split(" ")[0];
  return drawn && `${drawn}L${end} ${height}L${begin} ${height}Z`;
}

/** Marks each time at which a value was not 0. */
export function ticks(history, now, width, height) {
  return history
    .since(now)
    .filter(({ value }) => value > 0)
    .map(({ at }) => `M${(width * (1 - (now - at) / MINUTE)).toFixed(1)} ${height}V${height / 2}`)
    .join("");
}

/** The next greater of 1, 2, 5, 10, 20 and so on. */
export function roundedUp(number) {
  if (number <= 1) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].find((step) => step * power >= number) * power;
}
