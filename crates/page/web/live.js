// @ts-check
// The one WebSocket of this tab: lists, changes, transfers and the room of `/.anyport/live`.
import * as api from './api.js';

/**
 * @typedef {ReturnType<typeof setTimeout> | undefined} Timer
 * @typedef {{name: string, kind: string, size?: number, mtime?: number, mode?: string}} Entry
 * @typedef {Entry[] & {left_out?: number}} Entries
 * @typedef {{code: string, message: string, hint?: string|null, of?: string, id?: number,
 *   key?: string}} Refused
 * @typedef {{room: string, as?: string|null, members: string[], listeners: number, last?: string}}
 *   Joined
 * @typedef {{id?: string, from: string, text: string, time: string, key?: string}} Message
 * @typedef {{id?: string, nick: string, time: string}} Presence
 * @typedef {{joined?: Joined, message?: Message, join?: Presence, leave?: Presence,
 *   lost?: {count?: number}, members?: {members: string[], listeners: number}, error?: Refused,
 *   away?: boolean, past?: boolean}} RoomEvent
 * @typedef {{peer: string, protocol: string, encrypted: boolean, tls: string|null,
 *   rtt_ms: number|null, rate: number|null}} Connection
 * @typedef {RoomEvent & {changed?: {path: string}, connection?: Connection,
 *   list?: {path: string, id: number, entries: Entry[], more: boolean, left_out?: number},
 *   transfers?: {path: string, transfers: {name: string, bytes: number, size: number|null}[]}}}
 *   Received
 * @typedef {{id: number, path: string, entries: Entry[], left_out?: number, fetching: boolean,
 *   timer: Timer, began: number, resolve: (entries: Entries) => void,
 *   reject: (error: Error) => void}} Listing
 * @typedef {{room: string, as?: string, listen: boolean, since?: string, until?: string,
 *   phase: 'away'|'joining'|'behind'|'here', entered: number}} Membership
 * @typedef {{socket: () => WebSocket, list: (path: string) => Promise<Entries>,
 *   check: () => Promise<boolean>, wake: (wake: () => void) => void, hidden: () => boolean,
 *   error: (refused: Refused) => Error, random: () => number, key: () => string}} Surroundings
 */

/** Before a second attempt, and at most; doubled by each failure, half of it by chance. */
const FIRST_DELAY = 500;
const LONGEST_DELAY = 30_000;
/** A connection that ended earlier counts as a failure, or one that ends at once would storm. */
const STEADY = 10_000;
/** For a connection to open, and for a probe to be answered. */
const ANSWER = 10_000;
/** The same when the network or the person has just come back. */
const SOON = 3_000;
/** Without a message for so long, a probe is sent: a browser does not show the server's pings. */
const SILENCE = 25_000;
/** Without a connection, a list is fetched after so long. */
const PATIENCE = 1_000;
/** Two `changed` are at least so far apart, and so many times as long as the last list took: one
 * of 100,000 entries must not be sent without pause. */
const CHANGES = 500;
const PAUSES = 5;
/** Messages that the room has not confirmed. */
const UNCONFIRMED = 100;
/** Ids of events, by which one that is repeated is recognised. */
const REMEMBERED = 1_000;

/**
 * Events: `open`, `lost` (the server cannot be reached), `changed`, `transfers`, `connection`,
 * `room`; their `detail` is what the server sent.
 */
export class Live extends EventTarget {
  /** Whether the server could be reached the last time. */
  online = true;
  /** @type {Surroundings} */ #around;
  #wanted = false;
  /** @type {WebSocket|null} */ #socket = null;
  #open = false;
  #probing = false;
  #checking = false;
  #began = 0;
  #heard = 0;
  #failures = 0;
  /** @type {Timer} */ #retrying;
  #due = 0;
  /** @type {Timer} */ #watchdog;
  /** @type {Timer} */ #catching;

  /** @type {string|null} */ #path = null;
  /** What the server calls it. @type {string|undefined} */ #named;
  /** @type {Listing|null} */ #listing = null;
  #ids = 0;
  #dirty = false;
  #told = 0;
  #pace = CHANGES;
  /** @type {Timer} */ #telling;

  /** @type {Membership|null} */ #room = null;
  /** @type {Map<string, string>} */ #unconfirmed = new Map();
  /** @type {Set<string>} */ #seen = new Set();
  /** Requests to join that are not answered yet; only the answer to the last one counts. */
  #joins = 0;

