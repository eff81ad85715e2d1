// @ts-check
// The queue of uploads. It touches no element: `transfers.js` shows it.
import { base, events, may, refresh, root, session } from './api.js';
import { Failure, attempt, discard, look } from './resumable.js';
import * as saved from './saved.js';

/** @typedef {'waiting' | 'hashing' | 'sending' | 'paused' | 'offline' | 'refused' | 'done'
 *   | 'cancelled' | 'needs-file'} State */

/** @typedef {{ id: string, base: string, isDrop: boolean, user: string | null, directory: string,
 *   path: string, name: string, size: number, lastModified: number, order: number, file?: File,
 *   handle?: FileSystemFileHandle, state: State, bytes: number, rate: number,
 *   left: number | null, seconds: number, receipt?: import('./resumable.js').Receipt,
 *   error?: Failure, url?: string, isNew: boolean, isContinued?: boolean, isHashing?: boolean,
 *   sent?: number, stall?: number, hashing?: import('./resumable.js').Hashing,
 *   ended?: number, isHeld?: boolean, isHashedAgain?: boolean, isAppending?: boolean }} Item */

/** @typedef {{ file: File, path: string, handle?: FileSystemFileHandle | null }} Chosen */

/** Three of the six connections that a browser opens to a host over HTTP/1.1. */
const IN_FLIGHT = 3;
const FIRST_DELAY = 500;
const LONGEST_DELAY = 30_000;
/** Seconds over which the rate is smoothed. */
const SMOOTHING = 3;
const CHANGE_INTERVAL = 100;
const KEEP_INTERVAL = 1;
/** Seconds without progress after which a request is repeated when the connection returns. */
const STUCK = 5;

const ACTIVE = ['hashing', 'sending'];
const BUSY = ['waiting', 'offline', ...ACTIVE];

/** @typedef {{ controller: AbortController, delay: number, timer?: ReturnType<typeof setTimeout>,
 *   sample?: { at: number, bytes: number }, since: number, kept: number, moved: number }} Run */

/** A drop box names each file anew, and shows nothing of it. */
const isDrop = base.href !== new URL('files/', root).href;

/** `change` (no more than ten a second), `started`, `stored`, `failed`; `detail` is the item. */
export class Queue extends EventTarget {
  /** @type {Item[]} */
  items = [];

  /** Why nothing is sent: the server's disk is full, or the session ended.
   * @type {Failure | null} */
  halted = null;

  /** @type {Map<Item, Run>} */
  #runs = new Map();

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #changing;

  #order = Date.now();

  /** @type {string | null | undefined} */
  #user;

