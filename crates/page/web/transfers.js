// @ts-check
// The transfers and their receipts.
import { encodePath, may, root } from './api.js';
import { qr } from './connect.js';
import { announce, append, bdi, button, copy, fill, h, icon, visible } from './dom.js';
import { amount, bytes, count, duration, middle, percent, rate } from './format.js';
import { isStale } from './uploads.js';
import { t } from './words.js';

/** @typedef {import('./uploads.js').Item} Item */
/** @typedef {import('./uploads.js').Queue} Queue */
/** @typedef {ReturnType<typeof row>} Row */

/** Rows that are shown; a folder of thousands of files has a number for the others. */
const ROWS = 20;
const DONE_ROWS = 5;
const FOLDED_ROWS = 100;
const FOLD_AFTER = 60_000;
const TOTAL_FROM = 4;
const NAME_LENGTH = 48;
const ANNOUNCE_INTERVAL = 1000;

/**
 * Returns the element of the transfers, empty as long as there are none.
 * @param {Queue} queue
 * @param {AbortSignal} [signal] ends it, before it is built in another language
 */
export function transfersView(queue, signal) {
  /** @type {Map<Item, Row>} */
  const rows = new Map();
  const total = h('div', { class: 'transfers-total' });
  const list = h('ul', { class: 'transfers-list' });
  const more = h('p', { class: 'transfers-more' });
  const folded = h('ul', { class: 'transfers-list' });
  const foldedTitle = h('summary');
  const fold = h('details', { class: 'transfers-folded' }, foldedTitle, folded);
  const view = h('section', { class: 'transfers', 'aria-label': t('transfers'), tabindex: -1 },
    total, list, more, fold);
  const summary = totalLine(queue, total);

  function update() {
    const { shown, hidden, old } = chosen(queue.items);
    place(list, shown);
    more.textContent = hidden ? t('more.transfers', { n: count(hidden) }) : '';
    more.hidden = !hidden;
    fold.hidden = old.length === 0;
    foldedTitle.textContent = t('stored.count', { n: count(old.length) });
    place(folded, fold.open ? old.slice(-FOLDED_ROWS) : []);
    for (const [item, { element }] of rows) if (!element.isConnected) rows.delete(item);
    const isLong = shown.length + hidden + old.length >= TOTAL_FROM;
    summary(isLong && shown.some(({ state }) => state !== 'done') || !!queue.halted);
    view.hidden = queue.items.length === 0;
  }

  /** Brings the rows of an element into the order of the items, without moving those that stay.
   * @param {Element} parent @param {Item[]} items */
  function place(parent, items) {
    const elements = items.map(item => {
      let found = rows.get(item);
      if (!found) rows.set(item, found = row(queue, item));
      found.update();
      return found.element;
    });
    const keep = new Set(elements);
    for (const child of [...parent.children]) {
      if (keep.has(/** @type {HTMLLIElement} */ (child))) continue;
      // The next key of a person goes on from here, and not from the top of the page.
      if (child.contains(document.activeElement)) view.focus({ preventScroll: true });
      child.remove();
    }
    elements.forEach((element, at) => {
      const present = parent.children[at] ?? null;
      if (present !== element) parent.insertBefore(element, present);
    });
  }

  queue.addEventListener('change', update, { signal });
  fold.addEventListener('toggle', update);
  const timer = setInterval(() => view.hidden || update(), FOLD_AFTER / 12);
  signal?.addEventListener('abort', () => clearInterval(timer));
  speak(queue, signal);
  update();
  return view;
}

/** Chooses what is shown: first what needs a person, then what moves; in the order of the queue.
 * @param {Item[]} items */
function chosen(items) {
  const now = Date.now();
  const done = items.filter(({ state }) => state === 'done');
  const recent = new Set(done.filter(({ ended }) => now - (ended ?? 0) < FOLD_AFTER)
    .slice(-DONE_ROWS));
  const rest = items.filter(({ state }) => state !== 'done');
  /** @param {Item} item */
  const rank = ({ state }) => ['sending', 'hashing', 'offline'].includes(state) ? 0
    : ['refused', 'needs-file'].includes(state) ? 1 : state === 'paused' ? 2 : 3;
  const first = new Set(rest.length <= ROWS ? rest
    : [...rest].sort((a, b) => rank(a) - rank(b)).slice(0, ROWS));
  return {
    shown: items.filter(item => recent.has(item) || first.has(item)),
    hidden: rest.length - first.size,
    old: done.filter(item => !recent.has(item)),
  };
}