  /** @param {Surroundings} around */
  constructor(around) {
    super();
    this.#around = around;
    around.wake(() => this.#wake());
  }

  /** Whether messages reach the server now. */
  get connected() {
    return this.#open;
  }

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#failures = 0;
    this.#connect();
  }

  /** Connects anew: the connection has the rights of the moment when it was opened. */
  renew() {
    if (!this.#wanted) return;
    this.#ended();
    this.#failures = 0;
    this.#connect();
  }

  /** Until the next `start`, `list` or `join`. */
  stop() {
    this.#wanted = false;
    this.#ended();
  }

  /**
   * Sends one message; whether there is a connection to send it on.
   * @param {object} message
   */
  send(message) {
    if (!this.#open || !this.#socket) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  // Lists

  /**
   * Lists a directory, which becomes the one that is watched. A later call cancels this one, which
   * then rejects with an `AbortError`.
   * @param {string} path
   * @returns {Promise<Entries>}
   */
  list(path) {
    this.#cancel();
    this.#path = path;
    this.#dirty = false;
    this.start();
    return new Promise((resolve, reject) => {
      const id = ++this.#ids;
      const [timer, began] = [undefined, performance.now()];
      this.#listing = { id, path, entries: [], fetching: false, timer, began, resolve, reject };
      if (this.#open) this.#request();
      else this.#later(this.#failures ? 0 : PATIENCE);
    });
  }

  /**
   * Watches a directory that is already listed, or none.
   * @param {string|null} path
   */
  watch(path) {
    if (path === this.#path) return;
    this.#cancel();
    this.#path = path;
    this.#dirty = false;
    if (path !== null) this.#ask(path, ++this.#ids);
  }

  #request() {
    const listing = this.#listing;
    if (!listing) return;
    listing.entries = [];
    this.#ask(listing.path, listing.id);
    this.#later(ANSWER);
  }

  /** @param {string} path @param {number} id */
  #ask(path, id) {
    this.#named = undefined;
    // Bytes that are no UTF-8 are lone surrogates here, which JSON does not have.
    const raw = /[\udc80-\udcff]/u.test(path) && { path_raw: api.encodePath(path) };
    this.send({ list: { ...raw || { path }, id } });
  }

  /** @param {number} delay */
  #later(delay) {
    const listing = this.#listing;
    if (!listing) return;
    clearTimeout(listing.timer);
    listing.timer = setTimeout(() => this.#fetch(listing), delay);
  }

  /** @param {Listing} listing */
  #fetch(listing) {
    if (this.#listing !== listing || listing.fetching) return;
    clearTimeout(listing.timer);
    listing.fetching = true;
    this.#around.list(listing.path).then(
      (entries) => this.#listed(listing, entries),
      (error) => this.#unlisted(listing, error),
    );
  }

  /** @param {Listing} listing @param {Entries} entries */
  #listed(listing, entries) {
    if (this.#listing !== listing) return;
    this.#listing = null;
    clearTimeout(listing.timer);
    this.#pace = Math.max(CHANGES, PAUSES * (performance.now() - listing.began));
    listing.resolve(entries);
    if (this.#dirty) this.#changed();
  }

  /** @param {Listing} listing @param {Error} error */
  #unlisted(listing, error) {
    if (this.#listing !== listing) return;
    this.#listing = null;
    clearTimeout(listing.timer);
    listing.reject(error);
  }

  #cancel() {
    if (this.#listing) {
      this.#unlisted(this.#listing, new DOMException('a newer list was requested', 'AbortError'));
    }
  }

  /** Says that the directory changed: after a list that runs, once a while, and when it is seen. */
  #changed() {
    this.#dirty = true;
    if (this.#listing || this.#telling || this.#path === null || this.#around.hidden()) return;
    const wait = Math.max(0, this.#told + this.#pace - performance.now());
    this.#telling = setTimeout(() => {
      this.#telling = undefined;
      // Looked at again: a list may have begun, and then says it when it ends.
      if (!this.#dirty || this.#listing || this.#path === null || this.#around.hidden()) return;
      this.#dirty = false;
      this.#told = performance.now();
      this.#emit('changed', { path: this.#path });
    }, wait);
  }

  // Room

  /**
   * Joins a room, as a member with a nick or as a listener without a name, and stays in it over
   * reconnections until `leave`. Joining the same room again only changes the name.
   * @param {{room: string, as?: string, listen?: boolean}} join
   */
  join({ room, as, listen = false }) {
    const same = this.#room?.room === room ? this.#room : null;
    if (!same) this.leave();
    else if (same.phase !== 'away') this.send({ leave: {} });
    this.#room = { room, as, listen, since: same?.since, phase: 'away', entered: -ANSWER };
    if (this.#open) this.#enter();
    else this.start();
  }

  leave() {
    if (!this.#room) return;
    if (this.#room.phase !== 'away') this.send({ leave: {} });
    this.#room = null;
    this.#unconfirmed.clear();
    this.#seen.clear();
    clearTimeout(this.#catching);
  }

  /**
   * Says a line in the room. Returns its key, or `null` if too many wait to be confirmed.
   * @param {string} text
   */
  say(text) {
    if (!this.#room || this.#unconfirmed.size >= UNCONFIRMED) return null;
    // One that another member can guess would let it confirm what the room does not have.
    const key = this.#around.key();
    this.#unconfirmed.set(key, text);
    if (this.#room.phase === 'here') this.send({ say: { text, key } });
    return key;
  }

  #enter() {
    const room = this.#room;
    if (!room) return;
    room.phase = 'joining';
    room.entered = performance.now();
    this.#joins++;
    const { as, since, listen } = room;
    const who = listen ? { listen } : as ? { as } : {};
    this.send({ join: { room: room.room, ...who, ...(since ? { since } : {}) } });
  }

  /** @param {Joined} joined */
  #joined(joined) {
    const room = this.#room;
    if (this.#joins > 0) this.#joins--;
    if (!room || room.phase !== 'joining' || this.#joins > 0) return;
    // The name that was asked for is kept, or a connection the server still holds would leave a
    // longer one with each return.
    if (joined.as && !room.listen) room.as ??= joined.as;
    room.until = joined.last;
    room.phase = 'behind';
    this.#emit('room', { joined });
    if (room.until === room.since) return this.#caughtUp();
    // The last event may not be kept any more: then a later one ends the waiting, or the time.
    clearTimeout(this.#catching);
    this.#catching = setTimeout(() => this.#caughtUp(), ANSWER);
  }

  /** The room has sent what was missed: what it does not have of us is said again, in order. */
  #caughtUp() {
    clearTimeout(this.#catching);
    if (this.#room?.phase !== 'behind') return;
    this.#room.phase = 'here';
    if (this.#room.listen) return;
    for (const [key, text] of this.#unconfirmed) this.send({ say: { text, key } });
  }

  /** @param {'message'|'join'|'leave'} kind @param {Message|Presence} event */
  #happened(kind, event) {
    const room = this.#room;
    // Events of a membership that ended come again after the next `joined`.
    if (!room || room.phase === 'away' || room.phase === 'joining') return;
    const { id } = event;
    const repeated = id !== undefined && this.#seen.has(id);
    if (id !== undefined && !repeated) {
      room.since = id;
      this.#seen.add(id);
      if (this.#seen.size > REMEMBERED) {
        const [oldest] = this.#seen;
        this.#seen.delete(oldest);
      }
    }
    if ('key' in event && event.key !== undefined) this.#unconfirmed.delete(event.key);
    // What happened before the join says nothing about who is there now.
    if (!repeated) this.#emit('room', { [kind]: event, past: room.phase === 'behind' });
    if (room.phase === 'behind' && reached(id, room.until)) this.#caughtUp();
  }

  /** @param {{count?: number}} lost */
  #lost(lost) {
    const room = this.#room;
    if (!room || room.phase === 'joining' || room.phase === 'away') return;
    // Events lost while up to date can still be had by joining again; not over and over, if this
    // client is too slow for the room.
    if (room.phase === 'here' && room.since && performance.now() - room.entered > ANSWER) {
      this.send({ leave: {} });
      return this.#enter();
    }
    this.#emit('room', { lost });
    // A room that has no events was started anew: nothing else follows.
    if (room.until === undefined) this.#caughtUp();
  }

  /** @param {Refused} error */
  #refused(error) {
    const room = this.#room;
    if (error.of === 'list') {
      const listing = this.#listing;
      if (listing && !listing.fetching && (error.id ?? listing.id) === listing.id) {
        this.#unlisted(listing, this.#around.error(error));
      }
      return;
    }
    if (error.of === 'join' && room) {
      if (this.#joins > 0) this.#joins--;
      if (this.#joins > 0) return;
      // An id of another room, or one that is no id: what is kept is better than nothing.
      if (room.since && error.code === 'bad-request') {
        room.since = undefined;
        return this.#enter();
      }
      room.phase = 'away';
    }
    if (error.of === 'say') {
      const [oldest] = this.#unconfirmed.keys();
      const key = error.key ?? oldest;
      if (key !== undefined) this.#unconfirmed.delete(key);
      return this.#emit('room', { error: { ...error, key } });
    }
    this.#emit('room', { error });
  }

  // Connection

  #connect() {
    this.#calm();
    if (this.#socket || !this.#wanted) return;
    this.#began = performance.now();
    /** @type {WebSocket} */ let socket;
    try {
      socket = this.#around.socket();
    } catch {
      return void this.#check();
    }
    this.#socket = socket;
    this.#open = false;
    // A socket that was given up may still report: it is not this one any more.
    /** @template T @param {(event: T) => void} handle @returns {(event: T) => void} */
    const mine = (handle) => (event) => this.#socket === socket && handle(event);
    socket.onopen = mine(() => this.#opened());
    socket.onmessage = mine((event) => this.#received(event.data));
    socket.onclose = mine((event) => this.#closed(event.code));
    this.#watch(ANSWER);
  }

  #opened() {
    this.#open = true;
    this.#began = this.#heard = performance.now();
    this.#probing = false;
    this.#watch(SILENCE);
    this.#reachable(true, true);
    this.#enter();
    if (this.#listing && !this.#listing.fetching) this.#request();
    // It was listed without being watched, or may have changed since.
    else if (this.#path !== null) this.#changed();
  }

  /** @param {unknown} data */
  #received(data) {
    this.#heard = performance.now();
    this.#probing = false;
    this.#watch(SILENCE);
    /** @type {Received} */ let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      return;
    }
    const listing = this.#listing;
    const { list, joined, lost, members, changed, transfers, connection, error } = message;
    if (list) {
      if (list.id === this.#ids) this.#named = list.path;
      if (!listing || listing.fetching || list.id !== listing.id) return;
      for (const entry of list.entries) listing.entries.push(entry);
      if (list.more) return this.#later(ANSWER);
      /** @type {Entries} */ const entries = listing.entries;
      if (list.left_out) entries.left_out = list.left_out;
      this.#listed(listing, entries);
    } else if (changed) {
      if (changed.path === this.#named) this.#changed();
    } else if (transfers) {
      if (transfers.path === this.#named) this.#emit('transfers', transfers);
    } else if (connection) this.#emit('connection', connection);
    else if (joined) this.#joined(joined);
    else if (message.message) this.#happened('message', message.message);
    else if (message.join) this.#happened('join', message.join);
    else if (message.leave) this.#happened('leave', message.leave);
    else if (lost) this.#lost(lost);
    else if (members) this.#emit('room', { members });
    else if (error) this.#refused(error);
  }

  /** @param {number} delay */
  #watch(delay) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#silent(), delay);
  }

  /** @param {number} [answer] */
  #silent(answer = ANSWER) {
    if (!this.#open || this.#probing) return this.#closed(1006);
    this.#probing = true;
    this.#watch(answer);
    this.send({ connection: {} });
  }

  /** Ends what belongs to the connection; without waiting for a peer that may be gone. */
  #ended() {
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    this.#joins = 0;
    this.#calm();
    clearTimeout(this.#watchdog);
    clearTimeout(this.#catching);
    if (socket) socket.close();
    if (this.#listing) this.#fetch(this.#listing);
    if (this.#room && this.#room.phase !== 'away') {
      this.#room.phase = 'away';
      this.#emit('room', { away: true });
    }
  }

  /** @param {number} code */
  #closed(code) {
    const opened = this.#open;
    if (opened && performance.now() - this.#began >= STEADY) this.#failures = 0;
    // The server is busy (1013) or refuses (1008): it is not asked again so soon.
    if (code === 1013 || code === 1008) this.#failures = Math.max(this.#failures, 4);
    // Too large (1009): the longest that waits is given up, or it would end each connection.
    const [longest] = [...this.#unconfirmed].sort(([, a], [, b]) => b.length - a.length);
    this.#ended();
    if (code === 1009 && longest) {
      const message = 'the message is too long for this server';
      this.#refused({ code: 'too-large', message, of: 'say', key: longest[0] });
    }
    // 1008 is also how the connections of a removed token end.
    if (opened && code !== 1008) this.#retry();
    else this.#check();
  }

  #calm() {
    clearTimeout(this.#retrying);
    this.#retrying = undefined;
  }

  #retry() {
    if (this.#socket || !this.#wanted) return;
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures++);
    this.#connectIn(longest * (0.5 + this.#around.random() / 2));
  }

  /** @param {number} delay */
  #connectIn(delay) {
    const due = performance.now() + delay;
    // One that is due sooner stays: a check that ends late must not put off what woke it.
    if (this.#retrying && this.#due <= due) return;
    clearTimeout(this.#retrying);
    this.#due = due;
    this.#retrying = setTimeout(() => this.#connect(), delay);
  }

  /** A WebSocket does not say why it did not open: the session says whether it is the token. */
  async #check() {
    if (this.#checking) return;
    this.#checking = true;
    try {
      if (await inTime(this.#around.check())) {
        this.#reachable(true);
        // Something on the way may not let WebSockets through: then this is how often it lists.
        this.#changed();
      } else this.#wanted = false;
    } catch {
      this.#reachable(false);
    }
    this.#checking = false;
    this.#retry();
  }

  /** @param {boolean} online @param {boolean} [always] */
  #reachable(online, always = false) {
    if (this.online === online && !always) return;
    this.online = online;
    this.#emit(online ? 'open' : 'lost', undefined);
  }

  /** The network is back, or the person: what would be noticed later is looked at now. */
  #wake() {
    if (this.#dirty) this.#changed();
    if (!this.#wanted) return;
    const now = performance.now();
    if (this.#open) {
      if (!this.#probing && now - this.#heard > SOON) this.#silent(SOON);
    } else if (this.#socket) {
      if (now - this.#began < SOON) return;
      this.#ended();
      this.#connect();
    } else {
      this.#failures = Math.min(this.#failures, 2);
      this.#connectIn(Math.max(0, this.#began + PATIENCE - now));
    }
  }

  /** @param {string} type @param {unknown} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Whether an event is the one, or a later one of the same start of the room.
 * @param {string|undefined} id @param {string|undefined} until
 */
function reached(id, until) {
  if (until === undefined) return true;
  const [epoch, number] = until.split('-');
  const [same, reached] = (id ?? '').split('-');
  return same === epoch && Number(reached) >= Number(number);
}

/**
 * A request that hangs would keep the next attempt from being made.
 * @template T @param {Promise<T>} answer @returns {Promise<T>}
 */
function inTime(answer) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no answer in time')), ANSWER);
    answer.then(resolve, reject).finally(() => clearTimeout(late));
  });
}

/** @type {{[code: string]: number}} */
const STATUS = { unauthorized: 401, forbidden: 403, 'not-found': 404 };

export const live = new Live({
  socket() {
    const url = new URL('.anyport/live', api.root);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return new WebSocket(url);
  },
  async list(path) {
    const url = path ? `files/${api.encodePath(path)}/` : '';
    const response = await api.request(url, { signal: AbortSignal.timeout(60_000) });
    const { entries, left_out } = await response.json();
    return left_out ? Object.assign(entries, { left_out }) : entries;
  },
  async check() {
    const session = await api.refresh();
    return session.rights.length > 0;
  },
  wake(wake) {
    addEventListener('online', wake);
    addEventListener('offline', wake);
    addEventListener('pageshow', wake);
    document.addEventListener('visibilitychange', () => document.hidden || wake());
  },
  hidden: () => document.hidden,
  error: ({ code, message, hint = null }) =>
    new api.ApiError(STATUS[code] ?? 400, code, message, hint),
  random: Math.random,
  key: () => crypto.getRandomValues(new Uint32Array(4)).join('-'),
});

let rights = '';
api.events.addEventListener('session', () => {
  const { user, rights: now, scope, signed_in } = api.session;
  const before = rights;
  rights = JSON.stringify([user, now, scope, signed_in]);
  if (now.length === 0) live.stop();
  else if (before && before !== rights) live.renew();
});
