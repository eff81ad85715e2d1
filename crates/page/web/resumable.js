// @ts-check
// One file, sent by draft-ietf-httpbis-resumable-upload, interop version 8:
//
//   POST  creates the upload ──► Location, and the offset of an earlier attempt
//   HEAD  offset, after an interruption
//   PATCH the rest of the file, or chunks where a proxy limits requests
//   PATCH without content, with the digest: the server compares it before it publishes the file
import { decodePath, encodePath, events, parseRefusal } from './api.js';
import { workerUrl } from './dom.js';

/** @typedef {import('./uploads.js').Item} Item */
/** `path` is that of the stored file, if the server says it; `name` is below the directory.
 * @typedef {{ path: string | null, name: string, bytes: number, seconds: number,
 *   digest: string | null, isVerified: boolean, isThere: boolean }} Receipt */
/** @typedef {{ signal: AbortSignal, moved: () => void, keep: () => Promise<void>,
 *   stall?: number, slack?: number }} Hooks */

/** What to do about it: `offline` (try again), `signed-out`, `full`, `gone` (create it again),
 * `changed`, `differs`, `refused`, `aborted`. */
export class Failure extends Error {
  /** @param {string} kind @param {{ code?: string, message?: string, hint?: string | null,
   *   after?: number, status?: number }} [details] */
  constructor(kind, { code = kind, message = '', hint = null, after = 0, status = 0 } = {}) {
    super(message);
    this.kind = kind;
    this.code = code;
    this.hint = hint;
    this.after = after;
    this.status = status;
  }
}

/** Smaller files are sent by one PUT: a resumed one would save less than its requests cost. */
const SMALL = 1 << 20;
const FIRST_CHUNK = 64 << 20;
const LEAST_CHUNK = 64 << 10;
/** Time without progress after which a request is repeated; doubled each time. */
const STALL = 15_000;
const LONGEST_STALL = 300_000;
/** Seconds that a server may ask to wait. */
const LONGEST_WAIT = 3600;
/** Before it answers, the server may read and hash a partial file; bytes per millisecond. */
const SLOWEST_DISK = 20_000;

/** Size of a request's content that is accepted on the way, known after a 413. */
let chunk = Infinity;

/** Sends at most half of what was refused from here on; returns whether that is worth a request.
 * @param {number} sent */
function shrink(sent) {
  const next = Math.min(FIRST_CHUNK, Math.ceil(sent / 2));
  // Of several requests that were refused at a time each halves its own size.
  if (next >= LEAST_CHUNK) chunk = Math.min(chunk, next);
  return next >= LEAST_CHUNK;
}

/**
 * Sends a file, or what the server lacks of it, and returns the receipt.
 * @param {Item} item
 * @param {Hooks} hooks
 * @returns {Promise<Receipt>}
 */
export async function attempt(item, hooks) {
  const { file } = item;
  if (!file) throw new Failure('changed');
  item.hashing ??= hash(file, hooks.moved);
  for (let times = 0; ; times += 1) {
    const { stall = STALL } = item;
    hooks = { ...hooks, stall, slack: item.size / SLOWEST_DISK };
    try {
      // A PUT that is repeated after a lost response is recognized by its time.
      const isSmall = file.size <= Math.min(SMALL, chunk) && 'X-Anyport-Mtime' in time(item);
      return await (isSmall && !item.url ? putWhole : send)(item, file, hooks);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      // A server that lost nothing meanwhile is only slower than was assumed.
      if (error.code === 'stalled') item.stall = Math.min(LONGEST_STALL, 2 * stall);
      const failure = error.kind === 'offline' ? await readable(file, error) : error;
      const isAnother = failure.code === 'exists' && !item.isNew && !item.isDrop;
      // A digest that differs may be due to a beginning that another attempt sent.
      const isStale = failure.kind === 'differs' && item.isContinued;
      const isAgain = failure.kind === 'gone' && !!item.url || isAnother || isStale;
      if (!isAgain || times >= 3) throw failure;
      // Without a time the server applies its rule for names in use.
      if (isAnother) item.isNew = true;
      await restart(item, hooks);
    }
  }
}

