// @ts-check
import { language, t } from './words.js';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];

/** @param {number} n */
function scale(n) {
  let unit = 0;
  // 999.5 and not 1000: else 999.9 kB, rounded to three digits, would read "1000 kB".
  while (n >= 999.5 && unit + 1 < UNITS.length) {
    n /= 1000;
    unit += 1;
  }
  return { n, unit };
}

/** @param {number} n @param {number} unit */
function digits(n, unit) {
  const decimals = unit === 0 || n >= 99.95 ? 0 : n < 9.995 ? 2 : 1;
  return n.toFixed(decimals);
}

/** Returns a size as the server writes it: `3.00 MB`. @param {number} n */
export function bytes(n) {
  const scaled = scale(n);
  return `${digits(scaled.n, scaled.unit)} ${UNITS[scaled.unit]}`;
}

/** Returns a size in the unit of another one, without it: the 412 of "412 of 980 MB".
 * @param {number} n @param {number} size */
export function amount(n, size) {
  const { unit } = scale(size);
  return digits(n / 1000 ** unit, unit);
}

/** Returns a rate. @param {number} n bytes per second */
export function rate(n) {
  return `${bytes(n)}/s`;
}

/** Returns a duration: `0.31 s`, `12.1 s`, `2 min 5 s`, `1 h 3 min`.
 * @param {number} s seconds */
export function duration(s) {
  if (s < 59.95) return t('seconds', { n: Number.isInteger(s) ? s : s.toFixed(s < 1 ? 2 : 1) });
  const whole = Math.round(s);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600),
    Math.floor(whole / 60)];
  if (days >= 2) return t('days.hours', { d: days, h: hours % 24 });
  if (hours >= 1) return t('hours.minutes', { h: hours, m: minutes % 60 });
  return t('minutes.seconds', { m: minutes, s: whole % 60 });
}

/** @type {[Intl.RelativeTimeFormatUnit, number, number][]} */
const STEPS = [['minute', 60, 45 * 60], ['hour', 3600, 22 * 3600], ['day', 86400, 26 * 86400]];

/** Returns how long ago a time is; a date after a month. @param {Date} date */
export function ago(date) {
  const seconds = (Date.now() - date.getTime()) / 1000;
  if (seconds < 45 && seconds > -45) return t('now');
  const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto' });
  for (const [unit, length, below] of STEPS) {
    if (seconds < 0 || seconds >= below) continue;
    return relative.format(-Math.max(1, Math.round(seconds / length)), unit);
  }
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(date);
}

/** Returns a time with its zone, for a tooltip. @param {Date} date */
export function exact(date) {
  return new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'long' }).format(date);
}

/** Returns a name of at most `max` characters; its end, with the extension, remains.
 * @param {string} name @param {number} [max] */
export function middle(name, max = 40) {
  // By characters as people see them: half of an emoji or of a Hangul syllable is another one.
  const parts = name.length <= max ? [] : segments(name);
  if (parts.length <= max) return name;
  const tail = Math.max(4, Math.floor(max / 3));
  return `${parts.slice(0, max - tail - 1).join('')}…${parts.slice(-tail).join('')}`;
}

/** @param {string} text */
function segments(text) {
  return 'Segmenter' in Intl
    ? Array.from(new Intl.Segmenter().segment(text), part => part.segment) : Array.from(text);
}

/** Returns a fraction as `61 %`; 100 % only when it is complete. @param {number} x */
export function percent(x) {
  return `${Math.min(x >= 1 ? 100 : 99, Math.floor(x * 100))} %`;
}

/** Returns a whole number with the separators of the language. @param {number} n */
export function count(n) {
  return new Intl.NumberFormat(language).format(n);
}
