// Writes numbers, sizes, moments and spans for people. Pure.

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const DATE_OF_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });
const COUNT = new Intl.NumberFormat();

/** Write a number of bytes in powers of 1,024, as the service's own settings have them. */
export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  const text = value.toFixed(digits);
  return `${text.includes(".") ? text.replace(/\.?0+$/, "") : text} ${UNITS[unit]}`;
}

/** Write how much of a whole there is: `1.2 of 9 MB`. */
export function bytesOf(part, whole) {
  const [amount, unit] = bytes(part).split(" ");
  const all = bytes(whole);
  return all.endsWith(` ${unit}`) ? `${amount} of ${all}` : `${amount} ${unit} of ${all}`;
}

export const number = (count) => COUNT.format(count);

export function count(amount, one, many) {
  return `${number(amount)} ${amount === 1 ? one : many}`;
}

/** Write a moment of the API shortly: the time today, else the date. */
export function moment(text, now = new Date()) {
  const when = new Date(text);
  if (when.toDateString() === now.toDateString()) return TIME.format(when);
  return (when.getFullYear() === now.getFullYear() ? DATE : DATE_OF_YEAR).format(when);
}

export const fullMoment = (text) => FULL.format(new Date(text));

/** Write a span of seconds by its largest units: `2 min 5 s`. */
export function span(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole < 600 && whole % 60 ? ` ${whole % 60} s` : ""}`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return count(Math.round(whole / 86_400), "day", "days");
}

/** Write a span by its largest unit alone: `2 min`. */
export function shortSpan(seconds) {
  return span(seconds < 60 ? seconds : Math.round(seconds / 60) * 60).replace(/ \d+ s$/, "");
}

/** Write a long span by one unit: `7 days`. */
export function roughly(seconds) {
  if (seconds < 90 * 60) return count(Math.max(1, Math.round(seconds / 60)), "minute", "minutes");
  if (seconds < 36 * 3600) return count(Math.round(seconds / 3600), "hour", "hours");
  return count(Math.round(seconds / 86_400), "day", "days");
}

/** Split a filename before its last extension; a name that begins with its only dot has none. */
export function splitName(filename) {
  const dot = filename.lastIndexOf(".");
  return dot > 0 && filename.length - dot <= 12 ? [filename.slice(0, dot), filename.slice(dot)] : [filename, ""];
}