/** Asks what the server has of an upload whose file is not at hand. @param {Item} item
 * @returns {Promise<{ bytes: number, receipt?: Receipt } | null>} */
export async function look(item) {
  if (!item.url) return null;
  const hooks = { signal: new AbortController().signal, moved() {}, async keep() {} };
  try {
    const answer = await exchange('HEAD', item.url, DRAFT, null, hooks);
    if (answer.status === 404 || answer.status === 410) return { bytes: 0 };
    const bytes = answer.status < 300 ? offsetIn(answer, item.size) : null;
    if (bytes === null) return null;
    return { bytes, receipt: isWhole(answer) ? await completed(item, answer, hooks) : undefined };
  } catch {
    return null;
  }
}

/** Removes the partial upload on the server. @param {Item} item */
export async function discard(item) {
  if (!item.url) return;
  const signal = new AbortController().signal;
  await exchange('DELETE', item.url, DRAFT, null, { signal }).catch(() => {});
}

const DRAFT = { 'Upload-Draft-Interop-Version': '8', Accept: 'application/json' };

/** @param {Item} item @param {Hooks} hooks */
async function restart(item, hooks) {
  item.url = undefined;
  item.isContinued = false;
  item.bytes = 0;
  await hooks.keep();
}

/** A browser that cannot read a file any more reports a lost connection.
 * @param {File} file @param {Failure} failure */
async function readable(file, failure) {
  return await isReadable(file) ? failure : new Failure('changed');
}

/** @param {File} file */
async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

/** @param {Item} item @returns {Record<string, string>} */
function time(item) {
  // Times before 1970 are not worth their rules of rounding.
  if (item.isNew || item.isDrop || item.lastModified < 0) return {};
  return {
    'X-Anyport-Mtime': String(Math.floor(item.lastModified / 1000)),
    'X-Anyport-Mtime-Ns': String((Math.floor(item.lastModified) % 1000) * 1_000_000),
  };
}

/** @param {Item} item */
function target(item) {
  const path = [item.directory, item.path].filter(Boolean).join('/');
  return new URL(encodePath(path), item.base).href;
}

/** @param {string} hex @returns {Record<string, string>} */
function digestField(hex) {
  const bytes = String.fromCharCode(...hex.match(/../g)?.map(byte => parseInt(byte, 16)) ?? []);
  return { 'Repr-Digest': `blake3=:${btoa(bytes)}:` };
}

/** @param {Item} item @param {File} file @param {Hooks} hooks */
async function putWhole(item, file, hooks) {
  const digest = await digestOf(item);
  const fields = { Accept: 'application/json', 'Content-Type': 'application/octet-stream',
    ...time(item), ...digest && digestField(digest) };
  const answer = await exchange('PUT', target(item), fields, file, {
    ...hooks, progress: bytes => { item.bytes = bytes; hooks.moved(); },
  });
  if (answer.status === 413 && refusalOf(answer).code !== 'too-large'
    && shrink(file.size)) return send(item, file, hooks);
  return receipt(item, answer, digest, hooks);
}

/** @param {Item} item @param {File} file @param {Hooks} hooks @returns {Promise<Receipt>} */
async function send(item, file, hooks) {
  const size = file.size;
  let offset = 0;
  if (item.url) {
    const answer = await exchange('HEAD', item.url, DRAFT, null, hooks);
    if (answer.status >= 300) throw refused(answer);
    const known = offsetIn(answer, size);
    if (known === null) throw new Failure('offline');
    if (isWhole(answer)) return completed(item, answer, hooks);
    offset = known;
    item.isContinued = true;
  } else {
    offset = await create(item, size, hooks);
  }
  let conflicts = 0;
  for (;;) {
    moveTo(item, offset, hooks);
    const answer = offset < size
      ? await append(item, file, offset, hooks) : await complete(item, file, hooks);
    const next = offsetIn(answer, size);
    if (answer.status === 409 && next !== null && conflicts < 5) {
      conflicts += 1;
      offset = next;
    } else if (answer.status === 413 && offset < size && shrink(item.sent ?? size)) {
      continue;
    } else if (answer.status >= 300) {
      // What was sent of it is not stored.
      moveTo(item, offset, hooks);
      throw refused(answer);
    } else if (offset === size) {
      return receipt(item, answer, await digestOf(item), hooks);
    } else {
      if (next === null || next <= offset) throw new Failure('offline');
      offset = next;
    }
  }
}

