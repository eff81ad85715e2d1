// @ts-check
// The frame: rights, navigation, what is sent and where to, and the views of the other modules.
import {
  ApiError, events, httpsAddress, isEncrypted, isLoopback, may, refresh, root, session, signIn,
  signOut,
} from './api.js';
import { announce, bdi, button, fill, h, icon, sheet, visible } from './dom.js';
import { directoryOf, filesView, join, nameOf, sentence, urlOf } from './files.js';
import { exact } from './format.js';
import { live } from './live.js';
import { roomView } from './room.js';
import { transfersView } from './transfers.js';
import { queue } from './uploads.js';
import { language, setLanguage, t } from './words.js';

/** @typedef {{ file: globalThis.File, path: string, handle?: FileSystemFileHandle }} Chosen */

const main = document.querySelector('main') ?? document.body.appendChild(h('main'));
/** A drop box: it is sent to, and shows nothing else. */
const isDrop = main.dataset.drop !== undefined;
/** What the server says about a drop box: until when it is one. */
const note = isDrop && main.querySelector('.note');
/** The form that the server shows in place of a file too; then the file is what is wanted. */
let isFile = !!main.querySelector('#token') && !location.pathname.endsWith('/');
let directory = isDrop ? '' : directoryOf(location.pathname);
if (note) {
  // The server does not know the zone of a guest.
  note.textContent = (note.textContent ?? '').replace(
    /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d:\d\d)/,
    (_, day, time, zone) => exact(new Date(`${day}T${time}${zone}`)));
}
let views = new AbortController();
/** @type {ReturnType<typeof filesView> | null} */ let files = null;
let isOffline = false;
let unread = 0;
let isRoomOpen = false;

/** @param {string} path */
const addressOf = path => path ? urlOf(path, true) : root.href;

/** Rights on files may be for one directory only. */
const isInScope = () => session.scope === null || directory === session.scope
  || directory.startsWith(`${session.scope}/`);
const maySend = () => isDrop || may('write') && isInScope();
const mayRead = () => !isDrop && may('read');
const needsToken = () => !isDrop && session.token_required && session.rights.length === 0;

// The frame.

const bar = h('header', { class: 'topbar' });
const title = h('h1', { class: 'hidden' });
const trouble = h('p', { class: 'trouble', role: 'status', hidden: true });
/** What of a dropped folder was not sent. */
const unreadable = h('p', { class: 'refusal', role: 'alert' });
const pane = h('aside', { class: 'room-pane', hidden: true });

/** Builds all views, at the start and when language or rights change. */
function mount() {
  views.abort();
  views = new AbortController();
  files = null;
  // What was said is not for a person who may not talk any more.
  isRoomOpen &&= session.room && may('talk');
  document.body.className = isRoomOpen ? 'app with-room' : 'app';
  main.className = 'app';
  if (!bar.isConnected) main.before(bar);
  if (!pane.isConnected) main.after(pane);
  const needs = needsToken();
  drawBar();
  if (!isRoomOpen) drawRoom();
  if (needs) {
    live.stop();
    return void tokenView();
  }
  const thanks = h('p', { class: 'thanks', hidden: true }, t('thanks'));
  if (mayRead()) {
    files = filesView({ signal: views.signal, open: go, share: openShare, maySend,
      sending, reached });
  }
  fill(main, title, trouble, maySend() && strip(), maySend() && unreadable, note,
    maySend() && transfersView(queue, views.signal),
    !mayRead() && thanks, files?.element,
    !mayRead() && !maySend() && h('p', { class: 'headline' }, t('nothing.allowed')),
    session.signed_in && !isDrop && account());
  drawTrouble();
  if (!mayRead()) {
    const done = () => {
      const items = queue.items;
      thanks.hidden = !(items.length && items.every(({ state }) =>
        state === 'done' || state === 'cancelled'));
    };
    queue.addEventListener('change', done, { signal: views.signal });
    done();
  }
  void files?.show(directory);
  if (isRoomOpen) drawRoom();
  drawTitle();
}

