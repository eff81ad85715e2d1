// @ts-check
// The list of a directory: sorted, filtered, selected, changed, and kept up to date.
import { ApiError, base, decodePath, encodePath, may, request, root, session } from './api.js';
import { announce, bdi, button, copyButton, fill, h, icon, visible } from './dom.js';
import { ago, amount, bytes, count, exact } from './format.js';
import { live } from './live.js';
import { language, t } from './words.js';

/** @typedef {{ path: string, name: string, folder: boolean, size: number, time: number }} File
 * @typedef {{ name: string, name_raw?: string, kind: string, size?: number,
 *   mtime?: number }} Listed
 * @typedef {{ name: string, bytes: number, size: number | null }} Transfer */

/** Rows that are drawn at first, and further ones for each "Show more": 10,000 rows are slow. */
const ROWS = 500;
/** From so many entries on a list has a filter. */
const FILTER_FROM = 20;
/** A request line has at most 8 KiB; the path before the names and a cookie's prefix need some. */
const MOST_QUERY = 7000;

/** What browsers show by themselves: opened in another tab, as uploads end with this one. */
const SHOWN = /\.(png|jpe?g|gif|webp|avif|svg|pdf|txt|json|html?|mp4|webm|mp3|ogg|wav|m4a)$/i;

/** @type {{ by: 'name' | 'size' | 'time', down: boolean }} */
const order = { by: 'name', down: false };
try {
  const [by, down] = (localStorage.getItem('anyport-sort') ?? '').split(' ');
  if (by === 'size' || by === 'time') order.by = by;
  order.down = down === 'down';
} catch {
  // Without storage the order is the usual one at each start.
}

/** Returns the directory of an address of this page. @param {string} [pathname] */
export function directoryOf(pathname = location.pathname) {
  const below = pathname.slice(root.pathname.length).replace(/^files(\/|$)/, '');
  // Without empty components: a URL that begins with two slashes is another host.
  return decodePath(below.split('/').filter(Boolean).join('/'));
}

/** Returns the URL of a file or directory. @param {string} path @param {boolean} [folder] */
export function urlOf(path, folder = false) {
  return new URL(`./${encodePath(path)}${folder && path ? '/' : ''}`, base).href;
}

/** @param {string} path */
export const nameOf = path => path.slice(path.lastIndexOf('/') + 1);

/** Lists a directory. @param {string} path
 * @returns {Promise<{ files: File[], leftOut: number }>} */
async function list(path) {
  /** @type {Listed[] & { left_out?: number | unknown[] }} */
  const entries = await live.list(path);
  const left = entries.left_out;
  return {
    files: entries.map(entry => {
      const full = entry.name_raw === undefined ? entry.name : decodePath(entry.name_raw);
      return {
        path: full, name: nameOf(full), folder: entry.kind === 'directory',
        size: entry.size ?? 0, time: (entry.mtime ?? 0) * 1000,
      };
    }),
    leftOut: Array.isArray(left) ? left.length : left ?? 0,
  };
}

/**
 * @param {{ signal: AbortSignal, open: (path: string) => void,
 *   share: (entry: { path: string, name: string, kind: string }) => void,
 *   maySend: () => boolean, sending: () => Map<string, boolean>,
 *   reached: (reached: boolean) => void }} page
 *   `sending` has the paths that this page uploads itself: they are rows of the transfers.
 */