/** @param {Item} item @param {number} offset @param {Hooks} hooks */
function moveTo(item, offset, hooks) {
  item.bytes = offset;
  hooks.moved();
}

/** @param {Item} item @param {number} size @param {Hooks} hooks */
async function create(item, size, hooks) {
  const fields = {
    ...DRAFT, 'Upload-Complete': '?0', 'Upload-Length': String(size), ...time(item),
  };
  const answer = await exchange('POST', target(item), fields, null, hooks);
  if (answer.status >= 300) throw refused(answer);
  const location = answer.getResponseHeader('Location');
  const url = location ? new URL(location, answer.responseURL) : null;
  if (answer.status !== 201 || url?.origin !== new URL(item.base).origin) {
    throw new Failure('offline');
  }
  item.url = url.href;
  const offset = offsetIn(answer, size) ?? 0;
  item.isContinued = offset > 0;
  // Kept before any content is sent, so that a tab that is killed finds its upload again.
  await hooks.keep();
  return offset;
}

/** @param {Item} item @param {File} file @param {number} offset @param {Hooks} hooks */
async function append(item, file, offset, hooks) {
  const fields = { ...DRAFT, 'Upload-Complete': '?0', 'Upload-Offset': String(offset),
    'Content-Type': 'application/partial-upload' };
  const end = Math.min(file.size, offset + chunk);
  item.sent = end - offset;
  item.isAppending = true;
  // Chromium sends a file twice as fast as a slice of all of it.
  const content = item.sent === file.size ? file : file.slice(offset, end);
  try {
    return await exchange('PATCH', String(item.url), fields, content, {
      ...hooks, progress: bytes => moveTo(item, offset + bytes, hooks),
    });
  } finally {
    item.isAppending = false;
  }
}

/** @param {Item} item @param {File} file @param {Hooks} hooks */
async function complete(item, file, hooks) {
  const { size } = file;
  const digest = await digestOf(item, hooks);
  // A file that has grown was read without an error; from now on no byte of it can be read.
  if (!await isReadable(file)) throw new Failure('changed');
  const fields = { ...DRAFT, 'Upload-Complete': '?1', 'Upload-Offset': String(size),
    'Content-Type': 'application/partial-upload', ...digest && digestField(digest) };
  return exchange('PATCH', String(item.url), fields, null, hooks);
}

/** @param {Item} item @param {Hooks} [hooks] */
async function digestOf(item, hooks) {
  const { hashing } = item;
  if (!hashing) return null;
  item.isHashing = true;
  hooks?.moved();
  const aborted = new Promise((_, reject) => {
    const abort = () => reject(new Failure('aborted'));
    if (hooks?.signal.aborted) abort();
    hooks?.signal.addEventListener('abort', abort, { once: true });
  });
  try {
    const digest = /** @type {string | null} */ (await Promise.race([hashing.digest, aborted]));
    if (digest || !hooks || !item.file || item.isHashedAgain) return digest;
    // The worker may have failed to load once.
    item.isHashedAgain = true;
    item.hashing = hash(item.file, hooks.moved);
    return await digestOf(item, hooks);
  } finally {
    item.isHashing = false;
  }
}

/** Returns the receipt in a response. @param {Item} item @param {XMLHttpRequest} answer
 * @param {string | null} digest @param {Hooks} hooks @returns {Promise<Receipt>} */
async function receipt(item, answer, digest, hooks) {
  if (answer.status >= 300) throw refused(answer);
  let stored;
  try {
    stored = JSON.parse(answer.responseText).receipt;
  } catch { /* The response is repeated, as the first one was lost. */ }
  if (!stored) {
    // The page of a portal or of a login is no receipt, whatever its status.
    const isComplete = isWhole(answer) && offsetIn(answer, item.size) === item.size;
    if (!isComplete) throw new Failure('offline');
    return completed(item, answer, hooks);
  }
  if (stored.bytes !== item.size) throw new Failure('differs');
  const path = stored.path ?? null;
  if (stored.outcome === 'same-time') return present(item, path, digest, hooks);
  const isThere = stored.outcome === 'same-digest';
  return compared(item, path, digest, stored.digest ?? null, isThere);
}