/** @param {Queue} queue @param {HTMLElement} element @returns {(isShown: boolean) => void} */
function totalLine(queue, element) {
  const text = h('span', { class: 'transfers-facts' });
  const all = button('', () => isHeld() ? queue.resumeAll() : queue.pauseAll(), { class: 'quiet' });
  const none = button(t('cancel.all'), () => queue.cancelAll(), { class: 'quiet', icon: 'close' });
  append(element, [text, none, all]);
  const isHeld = () => !!queue.halted || queue.total.active === 0;
  return isShown => {
    element.hidden = !isShown;
    if (!isShown) return;
    const { files, bytes: sent, size, rate: speed, active, failed } = queue.total;
    const isFull = queue.halted && queue.halted.kind === 'full';
    element.classList.toggle('failed', !!isFull);
    text.textContent = queue.halted ? reason(queue.halted) : facts([
      t('count.files', { n: count(files) }),
      progress(sent, size),
      speed > 0 && rate(speed),
      speed > 0 && t('left', { time: duration(Math.ceil((size - sent) / speed)) }),
      failed > 0 && t('failed.count', { n: count(failed) }),
    ]);
    const isPaused = queue.items.some(({ state }) => state === 'paused');
    all.hidden = active === 0 && !isPaused;
    none.hidden = active > 0;
    label(all, isHeld() ? t('resume.all') : t('pause.all'), isHeld() ? 'play' : 'pause');
  };
}

/** @param {Queue} queue @param {Item} item */
function row(queue, item) {
  const { path } = item;
  const fillBar = h('div');
  const bar = h('div', { class: 'bar', role: 'progressbar', 'aria-label': visible(path),
    'aria-valuemin': 0, 'aria-valuemax': 100 }, fillBar);
  const text = h('span', { class: 'transfer-facts' });
  const note = h('span', { class: 'transfer-note' });
  const action = button('', () => act(), { class: 'quiet' });
  const cancel = button(t('cancel'), () => queue.cancel(item), { class: 'quiet', icon: 'close' });
  const menu = menuOf(item, cancel);
  const name = h('span', { class: 'transfer-name', title: visible(path) },
    bdi(middle(path, NAME_LENGTH)));
  const element = h('li', { class: 'transfer' }, name, bar,
    h('span', { class: 'transfer-text' }, text, note), action, menu);
  let shown = '';

  function act() {
    note.textContent = '';
    const { state } = item;
    if (state === 'waiting' || state === 'sending' || state === 'hashing') queue.pause(item);
    else if (state === 'offline') queue.wake();
    else if (state === 'paused') void queue.resume(item);
    else if (state === 'refused' && !mustChoose(item)) void queue.retry(item);
    else if (state === 'needs-file' && item.handle) void queue.resume(item);
    else if (mustChoose(item)) choose(queue, item, note);
    else void copyLink(item, action);
  }

  function update() {
    const { state, size } = item;
    element.dataset.state = state;
    const part = state === 'hashing' ? (item.hashing?.bytes ?? 0) / (size || 1)
      : size ? item.bytes / size : 0;
    const width = `${Math.min(100, part * 100).toFixed(1)}%`;
    if (fillBar.style.width !== width) fillBar.style.width = width;
    bar.setAttribute('aria-valuenow', String(Math.floor(part * 100)));
    const now = described(item);
    if (text.textContent !== now) text.textContent = now;
    if (shown === state) return;
    shown = state;
    bar.hidden = state === 'done' || state === 'refused';
    menu.hidden = state === 'done';
    const kind = mustChoose(item) ? 'choose' : state;
    const [words, image] = ACTIONS[kind] ?? [];
    action.hidden = !words || state === 'done' && !linkOf(item);
    if (words && image) label(action, t(words), image);
    if (state === 'done') {
      addReceipt(item, text, element);
    }
  }

  return { element, update };
}

/** @type {Record<string, [words: string, icon: string]>} */
const ACTIONS = {
  waiting: ['pause', 'pause'], sending: ['pause', 'pause'], hashing: ['pause', 'pause'],
  offline: ['try.now', 'retry'], paused: ['resume', 'play'], refused: ['retry', 'retry'],
  'needs-file': ['continue', 'play'], choose: ['choose.again', 'upload'],
  done: ['copy.link', 'link'],
};

/** Whether only a person can find the file. @param {Item} item */
function mustChoose(item) {
  return !item.handle && (item.state === 'needs-file' || isStale(item));
}

/** @param {Item} item @param {HTMLElement} cancel */
function menuOf(item, cancel) {
  const menu = h('details', { class: 'menu', on: {
    keydown: event => {
      if (event.key !== 'Escape' || !menu.open) return;
      menu.open = false;
      menu.querySelector('summary')?.focus();
    },
    focusout: event => {
      if (!menu.contains(event.relatedTarget)) menu.open = false;
    },
  } },
    h('summary', { 'aria-label': t('more.of', { name: visible(item.path) }) }, icon('more')),
    cancel);
  return menu;
}

/** @param {Item} item */
function described(item) {
  const { state, size, error } = item;
  if (state === 'done') return result(item);
  if (state === 'refused') return error ? reason(error) : '';
  if (state === 'needs-file') {
    const part = percent(size ? item.bytes / size : 0);
    const values = { name: visible(middle(item.name)), percent: part };
    return t(item.handle ? 'allow.again' : 'add.again', values);
  }
  if (state === 'sending') {
    return facts([progress(item.bytes, size), item.rate > 0 && rate(item.rate),
      item.left !== null && t('left', { time: duration(Math.ceil(item.left)) })]);
  }
  // What stops the whole queue is in its line.
  const hint = state === 'offline' && error?.status ? reason(error) : t(`state.${state}`);
  return facts([state === 'waiting' && item.bytes === 0 ? bytes(size) : progress(item.bytes, size),
    hint]);
}