export function filesView(page) {
  /** @type {string} */ let directory = '';
  /** @type {File[]} */ let files = [];
  let leftOut = 0;
  let loaded = false;
  /** The directory was changed, and its list is not there after a while. */
  let isPending = false;
  /** @type {ApiError | null} */ let failure = null;
  let filter = '';
  let limit = ROWS;
  /** @type {Set<string>} */ const selected = new Set();
  /** @type {string | null} */ let anchor = null;
  /** @type {Transfer[]} */ let transfers = [];
  /** @type {Map<string, { row: HTMLTableRowElement, state: string, box?: HTMLInputElement }>} */
  const rows = new Map();
  /** @type {File[]} */ let drawn = [];
  /** @type {string | null} */ let renaming = null;

  const search = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false',
    on: { input: () => { filter = search.value; limit = ROWS; draw(); } } });
  const summary = h('p', { class: 'summary' });
  const newFolder = button(t('new.folder'), () => askFolder(),
    { class: 'quiet', icon: 'newfolder' });
  const share = button(t('share'), () => page.share({ path: directory, name: nameOf(directory),
    kind: 'directory' }), { class: 'quiet', icon: 'share' });
  const all = h('a', { class: 'quiet', download: '' }, icon('download'),
    h('span', null, t('download.all')));
  const searchBox = h('label', { class: 'search' }, icon('search'), search);
  const tools = h('div', { class: 'tools' }, summary, searchBox, newFolder, share, all);
  const bar = h('div', { class: 'selection', role: 'group' });
  const folderForm = h('div');
  const refusal = h('p', { class: 'refusal', role: 'alert' });
  const box = h('input', { type: 'checkbox', 'aria-label': t('select.all'), on: { change: () => {
    for (const file of box.checked ? sorted() : files) {
      if (box.checked) selected.add(file.path); else selected.delete(file.path);
    }
    draw();
  } } });
  const heads =
    /** @type {const} */ (['name', 'size', 'time']).map(by => ({
    by,
    cell: h('th', { scope: 'col', class: by }, h('button', { type: 'button', on: {
      click: () => sort(by) } }, h('span', null, t(by === 'time' ? 'modified' : by)), icon('up'))),
  }));
  const body = h('tbody');
  const head = h('thead', null, h('tr', null, h('td', { class: 'pick' }, box),
    ...heads.map(({ cell }) => cell)));
  const table = h('table', { class: 'files', 'aria-label': t('files') }, head, body);
  const more = button('', () => { limit += ROWS; draw(); }, { class: 'more' });
  const note = h('p', { class: 'muted small' });
  const empty = h('div', { class: 'empty' });
  const element = h('section',
    { class: 'list', tabindex: '-1', 'aria-label': t('files'), hidden: true, id: 'files' },
    h('div', { class: 'above' }, tools, bar), folderForm, refusal, empty, table, more, note);

  /** @param {'name' | 'size' | 'time'} by */
  function sort(by) {
    // The newest and the largest are what people look for first.
    order.down = order.by === by ? !order.down : by !== 'name';
    order.by = by;
    try {
      localStorage.setItem('anyport-sort', `${by} ${order.down ? 'down' : 'up'}`);
    } catch {
      // As above.
    }
    draw();
  }

  /** The list by name, which is slow for 10,000 entries, and as it was drawn the last time.
   * @type {{ of?: File[], named: File[], sizes: Map<string, number>, key?: string,
   *   shown: File[] }} */
  let cache = { named: [], sizes: new Map(), shown: [] };

  function sorted() {
    if (cache.of !== files) {
      const { compare } = new Intl.Collator(language, { numeric: true });
      const named = [...files].sort((a, b) => compare(a.name, b.name));
      const sizes = new Map(files.map(({ name, size }) => [name, size]));
      cache = { of: files, named, sizes, shown: [] };
    }
    const { by, down } = order;
    const key = `${by} ${down} ${filter}`;
    if (cache.key === key) return cache.shown;
    const wanted = fold(filter.trim());
    const shown = cache.named.filter(({ name }) => fold(name).includes(wanted));
    if (by === 'name' && down) shown.reverse();
    shown.sort((a, b) => {
      if (a.folder !== b.folder) return a.folder ? -1 : 1;
      return by === 'name' ? 0 : (a[by] - b[by]) * (down ? -1 : 1);
    });
    cache.key = key;
    cache.shown = shown;
    return shown;
  }

  // Drawing: rows that remain keep their elements, and so focus, selection and scroll position.

  function draw() {
    element.hidden = !loaded;
    if (selected.size) {
      const there = new Set(files.map(({ path }) => path));
      for (const path of selected) if (!there.has(path)) selected.delete(path);
    }
    const shown = sorted();
    drawn = shown.slice(0, limit);
    const own = transfers.length ? page.sending() : new Map();
    // Not twice: as a row of the transfers above, or as a file that was listed before its end.
    const incoming = transfers.filter(({ name, bytes: done, size }) => {
      const isDone = own.get(join(directory, name));
      return isDone !== false && !(isDone && done === size)
        && cache.sizes.get(name) !== size;
    });
    const receiving = new Set(incoming.map(({ name }) => `\0${name}`));
    const kept = new Set(drawn.map(file => file.path));
    for (const [key, { row }] of rows) {
      if (kept.has(key) || receiving.has(key)) continue;
      row.remove();
      rows.delete(key);
    }
    // All rows first: making one may replace the element that the next one is placed before.
    const wanted = [...incoming.map(receivingRow), ...drawn.map(fileRow)];
    /** @type {Element | null} */ let at = body.firstElementChild;
    for (const row of wanted) {
      if (row === at) at = row.nextElementSibling;
      else body.insertBefore(row, at);
    }
    drawFrame(shown.length, incoming.length);
  }

  /** @param {number} matching @param {number} incoming */
  function drawFrame(matching, incoming) {
    const folders = files.filter(file => file.folder).length;
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const parts = [];
    if (folders) parts.push(t('count.folders', { n: count(folders) }));
    if (files.length - folders) {
      parts.push(`${t('count.files', { n: count(files.length - folders) })} · ${bytes(size)}`);
    }
    summary.textContent = parts.join(', ');
    const filtered = files.length >= FILTER_FROM || filter !== '';
    summary.hidden = filtered;
    searchBox.hidden = !filtered;
    search.placeholder = t('filter', { n: count(files.length) });
    search.setAttribute('aria-label', search.placeholder);
    newFolder.hidden = !page.maySend();
    share.hidden = !may('share');
    all.href = urlOf(directory, true) + '?zip';
    const nothing = files.length === 0 && incoming === 0;
    tools.hidden = selected.size > 0 || nothing;
    table.hidden = nothing || (matching === 0 && incoming === 0);
    bar.hidden = selected.size === 0;
    head.hidden = matching === 0;
    element.classList.toggle('selecting', selected.size > 0);
    if (selected.size) drawSelection();
    box.checked = selected.size > 0 && sorted().every(file => selected.has(file.path));
    box.indeterminate = selected.size > 0 && !box.checked;
    for (const { by, cell } of heads) {
      cell.setAttribute('aria-sort',
        order.by !== by ? 'none' : order.down ? 'descending' : 'ascending');
    }
    const rest = matching - drawn.length;
    more.hidden = rest <= 0;
    if (rest > 0) fill(more, t('more.rows', { n: count(Math.min(rest, ROWS)) }));
    note.textContent = leftOut ? t('left.out', { n: leftOut }) : '';
    note.hidden = !leftOut;
    drawEmpty(nothing, matching);
  }

  /** @param {boolean} nothing @param {number} matching */
  function drawEmpty(nothing, matching) {
    const state = isPending ? 'pending' : failure ? `failure ${failure.code}` : nothing ? 'nothing'
      : matching === 0 && filter ? `filter ${filter}` : '';
    empty.hidden = state === '';
    if (empty.dataset.state === state) return;
    empty.dataset.state = state;
    if (isPending) {
      fill(empty, h('p', { class: 'muted' }, t('loading')));
    } else if (failure) {
      const isGone = failure.status === 404 || failure.code === 'not-found';
      fill(empty, h('p', { class: 'headline' }, isGone ? t('not.found') : sentence(failure)),
        h('p', null, directory ? button(t('to.top'), () => page.open(''))
          : button(t('retry'), () => void load())));
    } else if (nothing) {
      fill(empty, h('p', { class: 'headline' }, t('empty')), page.maySend() && terminal());
    } else {
      fill(empty, h('p', { class: 'muted' }, t('no.match', { text: visible(filter) })));
    }
  }

  function terminal() {
    const command = session.commands.curl;
    if (!command) return null;
    // The command ends in the directory to which the rights are limited, or the top.
    const below = directory.slice(session.scope ? session.scope.length + 1 : 0);
    const line = below && command.endsWith('/') ? `${command}${encodePath(below)}/` : command;
    return h('p', { class: 'terminal' }, h('span', { class: 'muted' }, t('from.terminal')),
      h('code', null, visible(line)), copyButton(line));
  }

  /** @param {File} file */
  function fileRow(file) {
    // What is typed stays while the file changes.
    const state = renaming === file.path ? 'naming' : `${file.folder} ${file.size} ${file.time}`;
    let known = rows.get(file.path);
    if (!known || known.state !== state) {
      const focused = known?.row.contains(document.activeElement)
        ? document.activeElement?.className : null;
      const made = makeRow(file);
      known?.row.replaceWith(made.row);
      known = { ...made, state };
      rows.set(file.path, known);
      if (focused !== null) {
        const same = [...made.row.querySelectorAll('a, input')].find(e => e.className === focused);
        if (same instanceof HTMLElement) same.focus({ preventScroll: true });
      }
    }
    const chosen = selected.has(file.path);
    if (known.box) known.box.checked = chosen;
    known.row.classList.toggle('selected', chosen);
    return known.row;
  }

  /** @param {File} file */
  function makeRow(file) {
    const shown = visible(file.name);
    const box = h('input', { type: 'checkbox', class: 'box',
      'aria-label': t('select', { name: shown }),
      on: { click: event => choose(file, box.checked, event.shiftKey) } });
    const link = h('a', {
      class: 'open', href: urlOf(file.path, file.folder),
      target: !file.folder && SHOWN.test(file.name) ? '_blank' : null,
      download: !file.folder && !SHOWN.test(file.name) ? file.name : null,
      on: { click: event => {
        if (pressed) return event.preventDefault();
        if (!file.folder || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        page.open(file.path);
      } },
    }, bdi(file.name));
    const date = new Date(file.time);
    let pressed = false;
    /** @type {ReturnType<typeof setTimeout>} */ let press;
    const row = h('tr', { class: file.folder ? 'folder' : null, on: {
      pointerdown: event => {
        pressed = false;
        if (event.pointerType === 'mouse') return;
        press = setTimeout(() => {
          pressed = true;
          choose(file, !selected.has(file.path), false);
        }, 500);
      },
      pointerup: () => clearTimeout(press),
      pointercancel: () => clearTimeout(press),
      contextmenu: event => { if (pressed) event.preventDefault(); },
      keydown: event => {
        if (event.key === 'F2' && canRename()) rename(file);
      },
    } },
      h('td', { class: 'pick' }, h('label', null, box, icon(file.folder ? 'folder' : 'file'))),
      h('td', { class: 'name' }, renaming === file.path ? renameForm(file) : link),
      file.folder ? h('td', { class: 'size' })
        : h('td', { class: 'size', title: t('exact.bytes', { n: count(file.size) }) },
          bytes(file.size)),
      h('td', { class: 'time' }, h('time', {
        datetime: date.toISOString(), title: exact(date) }, ago(date))));
    return { row, box };
  }

  /** @param {Transfer} transfer */
  function receivingRow({ name, bytes: done, size }) {
    const key = `\0${name}`;
    let known = rows.get(key);
    if (!known) {
      const row = h('tr', { class: 'receiving' },
        h('td', { class: 'pick' }, icon('file')),
        h('td', { class: 'name' }, h('span', { class: 'open' }, bdi(name)),
          h('div', { class: 'bar' }, h('div'))),
        h('td', { class: 'size' }), h('td', { class: 'time' }, t('receiving')));
      known = { row, state: '' };
      rows.set(key, known);
    }
    const part = known.row.querySelector('.bar div');
    const cell = known.row.querySelector('.size');
    if (part instanceof HTMLElement && size) part.style.width = `${100 * done / size}%`;
    if (cell) {
      cell.textContent = size === null ? bytes(done)
        : t('of', { done: amount(done, size), size: bytes(size) });
    }
    return known.row;
  }

  // Selection and its operations.

  /** @param {File} file @param {boolean} on @param {boolean} range */
  function choose(file, on, range) {
    const from = drawn.findIndex(({ path }) => path === anchor);
    const to = drawn.indexOf(file);
    const part = range && from >= 0 && to >= 0
      ? drawn.slice(Math.min(from, to), Math.max(from, to) + 1) : [file];
    for (const { path } of part) {
      if (on) selected.add(path); else selected.delete(path);
    }
    anchor = file.path;
    refusal.textContent = '';
    draw();
  }

  function drawSelection() {
    const chosen = files.filter(file => selected.has(file.path));
    const key = `${chosen.map(({ path }) => path).join('\n')}`;
    if (bar.dataset.key === key) return;
    bar.dataset.key = key;
    const [only] = chosen;
    const size = chosen.reduce((sum, file) => sum + file.size, 0);
    const words = t('selected', { n: count(chosen.length) });
    bar.setAttribute('aria-label', words);
    const focused = bar.contains(document.activeElement);
    fill(bar,
      h('p', { class: 'summary' }, size ? `${words} · ${bytes(size)}` : words),
      downloadLink(chosen),
      chosen.length === 1 && only && canRename()
        && button(t('rename'), () => rename(only), { class: 'quiet', icon: 'pencil' }),
      chosen.length === 1 && only && may('share') && shareButton(only),
      may('delete') && deleteButton(chosen),
      button(t('clear'), clear, { class: 'quiet clear', icon: 'close' }));
    // The bar is built again while a checkbox of the list has focus; its own focus stays in it.
    if (focused) bar.querySelector('button')?.focus({ preventScroll: true });
  }

  /** @param {{ path: string, name: string, folder: boolean }} entry */
  function shareButton({ path, name, folder }) {
    return button(t('share'), () => page.share({ path, name, kind: folder ? 'directory' : 'file' }),
      { class: 'quiet', icon: 'share' });
  }

  function clear() {
    selected.clear();
    refusal.textContent = '';
    draw();
    element.focus({ preventScroll: true });
  }

  /** @param {File[]} chosen */
  function downloadLink(chosen) {
    const [only] = chosen;
    if (chosen.length === 1 && only && !only.folder) {
      return h('a', { class: 'quiet', href: urlOf(only.path), download: only.name },
        icon('download'), h('span', null, t('download')));
    }
    const names = chosen.length === files.length ? ''
      : chosen.map(({ name }) => `&name=${encodePath(name)}`).join('');
    const href = chosen.length === 1 && only ? `${urlOf(only.path, true)}?zip`
      : `${directory ? urlOf(directory, true) : root.href}?zip${names}`;
    const link = h('a', { class: 'quiet', href, download: '', on: { click: event => {
      if (href.length <= MOST_QUERY) return;
      event.preventDefault();
      refusal.textContent = t('too.many');
    } } }, icon('download'), h('span', null, t('download.zip')));
    return link;
  }

  /** @param {File[]} chosen */
  function deleteButton(chosen) {
    let sure = false;
    const element = button(t('delete'), async () => {
      const label = element.querySelector('span');
      if (!sure) {
        sure = true;
        element.className = 'danger';
        if (label) label.textContent = t('delete.sure', { n: chosen.length });
        setTimeout(() => {
          sure = false;
          element.className = 'quiet';
          if (label) label.textContent = t('delete');
        }, 5000);
        return;
      }
      element.disabled = true;
      await remove(chosen);
    }, { class: 'quiet', icon: 'trash' });
    return element;
  }

  /** @param {File[]} chosen */
  async function remove(chosen) {
    refusal.textContent = '';
    const refused = new Set();
    let deleted = 0;
    for (const file of chosen) {
      try {
        await request(urlOf(file.path, file.folder), { method: 'DELETE' });
        deleted += 1;
        selected.delete(file.path);
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) selected.delete(file.path);
        else refused.add(sentence(error));
      }
    }
    if (deleted) announce(t('deleted', { n: deleted }));
    refusal.textContent = [...refused].slice(0, 3).join('\n');
    delete bar.dataset.key;
    await load();
    element.focus({ preventScroll: true });
  }

  /** @param {File} file */
  function rename(file) {
    renaming = file.path;
    draw();
    const input = rows.get(file.path)?.row.querySelector('input[name=name]');
    if (!(input instanceof HTMLInputElement)) return;
    input.focus();
    const dot = file.folder ? -1 : file.name.lastIndexOf('.');
    input.setSelectionRange(0, dot > 0 ? dot : file.name.length);
  }

  /** @param {File} file */
  function renameForm(file) {
    return nameForm(t('rename.of', { name: visible(file.name) }), t('rename'), file.name,
      async name => {
        const path = join(directory, name);
        if (name !== file.name) {
          const target = new URL(urlOf(path, file.folder));
          await request(urlOf(file.path, file.folder),
            { method: 'MOVE', headers: { Destination: target.pathname } });
          announce(t('renamed', { name: visible(name) }));
          if (selected.delete(file.path)) selected.add(path);
        }
        renaming = null;
        await load();
        focusRow(path);
      }, () => {
        renaming = null;
        draw();
        focusRow(file.path);
      });
  }

  function askFolder() {
    const close = () => {
      fill(folderForm);
      newFolder.focus({ preventScroll: true });
    };
    fill(folderForm, nameForm(t('new.folder.name'), t('create'), '', async name => {
      await request(urlOf(join(directory, name), true), { method: 'MKCOL' });
      announce(t('created', { name: visible(name) }));
      fill(folderForm);
      await load();
      focusRow(join(directory, name));
    }, close));
    folderForm.querySelector('input')?.focus();
  }

  /**
   * @param {string} label @param {string} action @param {string} value
   * @param {(name: string) => Promise<void>} done @param {() => void} cancel
   */
  function nameForm(label, action, value, done, cancel) {
    const input = h('input', { name: 'name', type: 'text', required: true, 'aria-label': label,
      placeholder: value ? null : label, autocomplete: 'off', autocapitalize: 'off',
      spellcheck: 'false', value });
    const error = h('p', { class: 'refusal', role: 'alert' });
    const submit = h('button', null, h('span', null, action));
    return h('form', { class: 'naming', on: {
      submit: async event => {
        event.preventDefault();
        const name = input.value;
        if (/\//.test(name) || name === '.' || name === '..' || name === '') {
          error.textContent = t('bad.name');
          return;
        }
        submit.disabled = true;
        try {
          await done(name);
        } catch (refused) {
          error.textContent = sentence(refused);
          submit.disabled = false;
          input.focus();
        }
      },
      keydown: event => {
        event.stopPropagation();
        if (event.key === 'Escape') cancel();
      },
    } }, input, submit, button(t('cancel'), cancel, { class: 'quiet' }), error);
  }

  /** @param {string} path */
  function focusRow(path) {
    const link = rows.get(path)?.row.querySelector('a');
    if (link) link.focus();
    else element.focus({ preventScroll: true });
  }

  const canRename = () => page.maySend() && may('delete');

  // Loading.

  let turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let retry;

  /** Lists the directory again; only the last call draws. */
  async function load() {
    const mine = ++turn;
    clearTimeout(retry);
    try {
      const listing = await list(directory);
      if (mine !== turn) return;
      ({ files, leftOut } = listing);
      failure = null;
      page.reached(true);
    } catch (error) {
      if (mine !== turn || (error instanceof DOMException && error.name === 'AbortError')) return;
      if (!(error instanceof ApiError) || error.code === 'offline') {
        // The last list remains, and the page says why it may be old.
        page.reached(false);
        retry = setTimeout(load, 3000);
        return;
      }
      failure = error;
      files = [];
    }
    loaded = true;
    isPending = false;
    draw();
  }

  live.addEventListener('changed', () => void load(), { signal: page.signal });
  live.addEventListener('transfers', event => {
    transfers =
      /** @type {CustomEvent} */ (event).detail.transfers;
    if (loaded) draw();
  }, { signal: page.signal });

  const clock = setInterval(() => {
    for (const time of body.querySelectorAll('time')) {
      const words = ago(new Date(time.dateTime));
      if (time.textContent !== words) time.textContent = words;
    }
  }, 30_000);
  page.signal.addEventListener('abort', () => {
    turn += 1;
    clearTimeout(retry);
    clearInterval(clock);
  });

  element.addEventListener('keydown', event => {
    if (event.key === 'Escape' && selected.size) clear();
  });

  return {
    element,
    load,
    /** Shows a directory; the previous list stays until the new one is there.
     * @param {string} path */
    async show(path) {
      directory = path;
      selected.clear();
      anchor = renaming = null;
      transfers = [];
      filter = search.value = '';
      limit = ROWS;
      fill(folderForm);
      refusal.textContent = '';
      element.setAttribute('aria-busy', 'true');
      isPending = true;
      const slow = setTimeout(() => {
        if (!isPending) return;
        files = [];
        failure = null;
        loaded = true;
        draw();
      }, 400);
      await load();
      if (!isPending) clearTimeout(slow);
      element.removeAttribute('aria-busy');
    },
  };
}

/** @param {string} text */
const fold = text => text.normalize().toLocaleLowerCase();

/** @param {string} directory @param {string} name */
export const join = (directory, name) => directory ? `${directory}/${name}` : name;

/** Returns what the server says about a refusal, with its hint. @param {unknown} error */
export function sentence(error) {
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 0 && error.code === 'offline') return t('offline.read');
  const text = visible(error.message);
  return error.hint ? `${text} (${visible(error.hint)})` : text;
}