/** Compares the file of a response that was lost. @param {Item} item
 * @param {XMLHttpRequest} answer @param {Hooks} hooks */
async function completed(item, answer, hooks) {
  const location = answer.getResponseHeader('Content-Location');
  const digest = await digestOf(item, hooks);
  const stored = location ? await known(new URL(location, answer.responseURL).href, hooks) : null;
  return compared(item, stored?.path ?? pathIn(location), digest, stored?.digest ?? null, false);
}

/** Compares a file that the server takes for the same one by its size and time.
 * @param {Item} item @param {string | null} path @param {string | null} digest
 * @param {Hooks} hooks */
async function present(item, path, digest, hooks) {
  const stored = path === null ? null
    : await known(new URL(encodePath(path), item.base).href, hooks);
  const isOther = digest && stored?.digest && stored.digest !== `blake3:${digest}`;
  // Both files are kept.
  if (isOther) throw new Failure('refused', { code: 'exists' });
  return compared(item, path, digest, stored?.digest ?? null, true);
}

/** Returns the digest that the server knows of a file, where the client may read it.
 * @param {string} url @param {Hooks} hooks */
async function known(url, hooks) {
  const answer = await exchange('HEAD', url, {}, null, hooks);
  if (answer.status >= 300) return null;
  const field = answer.getResponseHeader('Repr-Digest') ?? '';
  const text = /blake3=:([A-Za-z0-9+/=]+):/.exec(field)?.[1];
  const hex = text && Array.from(atob(text), c => c.charCodeAt(0).toString(16).padStart(2, '0'));
  return { digest: hex ? `blake3:${hex.join('')}` : null, path: pathIn(answer.responseURL) };
}

/** @param {string | null} location */
function pathIn(location) {
  const encoded = location && /\/files\/(.+)$/.exec(location)?.[1];
  return encoded ? decodePath(encoded) : null;
}

/** @param {Item} item @param {string | null} path @param {string | null} ours
 * @param {string | null} theirs @param {boolean} isThere @returns {Receipt} */
function compared(item, path, ours, theirs, isThere) {
  const isComparable = ours !== null && theirs?.startsWith('blake3:');
  if (isComparable && theirs !== `blake3:${ours}`) throw new Failure('differs');
  const digest = theirs ?? (ours && `blake3:${ours}`);
  const below = item.directory && `${item.directory}/`;
  const name = path?.startsWith(below) ? path.slice(below.length) : item.path;
  return { path, name, bytes: item.size, seconds: 0, digest, isVerified: !!isComparable, isThere };
}

/** @param {XMLHttpRequest} answer */
function isWhole(answer) {
  return answer.getResponseHeader('Upload-Complete') === '?1';
}

/** @param {XMLHttpRequest} answer @param {number} size */
function offsetIn(answer, size) {
  const text = answer.getResponseHeader('Upload-Offset') ?? '';
  const offset = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  return offset >= 0 && offset <= size ? offset : null;
}

/** @param {XMLHttpRequest} answer */
function refusalOf(answer) {
  const media = answer.getResponseHeader('Content-Type') ?? '';
  // The page of a proxy is not a sentence, and the response to HEAD has none.
  if (!answer.responseText || !/json|^text\/plain/.test(media)) {
    return { code: 'http', message: '', hint: null };
  }
  try {
    const { title } = JSON.parse(answer.responseText);
    if (typeof title === 'string') return { code: 'problem', message: title, hint: null };
  } catch { /* It is text. */ }
  return parseRefusal(answer.status, answer.responseText);
}

/** @param {XMLHttpRequest} answer */
function refused(answer) {
  const { status } = answer;
  const { code, message, hint } = refusalOf(answer);
  const after = Math.min(LONGEST_WAIT, Number(answer.getResponseHeader('Retry-After')) || 0);
  return new Failure(kindOf(status), { code, message, hint, after, status });
}

