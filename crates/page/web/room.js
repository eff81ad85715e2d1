// @ts-check
// The room: what is said on this server, by browsers and by whoever uses nc or curl.
import * as api from './api.js';
import { bdi, button, fill, h, visible } from './dom.js';
import { bytes } from './format.js';
import { directoryOf } from './files.js';
import { tokens } from './links.js';
import { live } from './live.js';
import { queue } from './uploads.js';
import { language, t } from './words.js';

/** @typedef {import('./live.js').RoomEvent} RoomEvent */
/** @typedef {{number: number, id?: string, from?: string, text: string, time: Date,
 *   own: boolean}} Line */

const ROOM = 'lobby';
/** What is kept and shown: a tab may stay open for weeks. */
const LINES = 500;
const CHARACTERS = 500_000;
/** The default of the server, in bytes; it refuses what is longer than its own. */
const LONGEST = 65_536;
/** Lines of one nick within so long stand together. */
const TOGETHER = 5 * 60_000;
const NICK = /^[\p{L}\p{N}][\p{L}\p{N}._-]{0,31}$/u;

/** @type {Line[]} */
let lines = [];
let characters = 0;
let number = 0;
/** The last line that was read. */
let read = 0;
/** @type {Set<string>} */
let here = new Set();
let listeners = 0;
let me = '';
/** Own names: of what happens to them the person knows. */
const mine = new Set();
let state = { member: false, joined: false, trouble: '' };
/** @type {Map<string, {text: string, refused?: string}>} */
const waiting = new Map();
/** Uploads whose link is said when they are stored. @type {WeakSet<object>} */
const dropped = new WeakSet();
/** @type {{element: HTMLElement, update: () => void} | null} */
let view = null;

// Kept values

