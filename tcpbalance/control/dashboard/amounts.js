// Amounts as people read them.

const NO_AMOUNT = "–";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

const BYTES = ["B", "kB", "MB", "GB", "TB", "PB"];

const SPANS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

export function whole(number) {
  return WHOLE.format(number);
}

/** A number a second; null where it is not known. */
export function rate(number) {
  if (number === null) {
    return NO_AMOUNT;
  }
  return number < 9.95 && !Number.isInteger(number) ? number.toFixed(1) : whole(number);
}

/** Requests of HTTP a second; null where it is not known. */
export function requestRate(number) {
  return `${rate(number)} req/s`;
}

export function bytes(number) {
  let place = 0;
  let rest = number;
  while (rest >= 999.5 && place < BYTES.length - 1) {
    rest /= 1_000;
    place += 1;
  }
  return `${place > 0 && rest < 9.95 ? rest.toFixed(1) : Math.round(rest)} ${BYTES[place]}`;
}

/** Bytes a second; null where it is not known. */
export function byteRate(number) {
  return number === null ? NO_AMOUNT : `${bytes(number)}/s`;
}

/** Two parts at most: 2 h 5 min. */
export function span(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [size, name] of SPANS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) {
      parts.push(`${count} ${name}`);
    } else if (parts.length > 0) {
      break;
    }
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

export function milliseconds(seconds) {
  return `${whole(1_000 * seconds)} ms`;
}

/** The time of day here. */
export function timeOfDay(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

/** With the day where it is not today. */
export function moment(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  return today ? timeOfDay(time) : `${date.toLocaleDateString("en-CA")} ${timeOfDay(time)}`;
}

/** A number with what is counted: 1 backend, 2 backends. */
export function counted(number, what, several = `${what}s`) {
  return `${whole(number)} ${number === 1 ? what : several}`;
}