/** @param {number} status */
function kindOf(status) {
  if (status === 401) return 'signed-out';
  if (status === 507) return 'full';
  if (status === 404 || status === 410) return 'gone';
  if (status === 422) return 'differs';
  if (status === 408 || status === 425 || status === 429) return 'offline';
  return status >= 500 && status !== 501 && status !== 505 ? 'offline' : 'refused';
}

/**
 * Sends a request. Any response is returned; without one it throws a `Failure`.
 * @param {string} method
 * @param {string} url
 * @param {Record<string, string>} fields
 * @param {Blob | null} content
 * @param {{ signal: AbortSignal, stall?: number, slack?: number,
 *   progress?: (bytes: number) => void }} options
 * @returns {Promise<XMLHttpRequest>}
 */
function exchange(method, url, fields, content, options) {
  const { signal, stall = STALL, slack = 0, progress } = options;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    let isStalled = false;
    /** @param {number} time */
    const wait = time => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        isStalled = true;
        request.abort();
      }, time);
    };
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    };
    request.open(method, url);
    request.setRequestHeader('X-Requested-With', 'XMLHttpRequest');
    for (const [name, value] of Object.entries(fields)) request.setRequestHeader(name, value);
    if (content?.size) {
      request.upload.onprogress = ({ loaded }) => {
        wait(stall);
        progress?.(loaded);
      };
      // What the kernel still has to send, and the server to write, takes longer.
      request.upload.onload = () => wait(2 * stall + slack);
    }
    request.onload = () => {
      end();
      if (request.status === 401) events.dispatchEvent(new Event('signedout'));
      resolve(request);
    };
    request.onerror = () => {
      end();
      reject(new Failure('offline'));
    };
    request.onabort = () => {
      end();
      reject(isStalled ? new Failure('offline', { code: 'stalled' }) : new Failure('aborted'));
    };
    if (signal.aborted) return reject(new Failure('aborted'));
    signal.addEventListener('abort', abort);
    wait(content?.size ? stall : stall + slack);
    request.send(content);
  });
}

// The digest of a file, which a worker computes while the file is sent.

/** @typedef {{ digest: Promise<string | null>, bytes: number, cancel: () => void }} Hashing */
/** @typedef {{ hashing: Hashing, done: (digest: string | null) => void,
 *   fail: (failure: Failure) => void, moved: () => void }} Job */

/** @type {Map<number, Job>} */
const jobs = new Map();

/** @type {Worker | null} */
let worker = null;

let last = 0;

/**
 * Computes the BLAKE3 digest of a file. It is null where the browser cannot: such uploads go on,
 * and their receipts say that only sizes were compared.
 * @param {File} file
 * @param {() => void} moved called while it proceeds
 * @returns {Hashing}
 */
function hash(file, moved) {
  const id = ++last;
  /** @type {Hashing} */
  const hashing = { digest: Promise.resolve(null), bytes: 0, cancel };
  try {
    worker ??= start();
  } catch {
    return hashing;
  }
  hashing.digest = new Promise((done, fail) => jobs.set(id, { hashing, done, fail, moved }));
  // An upload that fails first has no use for it.
  hashing.digest.catch(() => {});
  worker.postMessage({ id, file });
  return hashing;

  function cancel() {
    jobs.get(id)?.done(null);
    if (jobs.delete(id)) worker?.postMessage({ id });
  }
}

function start() {
  const started = new Worker(workerUrl('./hash-worker.js'), { type: 'module' });
  started.addEventListener('message', ({ data }) => {
    const job = jobs.get(data.id);
    if (!job) return;
    if (data.bytes !== undefined) {
      job.hashing.bytes = data.bytes;
      return job.moved();
    }
    jobs.delete(data.id);
    if (data.failed === 'changed') job.fail(new Failure('changed'));
    else job.done(data.digest ?? null);
  });
  // The next file starts another one.
  started.addEventListener('error', () => {
    started.terminate();
    worker = null;
    for (const job of jobs.values()) job.done(null);
    jobs.clear();
  });
  return started;
}