function drawTitle() {
  const top = t(mayRead() ? 'files' : 'send.files');
  title.textContent = directory ? visible(nameOf(directory)) : top;
  document.title = directory ? visible(directory) : top;
}

function drawBar() {
  const needs = needsToken();
  const other = language === 'ko' ? 'en' : 'ko';
  fill(bar, !needs && mayRead() && h('a', { class: 'skip', href: '#files' }, t('skip')),
    mayRead() ? crumbs() : h('span', null, maySend() && t('send.files')),
    h('div', { class: 'actions' },
      security(),
      !needs && !isDrop && session.room && may('talk') && roomButton(),
      !needs && !isDrop && button(t('connect'), openConnect, { class: 'quiet', icon: 'terminal' }),
      button(t('language'), () => setLanguage(other), { class: 'quiet', lang: other,
        icon: 'globe' })));
}

function security() {
  const secure = isEncrypted();
  const words = [icon(secure ? 'lock' : 'unlock'), h('span', null,
    t(secure ? 'encrypted' : 'not.encrypted'))];
  return !secure && session.tls_here
    ? h('a', { class: 'quiet security', href: httpsAddress(), title: t('use.https') }, words)
    : h('span', { class: 'quiet security' }, words);
}

function crumbs() {
  const names = directory ? directory.split('/') : [];
  const steps = names.map((name, at) => ({ name, path: names.slice(0, at + 1).join('/') }));
  // In a deep directory the way back is the top and the two above; the others are behind "…".
  const cut = steps.length > 3 ? steps.splice(0, steps.length - 2).at(-1) : null;
  /** @param {string} path @param {import('./dom.js').Child} label */
  const link = (path, label) => h('li', null, path === directory
    ? h('span', { 'aria-current': 'page' }, label)
    : h('a', { href: addressOf(path), on: { click: event => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      go(path);
    } } }, label));
  return h('nav', { 'aria-label': t('path') }, h('ol', null,
    link('', t('files')), cut && link(cut.path, '…'),
    steps.map(({ name, path }) => link(path, bdi(name)))));
}

function account() {
  return h('footer', null, session.user && h('span', null, bdi(session.user)),
    // What this person sent and read does not stay for the next one.
    button(t('sign.out'), () => void signOut().then(() => location.reload(),
      error => announce(sentence(error))), { class: 'quiet', icon: 'signout' }));
}

function drawTrouble() {
  trouble.hidden = !isOffline;
  fill(trouble, isOffline && t(maySend() ? 'offline' : 'offline.read'));
}

/** Says whether the server answers: the WebSocket, a list, or an upload knows it first.
 * @param {boolean} isReached */
function reached(isReached) {
  if (isOffline === !isReached) return;
  isOffline = !isReached;
  drawTrouble();
}

// Navigation: an upload must not end, so other directories are shown in the same page.

history.scrollRestoration = 'manual';

/** @param {string} path */
function go(path) {
  history.replaceState({ top: scrollY }, '');
  history.pushState({ top: 0 }, '', addressOf(path));
  void arrive(path, 0);
}

/** @param {string} path @param {number} top */
async function arrive(path, top) {
  directory = path;
  if (!files || needsToken()) return mount();
  drawBar();
  drawTitle();
  const had = maySend() === Boolean(main.querySelector('.strip'));
  if (!had) return mount();
  await files.show(path);
  scrollTo(0, top);
  files.element.focus({ preventScroll: true });
  announce(path ? visible(nameOf(path)) : t('files'));
}

addEventListener('popstate', event => {
  if (!isDrop) void arrive(directoryOf(location.pathname), event.state?.top ?? 0);
});

// What is sent.

/** @param {Chosen[]} chosen */
function send(chosen) {
  if (chosen.length && maySend()) queue.add(chosen, directory);
}

/** Returns the paths that this page uploads, and whether they are done. */
function sending() {
  return new Map(queue.items.filter(({ state }) => state !== 'cancelled')
    .map(item => [join(item.directory, item.path), item.state === 'done']));
}