  constructor() {
    super();
    const wake = () => this.wake();
    addEventListener('online', wake);
    addEventListener('pageshow', wake);
    document.addEventListener('visibilitychange', () => document.hidden || wake());
    addEventListener('pagehide', () => {
      for (const [item, run] of this.#runs) this.#elapse(item, run);
      this.#keep([...this.#runs.keys()]);
    });
    addEventListener('beforeunload', event => {
      if (this.isBusy) event.preventDefault();
    });
    if (isDrop) this.#change(null);
    events.addEventListener('session', () => {
      if (isDrop || !may('write')) return;
      if (this.#user !== session.user) this.#change(session.user);
      if (this.halted?.kind === 'signed-out') this.resumeAll(({ isHeld }) => !!isHeld);
    });
  }

  /** Whether leaving would interrupt something. */
  get isBusy() {
    return this.items.some(item => BUSY.includes(item.state));
  }

  /** Sums of what is shown in one line. */
  get total() {
    const total = { files: 0, bytes: 0, size: 0, rate: 0, active: 0, failed: 0 };
    for (const item of this.items) {
      total.files += 1;
      total.size += item.size;
      total.bytes += item.state === 'done' ? item.size : item.bytes;
      if (ACTIVE.includes(item.state)) total.rate += item.rate;
      if (BUSY.includes(item.state)) total.active += 1;
      if (item.state === 'refused') total.failed += 1;
    }
    return total;
  }

  /**
   * Adds files, to be stored below a directory under their paths.
   * @param {Iterable<Chosen>} files
   * @param {string} [directory]
   * @returns {Item[]}
   */
  add(files, directory = '') {
    /** @type {Item[]} */
    const added = [];
    const unfinished = this.items.filter(({ state }) => state !== 'done');
    const byFile = new Map(unfinished.map(item => [fingerprint(item), item]));
    const changed = new Map(unfinished.filter(isStale).map(item => [placeOf(item), item]));
    // A file that is added again may be chosen without its folder, or in another directory.
    const awaited = new Map(unfinished.filter(({ state }) => state === 'needs-file')
      .map(item => [fingerprint({ ...item, directory: '', path: item.name }), item]));
    /** @param {Item | undefined} item */
    const isAwaited = item => item && ['needs-file', 'refused'].includes(item.state);
    for (const { file, path, handle = null } of files) {
      const place = { directory: directory.replace(/^\/+|\/+$/g, ''), path: path || file.name };
      const { size, lastModified } = file;
      const name = nameOf(place.path);
      const stale = changed.get(placeOf(place));
      const key = fingerprint({ ...place, size, lastModified });
      const same = stale ?? byFile.get(key);
      if (same && !isAwaited(same)) continue;
      const alone = name === place.path
        ? awaited.get(fingerprint({ directory: '', path: name, size, lastModified })) : undefined;
      const known = same ?? (isAwaited(alone) ? alone : undefined);
      const item = known ?? this.#item({ ...place, name, size, lastModified,
        id: saved.unique(), order: this.#order++ });
      if (stale) this.#replace(item, file, handle ?? undefined);
      else this.#give(item, file, handle ?? undefined);
      if (!known) this.items.push(item);
      byFile.set(key, item);
      added.push(item);
    }
    this.#keep(added);
    // New files are tried: there may be space for them.
    if (added.length && this.halted?.kind === 'full') this.halted = null;
    this.#schedule();
    if (added.length) this.#emit('started', added);
    return added;
  }

  /** Shows and continues nothing of another person who used this browser.
   * @param {string | null} user */
  #change(user) {
    // What was added before the session was known is of the first user.
    const isFirst = this.#user === undefined;
    this.#user = user;
    for (const item of this.items) {
      if (isFirst) item.user = user;
      else if (item.user !== user) this.#drop(item);
    }
    this.#keep(this.items);
    void this.restore();
  }

  /** Continues the uploads of an earlier visit, as far as the browser can read their files. */
  async restore() {
    const user = this.#user ?? null;
    for (const record of await saved.adopt(base.href, user)) {
      if (this.#user !== user) return;
      if (this.items.some(({ id }) => id === record.id)) continue;
      // The person was faster; the server finds what it has by path, size and time.
      const isAdded = this.items.some(item => fingerprint(item) === fingerprint(record));
      if (isAdded) {
        void saved.remove([record.id]);
        continue;
      }
      const { bytes, seconds, url, isNew, refusal } = record;
      const state = refusal ? 'refused' : 'needs-file';
      const item = this.#item({ ...record, name: nameOf(record.path), state });
      Object.assign(item, { bytes, seconds, url, isNew });
      if (refusal) item.error = new Failure(refusal.kind, refusal);
      this.items.push(item);
      if (refusal) continue;
      await this.#reopen(item, record.isPaused ? 'paused' : 'waiting', false);
      if (item.state === 'needs-file') void this.#look(item);
    }
    this.#schedule();
  }

  /** Asks how much the server has of a file that a person must add again. @param {Item} item */
  async #look(item) {
    const known = await look(item);
    if (item.state !== 'needs-file' || !known) return;
    item.bytes = known.bytes;
    if (known.receipt) this.#done(item, known.receipt);
    this.#changed();
  }

  /** Continues an upload with its file, and returns whether it is that file.
   * @param {Item} item @param {File} file */
  give(item, file) {
    const isSame = file.size === item.size && file.lastModified === item.lastModified;
    if (file.name !== item.name || !isSame && !isStale(item)) return false;
    if (isStale(item)) this.#replace(item, file);
    else this.#give(item, file);
    this.#keep([item]);
    this.#schedule();
    return true;
  }

  /** Stops an upload until it is resumed. @param {Item} item */
  pause(item) {
    if (!BUSY.includes(item.state)) return;
    this.#stop(item, 'paused');
    this.#keep([item]);
    this.#schedule();
  }

  /** Continues a paused upload, or one whose file the browser may read after it asked.
   * @param {Item} item */
  async resume(item) {
    if (item.state === 'needs-file' && item.handle) {
      await this.#reopen(item, 'waiting', true);
    } else if (item.state === 'paused') {
      this.halted = null;
      this.#stop(item, item.file ? 'waiting' : 'needs-file');
    }
    this.#keep([item]);
    this.#schedule();
  }

  /** Sends a refused file again. @param {Item} item */
  async retry(item) {
    if (item.state !== 'refused') return this.resume(item);
    if (isStale(item)) {
      await this.#anew(item);
    } else {
      item.error = undefined;
      item.state = item.file ? 'waiting' : 'needs-file';
    }
    this.#keep([item]);
    this.#schedule();
  }

  /** Ends an upload, and removes what the server has of it. @param {Item} item */
  cancel(item) {
    if (item.state === 'done') return;
    this.#drop(item);
    void discard(item);
    void saved.remove([item.id]);
  }

  pauseAll() {
    for (const item of this.items) if (BUSY.includes(item.state)) this.#stop(item, 'paused');
    this.#keep(this.items);
    this.#changed();
  }

  cancelAll() {
    for (const item of this.items) this.cancel(item);
  }

  /** Continues everything that is paused. @param {(item: Item) => boolean} [which] */
  resumeAll(which = () => true) {
    this.halted = null;
    for (const item of this.items) {
      if (item.state !== 'paused' || !which(item)) continue;
      item.error = undefined;
      item.isHeld = false;
      item.state = item.file ? 'waiting' : 'needs-file';
    }
    this.#keep(this.items);
    this.wake();
  }

  /** Tries again immediately: the connection may have returned. */
  wake() {
    if (this.halted?.kind === 'signed-out') void refresh().catch(() => {});
    for (const [item, run] of this.#runs) {
      const isStuck = item.isAppending && item.bytes < item.size && now() - run.moved > STUCK;
      if (isStuck) this.#stop(item, 'waiting');
      else if (item.state === 'offline') this.#again(item, run, 0);
    }
    this.#schedule();
  }

  /** @param {Partial<Item> & Pick<Item, 'id' | 'directory' | 'path' | 'name' | 'size'
   *   | 'lastModified' | 'order'>} known @returns {Item} */
  #item(known) {
    const { id, directory, path, name, size, lastModified, order, file, handle, state } = known;
    return { id, directory, path, name, size, lastModified, order, file, handle,
      state: state ?? 'waiting', base: base.href, isDrop, user: this.#user ?? null, isNew: false,
      bytes: 0, rate: 0, left: null, seconds: 0 };
  }

