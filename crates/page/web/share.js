// @ts-check
// Links for people without a token: to one file, or to a box that takes files and shows none.
import { encodePath, request, root } from './api.js';
import { announce, bdi, button, copyButton, fill, h, visible } from './dom.js';
import { qr } from './connect.js';
import { sentence } from './files.js';
import { bytes } from './format.js';
import { language, t } from './words.js';

/** @typedef {{name: string, kind: 'file' | 'drop', path: string | null, url?: string,
 *   expires: string | null, max_bytes?: number | null, max_files?: number | null,
 *   used_bytes?: number, used_files?: number, unfinished_bytes?: number,
 *   unfinished_files?: number}} Share */

const HOUR = 3600;
const DAY = 24 * HOUR;
const EXPIRIES = [HOUR, DAY, 7 * DAY, 30 * DAY];
const SIZES = [100 << 20, 1 << 30, 10 * 2 ** 30, 100 * 2 ** 30];
const COUNTS = [10, 100, 1000];

/** @param {number} seconds */
const term = seconds => {
  const [unit, n] = seconds < DAY ? ['hour', seconds / HOUR] : ['day', seconds / DAY];
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(n);
};

/** Whole steps of 1024, as the limits are; the rounded decimal size would say "1.07 GB".
 * @param {number} n */
const limit = n => n >= 2 ** 30 ? `${n / 2 ** 30} GiB` : `${n / 2 ** 20} MiB`;

/**
 * Returns a labelled choice.
 * @param {string} label @param {number[]} values @param {number} chosen
 * @param {(value: number) => string} words
 */
function choice(label, values, chosen, words) {
  const select = h('select', null, values.map(value =>
    h('option', { value, selected: value === chosen }, words(value))));
  return { select, element: h('label', null, h('span', null, label), select) };
}

/**
 * Returns the content of the sheet "Share".
 * @param {{path: string, name?: string, kind?: string}} entry a file, or the directory for a box
 */
export function shareSheet({ path, kind = 'file' }) {
  const problem = h('p', { class: 'refusal', role: 'alert' });
  const made = h('div', { class: 'share-made' });
  const list = h('ul', { class: 'share-list' });
  const heading = h('h3', { hidden: true }, t('share.active'));
  const isFile = kind === 'file';

  /** @param {{ path: string | null }} wanted
   * @param {HTMLFormElement} form @param {HTMLButtonElement} submit */
  async function create(wanted, form, submit) {
    // Bytes that are no UTF-8 are lone surrogates here, which JSON does not have.
    const raw = wanted.path && /[\udc80-\udcff]/u.test(wanted.path) && {
      path: wanted.path.replace(/\p{Cs}/gu, '\ufffd'), path_raw: encodePath(wanted.path),
    };
    submit.disabled = true;
    problem.textContent = '';
    fill(made);
    form.after(problem, made);
    try {
      const response = await request('.anyport/shares', { method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ ...wanted, ...raw }) });
      show((await response.json()).share);
      await load();
    } catch (error) {
      problem.textContent = sentence(error);
    }
    submit.disabled = false;
  }

  /** Shows the link, which is only in this answer. @param {Share} share */
  function show(share) {
    if (!share.url) return;
    const { href } = new URL(share.url, root);
    const field = h('input', { type: 'text', readonly: true, value: href,
      'aria-label': t('share.link') });
    fill(made, h('p', { class: 'line' }, field, copyButton(href)),
      h('p', { class: 'note' }, t('share.once')), qr(href, `/${href.slice(root.href.length)}`));
    field.focus();
    field.select();
    announce(t('share.created'));
  }

  /** @param {string} title @param {string} note @param {ReturnType<typeof choice>[]} choices
   * @param {() => { path: string | null }} wanted @param {string} label @param {string} [rank] */
  function form(title, note, choices, wanted, label, rank) {
    const submit = h('button', { class: rank }, h('span', null, label));
    const element = h('form', { class: 'share-form', on: { submit: event => {
      event.preventDefault();
      void create(wanted(), element, submit);
    } } }, h('h3', null, title), h('p', { class: 'note' }, note),
    h('div', { class: 'choices' }, choices.map(choice => choice.element), submit));
    return element;
  }

  function fileForm() {
    const expires = choice(t('share.expires'), EXPIRIES, 7 * DAY, term);
    return form(t('share.file'), t('share.file.note', { name: visible(path) }), [expires],
      () => ({ kind: 'file', path, expires: Number(expires.select.value) }), t('share.make.file'),
      'primary');
  }

  function dropForm() {
    const expires = choice(t('share.expires'), EXPIRIES, 7 * DAY, term);
    const size = choice(t('share.size'), SIZES, 2 ** 30, limit);
    const files = choice(t('share.files'), COUNTS, 100, String);
    return form(t('share.drop'), t('share.drop.note'), [expires, size, files], () => ({
      kind: 'drop', path: isFile || !path ? null : path, expires: Number(expires.select.value),
      max_bytes: Number(size.select.value), max_files: Number(files.select.value),
    }), t('share.make.drop'), isFile ? '' : 'primary');
  }

  async function load() {
    try {
      const response = await request('.anyport/shares');
      /** @type {{shares: Share[]}} */
      const { shares } = await response.json();
      heading.hidden = shares.length === 0;
      fill(list, shares.map(row));
    } catch (error) {
      problem.textContent = sentence(error);
    }
  }

  /** @param {Share} share */
  function row(share) {
    const ends = share.expires ? new Date(share.expires) : null;
    const left = ends && h('time', { datetime: ends.toISOString(),
      title: new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'short' })
        .format(ends) }, t('share.until', { time: until(ends) }));
    const used = share.kind === 'drop' && t('share.used', { n: share.used_files ?? 0,
      size: bytes(share.used_bytes ?? 0) });
    const unfinished = !!share.unfinished_files && t('share.unfinished',
      { n: share.unfinished_files, size: bytes(share.unfinished_bytes ?? 0) });
    let sure = false;
    const revoke = button(t('share.revoke'), async () => {
      if (!sure) {
        sure = true;
        const label = revoke.querySelector('span');
        if (label) label.textContent = t('share.revoke.sure');
        revoke.className = '';
        return;
      }
      revoke.disabled = true;
      try {
        await request(`.anyport/shares/${encodeURIComponent(share.name)}`, { method: 'DELETE' });
        announce(t('share.revoked', { name: visible(share.name) }));
      } catch (error) {
        problem.textContent = sentence(error);
      }
      fill(made);
      await load();
      (list.querySelector('button') ?? element.querySelector('button'))?.focus();
    }, { class: 'quiet' });
    return h('li', null, h('span', null,
      t(share.kind === 'drop' ? 'share.drop' : 'share.of'), ' ', bdi(share.path ?? share.name),
      h('small', null, [used, unfinished, left].filter(Boolean)
        .flatMap((part, at) => at ? [' · ', part] : [part]))), revoke);
  }

  const element = h('div', { class: 'share' }, isFile && fileForm(), dropForm(), problem, made,
    heading, list);
  void load();
  return element;
}

/** Returns when something ends, in the words for times to come. @param {Date} date */
function until(date) {
  const hours = (date.getTime() - Date.now()) / 3_600_000;
  const relative = new Intl.RelativeTimeFormat(language, { numeric: 'always' });
  if (hours < 1) return relative.format(Math.max(1, Math.round(hours * 60)), 'minute');
  return hours < 48 ? relative.format(Math.round(hours), 'hour')
    : relative.format(Math.round(hours / 24), 'day');
}