/** @param {HTMLInputElement} input */
function chosenIn(input) {
  send(Array.from(input.files ?? [], file =>
    ({ file, path: file.webkitRelativePath || file.name })));
  // The same file again is a change too.
  input.value = '';
}

function strip() {
  const input = h('input', { type: 'file', multiple: true, class: 'hidden', on: {
    change: () => chosenIn(input) } });
  const folder = h('input', { type: 'file', multiple: true, class: 'hidden', webkitdirectory: true,
    'aria-label': t('choose.folder'), on: { change: () => chosenIn(folder) } });
  return h('section', { class: 'strip', 'aria-label': t('choose') },
    h('label', { class: 'primary' }, input, icon('upload'), h('span', null, t('choose'))),
    h('span', { class: 'hint' }, t('or.drop')),
    'webkitdirectory' in folder
      && h('label', { class: 'quiet folder' }, folder, icon('folder'),
        h('span', null, t('folder'))));
}

/** Reads a dropped entry, a folder with all that is below. What cannot be read is added to
 * `failed`, and the others still come.
 * @param {FileSystemEntry} entry @param {string} path @param {string[]} failed
 * @returns {AsyncGenerator<Chosen>} */
async function* readEntry(entry, path, failed) {
  try {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) =>
        /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
      yield { file, path };
      return;
    }
    const reader =
      /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    for (;;) {
      // Each call returns some entries, the last one none.
      /** @type {FileSystemEntry[]} */
      const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (entries.length === 0) return;
      for (const below of entries) yield* readEntry(below, `${path}/${below.name}`, failed);
    }
  } catch {
    failed.push(path);
  }
}

/** The same by handles, by which an upload continues after a reload.
 * @param {FileSystemHandle} handle @param {string} path @param {string[]} failed
 * @returns {AsyncGenerator<Chosen>} */
async function* readHandle(handle, path, failed) {
  try {
    if (handle.kind === 'file') {
      const file =
        /** @type {FileSystemFileHandle} */ (handle);
      yield { file: await file.getFile(), path, handle: file };
      return;
    }
    const below =
      /** @type {{ values(): AsyncIterable<FileSystemHandle> }} */ (
      /** @type {unknown} */ (handle));
    for await (const entry of below.values()) {
      yield* readHandle(entry, `${path}/${entry.name}`, failed);
    }
  } catch {
    failed.push(path);
  }
}

/** @param {DataTransfer} data */
async function sendDropped(data) {
  // Both must be asked for before the event ends.
  const items = Array.from(data.items).filter(item => item.kind === 'file').map(item => ({
    handle: /** @type {{ getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> }} */ (
      /** @type {unknown} */ (item)).getAsFileSystemHandle?.().catch(() => null),
    entry: item.webkitGetAsEntry?.() ?? null,
    file: item.getAsFile(),
  }));
  /** @type {Chosen[]} */ let found = [];
  const target = directory;
  const flush = () => {
    if (found.length) queue.add(found, target);
    found = [];
  };
  /** @type {string[]} */ const failed = [];
  unreadable.textContent = '';
  for (const { handle: asked, entry, file } of items) {
    const handle = await asked;
    const read = handle ? readHandle(handle, handle.name, failed)
      : entry ? readEntry(entry, entry.name, failed) : [];
    if (!handle && !entry && file) found.push({ file, path: file.name });
    for await (const one of read) {
      // Sending begins while a large folder is still read.
      if (found.push(one) >= 100) flush();
    }
  }
  flush();
  if (failed.length) {
    const names = failed.slice(0, 5).map(visible).join(', ') + (failed.length > 5 ? ', …' : '');
    unreadable.textContent = t('unreadable', { n: failed.length, names });
  }
}

const target = h('div', { class: 'drop', role: 'status', hidden: true });

/** @param {DragEvent} event */
const hasFiles = event => Array.from(event.dataTransfer?.types ?? []).includes('Files');