/** @param {string} key */
function kept(key) {
  try {
    return localStorage.getItem(`anyport-${key}`) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} key @param {string} value */
function keep(key, value) {
  try {
    localStorage.setItem(`anyport-${key}`, value);
  } catch {
    // Without storage it lasts as long as the page.
  }
}

let nick = kept('nick');

// What happens in the room

/** @param {string} text @param {string} time
 * @param {{id?: string, from?: string, own?: boolean}} of */
function add(text, time, { id, from, own = false }) {
  const at = new Date(time);
  const line = { number: ++number, id, from, text, own, time: isNaN(+at) ? new Date() : at };
  lines.push(line);
  characters += text.length;
  while (lines.length > LINES || (characters > CHARACTERS && lines.length > 1)) {
    characters -= lines.shift()?.text.length ?? 0;
  }
  // Read before this page was loaded, or written here: all until then is read.
  if (own || (id !== undefined && id === lastRead)) read = number;
}

/** @param {string} words @param {{id?: string, nick: string, time: string}} presence */
function notice(words, { id, nick, time }) {
  if (!mine.has(nick)) add(t(words, { nick: visible(nick) }), time, { id });
}

let lastRead = kept('room-read');

function markRead() {
  read = number;
  const id = lines.filter(line => line.id !== undefined).at(-1)?.id;
  if (id !== undefined && id !== lastRead) keep('room-read', lastRead = id);
}

/** @param {RoomEvent} event */
function happened({ joined, message, join, leave, lost, members, error, away, past }) {
  if (joined) {
    state.joined = true;
    state.trouble = '';
    here = new Set(joined.members);
    listeners = joined.listeners;
    if (joined.as) {
      me = joined.as;
      mine.add(me);
      here.add(me);
    }
  } else if (message) {
    const own = message.key !== undefined && waiting.delete(message.key);
    add(message.text, message.time, { id: message.id, from: message.from, own });
  } else if (join) {
    if (!past) here.add(join.nick);
    notice('room.joined', join);
  } else if (leave) {
    if (!past && leave.nick !== me) here.delete(leave.nick);
    notice('room.left', leave);
  } else if (lost) {
    add(t('room.lost'), '', {});
  } else if (members) {
    here = new Set(members.members);
    listeners = members.listeners;
    if (me && state.member) here.add(me);
  } else if (error) {
    refused(error);
  } else if (away) {
    state.joined = false;
  }
  changed();
}

/** @param {{code: string, message: string, of?: string, key?: string}} error */
function refused({ message, of, key }) {
  const said = key === undefined ? undefined : waiting.get(key);
  if (said) said.refused = message;
  else state.trouble = message;
  // A name that the server refuses is given up for the one before.
  if (of === 'join' && nick !== '' && nick !== me) {
    nick = me.startsWith('guest-') ? '' : me;
    keep('nick', nick);
    live.join({ room: ROOM, as: me || undefined, listen: !state.member });
  }
}

let shown = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let telling;

function changed() {
  // Whoever closes it only removes the element.
  if (view && !view.element.isConnected) view = null;
  if (view) {
    markRead();
    view.update();
  }
  // A flood of messages must not draw the header for each of them.
  telling ||= setTimeout(() => {
    telling = undefined;
    const detail = lines.filter(line => line.number > read && line.from !== undefined).length;
    if (detail !== shown) document.dispatchEvent(new CustomEvent('unread', { detail }));
    shown = detail;
  }, 50);
}

/** Joins when the session may talk; what was read is forgotten when it may not any more. */
function attend() {
  // A drop box shows nothing of others, whatever else its visitor may do.
  const may = api.session.room && api.may('talk') && !document.querySelector('main[data-drop]');
  if (may === attending) return;
  attending = may;
  if (may) return live.join({ room: ROOM, listen: true });
  live.leave();
  lines = [];
  characters = 0;
  here.clear();
  waiting.clear();
  state = { member: false, joined: false, trouble: '' };
  changed();
}

let attending = false;

live.addEventListener('room', event => happened(/** @type {CustomEvent} */ (event).detail));
api.events.addEventListener('session', attend);

queue.addEventListener('stored', event => {
  const item =
    /** @type {CustomEvent} */ (event).detail;
  if (!dropped.delete(item)) return;
  // The receipt has the name under which it was stored, if another file had the first.
  const name = item.receipt?.name ?? item.path;
  const path = item.directory ? `${item.directory}/${name}` : name;
  const { href } = new URL(`files/${api.encodePath(path)}`, api.root);
  state.trouble = say(`${name} (${bytes(item.size)}): ${href}`);
  changed();
});

/** Says a line; returns why not. @param {string} text */
function say(text) {
  const long = new TextEncoder().encode(text).length;
  if (long > LONGEST) return t('room.long', { n: bytes(long), max: bytes(LONGEST) });
  const key = live.say(text);
  if (key === null) return t('room.many');
  waiting.set(key, { text });
  return '';
}

/** Becomes a member, under the kept nick, or under a new one. @param {string} [name] */
function enter(name) {
  if (name !== undefined) keep('nick', nick = name);
  if (state.member && name === undefined) return;
  state.member = true;
  const user = api.session.user ?? '';
  live.join({ room: ROOM, as: nick || (NICK.test(user) ? user : undefined) });
}

// Text to elements

/** @param {string} text */
function said(text) {
  return tokens(text).map(part => typeof part === 'string' ? visible(part)
    : h('a', { href: part.href, target: '_blank' }, visible(part.text)));
}

/** @param {Date} time */
function clock(time) {
  const today = new Date().toDateString() === time.toDateString();
  const format = new Intl.DateTimeFormat(language,
    today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' });
  return h('time', { datetime: time.toISOString() }, format.format(time));
}

/**
 * Returns the room below its heading, and joins it by name.
 * @param {AbortSignal} signal when it is closed
 */
export function roomView(signal) {
  const log = h('div', { class: 'room-log', role: 'log', tabindex: 0, 'aria-label': t('room') });
  const pending = h('ul', { class: 'room-waiting', hidden: true });
  const status = h('p', { class: 'room-status', role: 'status' });
  const people = h('span');
  const names = h('p');
  const who = h('details', { class: 'room-here', on: {
    toggle: () => who.open && live.send({ who: {} }),
  } }, h('summary', null, people), names);
  const input = h('input', { type: 'text', 'aria-label': t('room.say'), autocomplete: 'off',
    placeholder: t('room.say'), enterkeyhint: 'send' });
  const form = h('form', { class: 'room-form', on: { submit } }, input,
    h('button', { type: 'submit' }, t('room.send')));
  const name = h('input', { type: 'text', maxlength: 32, autocomplete: 'nickname',
    spellcheck: 'false', on: { change: rename } });
  const chooser = h('input', { type: 'file', multiple: true, hidden: true, on: {
    change: () => {
      send([...chooser.files ?? []]);
      chooser.value = '';
    },
  } });
  const element = h('div', { class: 'room' }, who, log, pending, status, form,
    h('div', { class: 'room-as' }, h('label', null, t('room.nick'), ' ', name), chooser,
      api.may('write') && button(t('room.file'), () => chooser.click(), { class: 'quiet',
        icon: 'upload' })));
  let rendered = 0;
  /** @type {{from?: string, time: number, box: HTMLElement} | null} */
  let group = null;
  let frame = 0;
  let isAtEnd = true;
  let drawn = '[]';
  log.addEventListener('scroll', () => {
    isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  });
  const resized = new ResizeObserver(follow);
  resized.observe(log);

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    state.trouble = say(text);
    if (!state.trouble) input.value = '';
    isAtEnd = true;
    changed();
  }

  /** @param {Line} line */
  function append(line) {
    const { from, text, time } = line;
    if (from === undefined) {
      group = null;
      log.append(h('p', { class: 'room-notice' }, text, ' ', clock(time)));
    } else {
      if (group?.from !== from || +time - group.time > TOGETHER) {
        const box = h('div', { class: 'room-group' },
          h('p', { class: 'room-nick' }, bdi(from), ' ', clock(time)));
        group = { from, time: +time, box };
        log.append(box);
      }
      group.box.append(h('p', { dir: 'auto' }, said(text)));
    }
  }

  /** Removes the oldest lines; what the reader looks at stays where it is. */
  function trim() {
    let surplus = log.querySelectorAll('p:not(.room-nick)').length - lines.length;
    if (surplus <= 0) return;
    const last =
      /** @type {HTMLElement} */ (log.lastElementChild);
    const before = last.offsetTop;
    for (; surplus > 0; surplus--) {
      const first = log.firstElementChild;
      const line = first?.querySelector('p:not(.room-nick)') ?? first;
      line?.remove();
      if (first?.childElementCount === 1 && first.matches('.room-group')) first.remove();
    }
    if (!isAtEnd) log.scrollTop -= before - last.offsetTop;
  }

  function draw() {
    frame = 0;
    if (lines.length === 0) log.replaceChildren();
    for (const line of lines) if (line.number > rendered) append(line);
    rendered = number;
    trim();
    drawWaiting();
    const words = state.trouble ? visible(state.trouble) : state.joined ? '' : t('room.away');
    if (status.textContent !== words) status.textContent = words;
    status.hidden = words === '';
    people.textContent = t('room.here', { n: here.size });
    if (who.open) drawNames();
    if (document.activeElement !== name) name.value = me;
    follow();
  }

  function drawWaiting() {
    // Drawn again only if it differs, or the button would lose its focus.
    const now = JSON.stringify([...waiting]);
    if (now === drawn) return;
    drawn = now;
    fill(pending, ...Array.from(waiting, ([key, { text, refused }]) =>
      h('li', { class: refused && 'refused' }, h('span', { dir: 'auto' }, visible(text)),
        refused && [h('small', null, visible(refused)), button(t('room.remove'), () => {
          waiting.delete(key);
          changed();
          input.focus();
        }, { class: 'quiet' })])));
    pending.hidden = waiting.size === 0;
  }

  /** Stays at the end, if the reader was there, also when something above or below grows. */
  function follow() {
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }

  function drawNames() {
    const some = [...here].slice(0, 100);
    fill(names, ...some.flatMap((name, at) => at ? [', ', bdi(name)] : bdi(name)),
      here.size > some.length ? ', …' : '',
      listeners ? ` ${t('room.listeners', { n: listeners })}` : '');
  }

  function rename() {
    const wish = name.value.trim();
    const isValid = NICK.test(wish);
    if (isValid && wish !== me) enter(wish);
    state.trouble = isValid || !wish ? '' : t('room.nick.rule');
    changed();
  }

  /** @param {File[]} files */
  function send(files) {
    if (!files.length) return;
    const chosen = files.map(file => ({ file, path: file.name }));
    for (const item of queue.add(chosen, directoryOf())) dropped.add(item);
  }

  if (api.may('write')) {
    /** @param {DragEvent} event */
    const over = event => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      event.stopPropagation();
      event.dataTransfer.dropEffect = 'copy';
      element.classList.add('over');
    };
    element.addEventListener('dragenter', over);
    element.addEventListener('dragover', over);
    element.addEventListener('dragleave', () => element.classList.remove('over'));
    element.addEventListener('drop', event => {
      element.classList.remove('over');
      // A folder has no link to say: the page sends it like any other.
      const files = Array.from(event.dataTransfer?.items ?? [])
        .flatMap(item => item.webkitGetAsEntry?.()?.isDirectory ? [] : item.getAsFile() ?? []);
      if (!files.length) return;
      event.preventDefault();
      event.stopPropagation();
      send(files);
      input.focus();
    });
  }

  // Many events in one frame are drawn once; a hidden tab draws when it is seen.
  const update = () => {
    frame ||= requestAnimationFrame(draw);
  };
  signal.addEventListener('abort', () => {
    cancelAnimationFrame(frame);
    resized.disconnect();
    if (view?.element === element) view = null;
  });
  enter();
  requestAnimationFrame(() => {
    view = { element, update };
    draw();
    changed();
  });
  return element;
}
