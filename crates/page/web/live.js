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

/** Delay of the first retry, doubled by each failure up to the longest; half of it is random. */
const FIRST_DELAY = 500;
const LONGEST_DELAY = 30_000;
/** A connection that ends earlier counts as a failure, or immediate closes would not back off. */
const STEADY = 10_000;
/** Timeout of opening handshakes, probes and parts of a list. */
const ANSWER = 10_000;
/** Timeout of a probe after the network or the person has returned. */
const SOON = 3_000;
/** Idle time before a probe: scripts do not see the server's pings. */
const SILENCE = 25_000;
/** Time that a list waits for a connection before it is fetched. */
const PATIENCE = 1_000;
/** Least time between two `changed`, and as a multiple of the duration of the last list: one of
 * 100,000 entries must not be sent without pause. */
const CHANGES = 500;
const PAUSES = 5;
/** Maximum number of messages that the room has not confirmed. */
const UNCONFIRMED = 100;
/** Maximum number of remembered event ids, which detect repeated events. */
const REMEMBERED = 1_000;

/**
 * Events: `open`, `lost` (the server cannot be reached), `changed`, `transfers`, `connection`,
 * `room`; their `detail` is what the server sent.
 */
export class Live extends EventTarget {
  /** Whether the server was reachable when last tried. */
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

  /** Reconnects: a connection keeps the rights that it was opened with. */
  renew() {
    if (!this.#wanted) return;
    this.#ended();
    this.#failures = 0;
    this.#connect();
  }

  /** Closes the connection until the next `start`, `list` or `join`. */
  stop() {
    this.#wanted = false;
    this.#ended();
  }

  /**
   * Sends one message. Returns false without a connection.
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
   * Ends the watch of another directory than this one; only a list begins one.
   * @param {string|null} path
   */
  watch(path) {
    if (path === this.#path) return;
    this.#cancel();
    this.#path = path;
  }

  #request() {
    const listing = this.#listing;
    if (!listing) return;
    listing.entries = [];
    const { path, id } = listing;
    this.#named = undefined;
    // Bytes that are not UTF-8 are lone surrogates here, which JSON does not have.
    const raw = /[\udc80-\udcff]/u.test(path) && { path_raw: api.encodePath(path) };
    this.send({ list: { ...raw || { path }, id } });
    this.#later(ANSWER);
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

  /** Reports a change after a running list, at a limited rate, and only to a visible page. */
  #changed() {
    this.#dirty = true;
    if (this.#listing || this.#telling || this.#path === null || this.#around.hidden()) return;
    const wait = Math.max(0, this.#told + this.#pace - performance.now());
    this.#telling = setTimeout(() => {
      this.#telling = undefined;
      // Checked again: a list that has begun since reports the change when it ends.
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
   * Sends a message to the room. Returns its key, or `null` if too many are unconfirmed.
   * @param {string} text
   */
  say(text) {
    if (!this.#room || this.#unconfirmed.size >= UNCONFIRMED) return null;
    // Random: with a guessed key, another member could confirm a message that the room lacks.
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
    // The wished name is kept: while the server still holds the old connection, the nickname
    // gets a suffix, and with each reconnection another.
    if (joined.as && !room.listen) room.as ??= joined.as;
    room.until = joined.last;
    room.phase = 'behind';
    this.#emit('room', { joined });
    if (room.until === room.since) return this.#caughtUp();
    // The room may not keep the last event any more; then a later event or the timeout ends this.
    clearTimeout(this.#catching);
    this.#catching = setTimeout(() => this.#caughtUp(), ANSWER);
  }

  /** All missed events are received: the messages that the room lacks are sent again, in order. */
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
    // Events of an ended membership are repeated after the next `joined`.
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
    // Events before the join do not change who is there now.
    if (!repeated) this.#emit('room', { [kind]: event, past: room.phase === 'behind' });
    if (room.phase === 'behind' && reached(id, room.until)) this.#caughtUp();
  }

  /** @param {{count?: number}} lost */
  #lost(lost) {
    const room = this.#room;
    if (!room || room.phase === 'joining' || room.phase === 'away') return;
    // Joining again returns events that were lost while up to date; at a limited rate, in case
    // this client is too slow for the room.
    if (room.phase === 'here' && room.since && performance.now() - room.entered > ANSWER) {
      this.send({ leave: {} });
      return this.#enter();
    }
    this.#emit('room', { lost });
    // A room without events was restarted: nothing follows.
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
      // The server does not know the id: join for all events that it keeps.
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
    this.#open = this.#probing = false;
    // An abandoned socket may still send events.
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
    this.#watch(SILENCE);
    this.#reachable(true, true);
    this.#enter();
    if (this.#listing && !this.#listing.fetching) this.#request();
    // The directory was listed without a watch, or may have changed since.
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
      if (this.#path !== null && changed.path === this.#named) this.#changed();
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
    // What never opened may be a proxy that rejects WebSockets; the session says so.
    if (this.#probing) this.#reachable(false);
    if (!this.#open || this.#probing) return this.#closed(1006);
    this.#probing = true;
    this.#watch(answer);
    this.send({ connection: {} });
  }

  /** Ends the connection without waiting for the closing handshake of a dead peer. */
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
    // The server is busy (1013) or refuses (1008): retry later.
    if (code === 1013 || code === 1008) this.#failures = Math.max(this.#failures, 4);
    // Too large (1009): drop the longest unconfirmed message, or it would end each connection.
    const [longest] = [...this.#unconfirmed].sort(([, a], [, b]) => b.length - a.length);
    this.#ended();
    if (code === 1009 && longest) {
      const message = 'the message is too long for this server';
      this.#refused({ code: 'too-large', message, of: 'say', key: longest[0] });
    }
    // Connections of a removed token end with 1008 too.
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
    // A retry that is due sooner stays: a late failure must not delay it.
    if (this.#retrying && this.#due <= due) return;
    clearTimeout(this.#retrying);
    this.#due = due;
    this.#retrying = setTimeout(() => this.#connect(), delay);
  }

  /** A WebSocket does not say why it did not open: the session says whether it is the token. */
  async #check() {
    this.#retry();
    if (this.#checking) return;
    this.#checking = true;
    try {
      if (await this.#around.check()) {
        this.#reachable(true);
        // A proxy may reject WebSockets: then the page lists as often as this connects.
        this.#changed();
      } else this.stop();
    } catch {
      this.#reachable(false);
    }
    this.#checking = false;
  }

  /** @param {boolean} online @param {boolean} [always] */
  #reachable(online, always = false) {
    if (this.online === online && !always) return;
    this.online = online;
    this.#emit(online ? 'open' : 'lost', undefined);
  }

  /** The network or the person has returned: probe or reconnect now. */
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
 * Returns whether an event is `until`, or a later one of the same epoch.
 * @param {string|undefined} id @param {string|undefined} until
 */
function reached(id, until) {
  if (until === undefined) return true;
  const [epoch, number] = until.split('-');
  const [same, reached] = (id ?? '').split('-');
  return same === epoch && Number(reached) >= Number(number);
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