let leaving = 0;
/** @param {boolean} show */
function showTarget(show) {
  clearTimeout(leaving);
  if (show && target.hidden) {
    const place = directory ? nameOf(directory) : location.host;
    fill(target, h('p', null, icon('upload'), h('span', null,
      isDrop ? t('drop.send') : t('drop.here', { place: visible(place) }))));
  }
  if (!target.isConnected) document.body.append(target);
  target.hidden = !show;
}

function listenForFiles() {
  for (const type of ['dragenter', 'dragover']) {
    document.addEventListener(type, event => {
      const drag =
        /** @type {DragEvent} */ (event);
      if (!hasFiles(drag) || needsToken()) return;
      // Also without the right: a browser would leave the page to show the file.
      drag.preventDefault();
      if (drag.dataTransfer) drag.dataTransfer.dropEffect = maySend() ? 'copy' : 'none';
      showTarget(maySend());
      // Some browsers send no dragleave at the edge of the window; dragover comes all the time.
      leaving = window.setTimeout(() => showTarget(false), 400);
    });
  }
  document.addEventListener('dragleave', event => {
    if (event.relatedTarget === null) showTarget(false);
  });
  document.addEventListener('drop', event => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    showTarget(false);
    if (event.dataTransfer && maySend() && !needsToken()) void sendDropped(event.dataTransfer);
  });
  document.addEventListener('paste', event => {
    const pasted = Array.from(event.clipboardData?.files ?? []);
    if (pasted.length === 0 || needsToken() || !maySend()) return;
    event.preventDefault();
    const time = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString()
      .slice(0, 19).replace('T', ' ').replaceAll(':', '.');
    send(pasted.map(file => ({ file,
      // A screenshot is always image.png.
      path: /^image\.\w+$/.test(file.name)
        ? `${t('paste.name', { time })}${file.name.slice(5)}` : file.name })));
  });
}

// Token entry.

/** @param {string} [reason] */
function tokenView(reason) {
  const input = h('input', { type: 'password', name: 'token', required: true, autofocus: true,
    autocomplete: 'current-password', spellcheck: 'false', autocapitalize: 'off', id: 'token' });
  const error = h('p', { class: 'refusal', role: 'alert' }, reason);
  const submit = h('button', { class: 'primary' }, h('span', null, t('continue')));
  const show = button(t('token.show'), () => {
    const hidden = input.type === 'text';
    input.type = hidden ? 'password' : 'text';
    const label = show.querySelector('span');
    if (label) label.textContent = t(hidden ? 'token.show' : 'token.hide');
  }, { class: 'quiet' });
  const plain = !isEncrypted() && !isLoopback(location.hostname);
  document.title = title.textContent = t('token');
  fill(main, title, h('form', { class: 'token', on: { submit: async event => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const { signed_in: isSignedIn } = await signIn(input.value.trim());
      if (!isSignedIn) error.textContent = t('token.cookie');
      submit.disabled = false;
    } catch (refused) {
      submit.disabled = false;
      const status = refused instanceof ApiError ? refused.status : 0;
      error.textContent = status === 401 ? t('token.wrong') : status === 429 ? t('token.often')
        : sentence(refused);
      input.select();
    }
  } } },
    h('label', { for: 'token' }, t('token.enter')),
    plain && h('p', { class: 'warning' }, t('token.plain'), ' ', session.tls_here
      && h('a', { href: httpsAddress() }, t('use.https'))),
    h('div', { class: 'field' }, input, show), submit, error));
  input.focus();
}

events.addEventListener('signedout', async () => {
  if (isDrop || main.querySelector('.token')) return;
  await refresh().catch(() => {});
  if (needsToken()) tokenView(t('token.ended'));
});