/** @param {(string | false)[]} parts */
function facts(parts) {
  return parts.filter(Boolean).join(' · ');
}

/** @param {number} sent @param {number} size */
function progress(sent, size) {
  return t('of.size', { n: amount(sent, size), size: bytes(size) });
}

/** @param {import('./resumable.js').Failure} failure */
function reason({ kind, message, hint, status }) {
  const isOurs = kind === 'changed' || kind === 'differs';
  // Numbers of the operating system are for the log.
  const text = !isOurs && !/os error/.test(message) && message
    || (isOurs || kind === 'full' || kind === 'signed-out' ? t(`error.${kind}`)
      : t('stopped.code', { status }));
  // Messages of the server begin in lower case, some with the name of the file.
  const sentence = visible(/^[a-z]+ [a-z]/.test(text) && !text.includes(' exists ')
    ? text.charAt(0).toUpperCase() + text.slice(1) : text);
  return hint && kind === 'refused' ? `${sentence} (${visible(hint)})` : sentence;
}

/** @param {Item} item */
function result({ receipt, path, size }) {
  if (!receipt) return '';
  const words = `${receipt.isThere ? 'there' : 'stored'}${receipt.isVerified ? '.verified' : ''}`;
  const name = receipt.name !== path && t('stored.as', { name: visible(receipt.name) });
  return facts([t(words), name, bytes(size), duration(receipt.seconds)]);
}

/** The link to a stored file, for those who can use it. @param {Item} item */
function linkOf({ receipt, isDrop }) {
  if (isDrop || !receipt?.path || !may('read')) return null;
  return new URL(`files/${encodePath(receipt.path)}`, root);
}

/** @param {Item} item @param {HTMLButtonElement} action */
async function copyLink(item, action) {
  const link = linkOf(item);
  if (!link) return;
  const words = await copy(link.href) ? t('copied') : t('copy.failed');
  label(action, words, 'check');
  announce(words);
  setTimeout(() => label(action, t('copy.link'), 'link'), 2000);
}

/** Adds digest, rate and QR code, on request. @param {Item} item @param {HTMLElement} text
 * @param {HTMLElement} element */
function addReceipt(item, text, element) {
  const { receipt, size } = item;
  if (!receipt) return;
  /** @param {string} word @param {string} value */
  const pair = (word, value) => [h('dt', null, t(word)), h('dd', null, value)];
  /** @type {HTMLElement | null} */ let shown = null;
  const toggle = h('button', { type: 'button', class: 'link', 'aria-expanded': 'false', on: {
    click: () => {
      const link = linkOf(item);
      toggle.setAttribute('aria-expanded', String(!shown));
      if (shown) {
        shown.remove();
        shown = null;
        return;
      }
      shown = h('div', { class: 'receipt' }, h('dl', null,
        receipt.digest && pair('digest', receipt.digest),
        pair('size', t('exact.bytes', { n: count(size) })),
        receipt.seconds > 0 && !receipt.isThere && pair('rate', rate(size / receipt.seconds))),
      link && qr(link.href, `/${link.href.slice(root.href.length)}`));
      element.append(shown);
    },
  } }, t('details'));
  text.after(' · ', toggle);
}

/** @param {Queue} queue @param {Item} item @param {HTMLElement} note */
function choose(queue, item, note) {
  const input = h('input', { type: 'file', on: { change: () => {
    const file = input.files?.[0];
    if (!file || queue.give(item, file)) return;
    note.textContent = t('other.file', { name: visible(item.name) });
    announce(note.textContent);
  } } });
  input.click();
}

/** @param {HTMLElement} element @param {string} words @param {string} image */
function label(element, words, image) {
  if (element.textContent === words) return;
  fill(element, icon(image), h('span', null, words));
}

/** Says start, done and failed; many at a time in one sentence.
 * @param {Queue} queue @param {AbortSignal} [signal] */
function speak(queue, signal) {
  /** @type {Item[]} */
  let stored = [];
  queue.addEventListener('started', event => {
    const items = /** @type {CustomEvent<Item[]>} */ (event).detail;
    announce(items.length === 1 ? t('sending', { name: visible(items[0]?.name ?? '') })
      : t('sending.count', { n: count(items.length) }));
  }, { signal });
  queue.addEventListener('stored', event => {
    stored.push(/** @type {CustomEvent<Item>} */ (event).detail);
    if (stored.length > 1) return;
    setTimeout(() => {
      const [first] = stored;
      if (stored.length === 1 && first) {
        announce(`${visible(first.name)}: ${result(first)}`);
      } else {
        announce(t('stored.count', { n: count(stored.length) }));
      }
      stored = [];
    }, ANNOUNCE_INTERVAL);
  }, { signal });
  queue.addEventListener('failed', event => {
    const { name, error } = /** @type {CustomEvent<Item>} */ (event).detail;
    announce(t('not.sent', { name: visible(name), reason: error ? reason(error) : '' }));
  }, { signal });
}