  /** @param {Item} item @param {File} file @param {FileSystemFileHandle} [handle] */
  #give(item, file, handle) {
    item.file = file;
    item.handle = handle ?? item.handle;
    item.error = undefined;
    item.hashing?.cancel();
    item.hashing = undefined;
    item.state = 'waiting';
  }

  /** Reads the file of a handle; asks for the permission only on a click.
   * @param {Item} item @param {State} state @param {boolean} mayAsk */
  async #reopen(item, state, mayAsk) {
    const { handle } = item;
    if (!handle) return;
    try {
      const { queryPermission, requestPermission } = /** @type {Record<string, Function>} */ (
        /** @type {unknown} */ (handle));
      let permission = await queryPermission?.call(handle, { mode: 'read' });
      if (permission !== 'granted' && mayAsk) {
        permission = await requestPermission?.call(handle, { mode: 'read' });
      }
      if (permission !== 'granted') return;
      const file = await handle.getFile();
      if (file.size === item.size && file.lastModified === item.lastModified) {
        this.#give(item, file);
        item.state = state;
      } else {
        item.state = 'refused';
        item.error = new Failure('changed');
      }
    } catch { /* The file was moved, or its disk is away: a person can add it again. */
      item.handle = undefined;
    }
    this.#changed();
  }

  /** Sends a file that changed as it is now, if it can be read. @param {Item} item */
  async #anew(item) {
    try {
      const file = await item.handle?.getFile() ?? item.file;
      // A `File` of a changed file can never be read again.
      await file?.slice(0, 1).arrayBuffer();
      if (file) this.#replace(item, file);
    } catch { /* A person must choose it again. */ }
  }

  /** @param {Item} item @param {File} file @param {FileSystemFileHandle} [handle] */
  #replace(item, file, handle) {
    void discard({ ...item });
    item.url = undefined;
    item.bytes = item.seconds = 0;
    item.size = file.size;
    item.lastModified = file.lastModified;
    this.#give(item, file, handle);
  }

  /** Uploads that are sent or wait for the connection. One that the server often refused for a
   * while does not block the others. */
  get #inFlight() {
    let count = 0;
    for (const [item, { delay }] of this.#runs) {
      const isBlocked = item.state === 'offline' && item.error?.status && delay >= LONGEST_DELAY;
      if (!isBlocked) count += 1;
    }
    return count;
  }

  #schedule() {
    this.#changed();
    if (this.halted) return;
    let free = IN_FLIGHT - this.#inFlight;
    for (const item of this.items) {
      if (free <= 0) return;
      if (item.state !== 'waiting') continue;
      free -= 1;
      void this.#run(item, { controller: new AbortController(), delay: 0, since: 0, kept: now(),
        moved: now() });
    }
  }

  /** @param {Item} item @param {Run} run */
  async #run(item, run) {
    this.#runs.set(item, run);
    item.state = 'sending';
    item.error = undefined;
    item.rate = 0;
    item.left = null;
    run.sample = undefined;
    const { signal } = run.controller;
    run.since = run.moved = now();
    const before = item.bytes;
    try {
      const isMine = await saved.isMine(item.id);
      if (signal.aborted) return;
      // Another tab continues it.
      if (!isMine) return this.#drop(item);
      const receipt = await attempt(item, {
        signal,
        moved: () => this.#moved(item, run),
        // An upload that was cancelled meanwhile must not come back.
        keep: async () => {
          if (item.state !== 'cancelled') await saved.put([record(item)]);
        },
      });
      if (signal.aborted) return;
      this.#elapse(item, run);
      this.#runs.delete(item);
      this.#done(item, receipt);
    } catch (error) {
      if (signal.aborted) return;
      this.#elapse(item, run);
      const failure = error instanceof Failure ? error
        : new Failure('refused', { code: 'internal', message: String(error) });
      this.#fail(item, run, failure, before);
    }
    this.#schedule();
  }

  /** @param {Item} item @param {import('./resumable.js').Receipt} receipt */
  #done(item, receipt) {
    Object.assign(item, { state: 'done', bytes: item.size, rate: 0, left: null, ended: Date.now(),
      receipt: { ...receipt, seconds: item.seconds }, handle: undefined, hashing: undefined });
    void saved.remove([item.id]);
    this.#emit('stored', item);
    item.file = undefined;
  }

  /** @param {Item} item @param {Run} run @param {Failure} failure @param {number} before */
  #fail(item, run, failure, before) {
    item.error = failure;
    if (failure.kind === 'offline' && !this.halted) {
      item.state = 'offline';
      if (item.bytes > before) run.delay = 0;
      const delay = Math.min(LONGEST_DELAY, run.delay * 2 || FIRST_DELAY);
      run.delay = delay;
      // Half of it at random, so that many pages do not return at one moment.
      const jittered = delay * (0.5 + Math.random() / 2);
      this.#again(item, run, failure.code === 'stalled' ? 0 : failure.after * 1000 || jittered);
      return;
    }
    this.#runs.delete(item);
    if (failure.kind === 'full' || failure.kind === 'signed-out' || failure.kind === 'offline') {
      const isFirst = !this.halted;
      // Smaller files may still have space.
      if (failure.kind === 'full') {
        this.items = [...this.items.filter(other => other !== item), item];
      }
      this.halted ??= failure;
      item.state = 'paused';
      item.isHeld = true;
      for (const other of this.items) {
        // Requests that the server receives may still end well.
        if (other.state !== 'waiting' && other.state !== 'offline') continue;
        this.#stop(other, 'paused');
        other.isHeld = true;
      }
      // The page says itself that a person is signed out.
      if (isFirst && failure.kind === 'full') this.#emit('failed', item);
      return;
    }
    item.state = 'refused';
    if (isStale(item)) {
      // What the server has of it is of no use, and takes space.
      void discard({ ...item });
      item.url = undefined;
      item.bytes = 0;
    }
    this.#keep([item]);
    this.#emit('failed', item);
  }

  /** @param {Item} item @param {Run} run @param {number} delay */
  #again(item, run, delay) {
    clearTimeout(run.timer);
    run.timer = setTimeout(() => {
      if (this.#runs.get(item) !== run || item.state !== 'offline') return;
      void this.#run(item, run);
      this.#changed();
    }, delay);
  }

  /** Ends an upload here, and leaves what is saved of it. @param {Item} item */
  #drop(item) {
    this.#stop(item, 'cancelled');
    item.hashing?.cancel();
    this.items = this.items.filter(other => other !== item);
    this.#schedule();
  }

  /** @param {Item} item @param {State} state */
  #stop(item, state) {
    const run = this.#runs.get(item);
    this.#runs.delete(item);
    if (run) this.#elapse(item, run);
    item.state = state;
    item.rate = 0;
    item.left = null;
    item.error = undefined;
    if (run) {
      clearTimeout(run.timer);
      run.controller.abort();
    }
  }

  /** @param {Item} item @param {Run} run */
  #moved(item, run) {
    if (this.#runs.get(item) !== run || !ACTIVE.includes(item.state)) return;
    const at = now();
    const { sample } = run;
    run.moved = at;
    item.state = item.isHashing && item.bytes === item.size ? 'hashing' : 'sending';
    if (at - run.kept > KEEP_INTERVAL) {
      run.kept = at;
      this.#elapse(item, run);
      this.#keep([item]);
    }
    if (!sample || item.bytes < sample.bytes) {
      run.sample = { at, bytes: item.bytes };
    } else if (at - sample.at >= 0.25) {
      const span = at - sample.at;
      const rate = (item.bytes - sample.bytes) / span;
      item.rate = item.rate ? item.rate + (rate - item.rate) * (1 - Math.exp(-span / SMOOTHING))
        : rate;
      item.left = item.rate > 0 ? (item.size - item.bytes) / item.rate : null;
      run.sample = { at, bytes: item.bytes };
    }
    this.#changed();
  }

  /** @param {Item} item @param {Run} run */
  #elapse(item, run) {
    if (run.since) item.seconds += now() - run.since;
    run.since = ACTIVE.includes(item.state) ? now() : 0;
  }

  /** @param {Item[]} items */
  #keep(items) {
    const kept = items.filter(({ state }) => state !== 'done' && state !== 'cancelled');
    if (kept.length) void saved.put(kept.map(record));
  }

  #changed() {
    this.#changing ??= setTimeout(() => {
      this.#changing = undefined;
      this.dispatchEvent(new Event('change'));
    }, CHANGE_INTERVAL);
  }

  /** @param {string} type @param {Item | Item[]} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function now() {
  return performance.now() / 1000;
}

/** @param {Pick<Item, 'directory' | 'path' | 'size' | 'lastModified'>} item */
function fingerprint({ directory, path, size, lastModified }) {
  return `${lastModified}/${size}/${placeOf({ directory, path })}`;
}

/** @param {Pick<Item, 'directory' | 'path'>} item */
function placeOf({ directory, path }) {
  return `${directory}/${path}`;
}

/** @param {string} path */
function nameOf(path) {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** Whether the file is another one than was chosen. @param {Item} item */
export function isStale({ state, error }) {
  return state === 'refused' && (error?.kind === 'changed' || error?.kind === 'differs');
}

/** @param {Item} item @returns {saved.Saved} */
function record(item) {
  const { id, base, user, directory, path, size, lastModified, order, seconds, bytes, isNew, url,
    handle, state, error } = item;
  const refusal = state === 'refused' && error ? { ...error, message: error.message } : undefined;
  return { id, owner: saved.me, user, time: Date.now(), base, directory, path, size, lastModified,
    order, seconds, bytes, isNew, isPaused: state === 'paused' && !item.isHeld, url, handle,
    refusal };
}

/** The queue of this page. */
export const queue = new Queue();