let shown = '';
events.addEventListener('session', () => {
  const { token_required: isRequired, user, rights, scope, signed_in: isSignedIn } = session;
  if (isFile && session.rights.length) {
    isFile = false;
    const wanted = location.pathname + location.search;
    // What the browser saves leaves this page, which then shows the folder.
    directory = directory.slice(0, Math.max(0, directory.lastIndexOf('/')));
    history.replaceState(null, '', addressOf(directory));
    // From this page the cookie is sent, as it is not from a link of another site.
    location.replace(wanted);
  }
  const now = JSON.stringify([isRequired, user, rights, scope, isSignedIn]);
  if (now !== shown) start();
  shown = now;
});

// Sheets and the room, loaded when they are asked for.

async function openConnect() {
  const { connectSheet } = await import('./connect.js');
  sheet(t('connect'), connectSheet());
}

/** @param {{ path: string, name: string, kind: string }} entry */
async function openShare(entry) {
  const { shareSheet } = await import('./share.js');
  sheet(t('share'), shareSheet(entry));
}

function roomButton() {
  const element = button(t('room'), () => openRoom(!isRoomOpen), { class: 'quiet room-button',
    icon: 'chat', 'aria-expanded': String(isRoomOpen) });
  drawUnread(element);
  return element;
}

/** @param {Element} button */
function drawUnread(button) {
  button.querySelector('.badge')?.remove();
  if (!unread) return;
  button.append(h('span', { class: 'badge' }, h('span', { 'aria-hidden': 'true' }, unread),
    h('span', { class: 'hidden' }, t('unread', { n: unread }))));
}

const narrow = matchMedia('(max-width: 1099.9px)');

/** @param {boolean} open */
function openRoom(open) {
  isRoomOpen = open;
  document.body.classList.toggle('with-room', open);
  drawBar();
  drawRoom();
  const opener = bar.querySelector('.room-button');
  if (!open && opener instanceof HTMLElement) opener.focus();
}

function drawRoom() {
  pane.hidden = !isRoomOpen;
  setInert();
  if (!isRoomOpen) return pane.replaceChildren();
  pane.setAttribute('aria-label', t('room'));
  fill(pane, h('header', null, h('h2', null, t('room')),
    button(t('close'), () => openRoom(false), { class: 'quiet', icon: 'close' })),
  roomView(views.signal));
  const input = pane.querySelector('input, textarea');
  if (input instanceof HTMLElement) input.focus();
}

/** On a narrow page the room is a sheet over everything else. */
function setInert() {
  const covered = isRoomOpen && narrow.matches;
  main.inert = bar.inert = covered;
}
narrow.addEventListener('change', setInert);
pane.addEventListener('keydown', event => {
  if (event.key === 'Escape') openRoom(false);
});

document.addEventListener('unread', event => {
  unread =
    /** @type {CustomEvent} */ (event).detail;
  // In place: a button that is replaced loses its focus, and the click that has begun.
  const button = bar.querySelector('.room-button');
  if (button) drawUnread(button);
});

// The start.

live.addEventListener('lost', () => reached(false));
addEventListener('offline', () => reached(false));
// The connection may have survived: then a list shows it.
addEventListener('online', () => files ? void files.load() : reached(true));
live.addEventListener('open', () => {
  reached(true);
  queue.wake();
});
queue.addEventListener('change', () => {
  // A drop box has no other connection that could say so.
  if (isDrop) {
    reached(!queue.items.some(({ state, error }) => state === 'offline' && !error?.status));
  }
});
queue.addEventListener('stored', () => {
  if (!live.connected) void files?.load();
});
document.addEventListener('language', mount);

function start() {
  const scope = session.scope;
  if (!isDrop && scope !== null && !isInScope()) {
    // Above it there is only the way to it.
    directory = scope;
    history.replaceState({ top: 0 }, '', addressOf(directory));
  }
  if (language !== document.documentElement.lang) document.documentElement.lang = language;
  mount();
}

listenForFiles();
try {
  if (isDrop) events.dispatchEvent(new Event('session'));
  else await refresh();
} catch (error) {
  // The page without JavaScript stays: it works.
  main.prepend(h('p', { class: 'trouble', role: 'alert' }, sentence(error)));
}
