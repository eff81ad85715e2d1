// The queue of uploads against a model of the server that fails at random, with a manual clock:
// `node --test crates/page/tests`.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

// ---------------------------------------------------------------- the browser

const real = { setTimeout: globalThis.setTimeout };
let now = 0;
let timers = [];
globalThis.setTimeout = (run, delay) => {
  const timer = { at: now + (delay ?? 0), run };
  timers.push(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => void (timers = timers.filter((other) => other !== timer));
Object.defineProperty(globalThis, 'performance', { value: { now: () => now } });
Object.assign(globalThis, {
  window: globalThis,
  addEventListener() {},
  BroadcastChannel: undefined,
  document: {
    documentElement: { lang: 'en' }, addEventListener() {}, querySelector: () => null,
  },
});

/** Runs what is due until a condition holds. */
async function until(what, holds) {
  for (let steps = 0; steps < 20_000; steps += 1) {
    for (let turns = 0; turns < 3; turns += 1) await new Promise(setImmediate);
    if (holds()) return;
    const next = timers.sort((a, b) => a.at - b.at).shift();
    if (!next) break;
    now = Math.max(now, next.at);
    next.run();
  }
  assert.fail(`never ${what}: ${queue.items.map(({ state, bytes }) => `${state} ${bytes}`)}`);
}

class FakeFile {
  constructor(bytes, name, lastModified = 1_700_000_000_123) {
    Object.assign(this, { bytes, name, lastModified, size: bytes.length, isReadable: true });
  }
  slice(from, to = this.size) {
    const slice = new FakeFile(this.bytes.subarray(from, to), this.name);
    slice.isReadable = this.isReadable;
    return slice;
  }
  async arrayBuffer() {
    if (!this.isReadable) throw new Error('NotReadableError');
    return this.bytes;
  }
}

const digestOf = (bytes) => createHash('sha256').update(bytes).digest();

/** The digest of the tests is another one; only that both sides agree counts. */
globalThis.Worker = class extends EventTarget {
  postMessage({ id, file }) {
    if (!file) return;
    setTimeout(async () => {
      const data = await file.arrayBuffer().then(
        (bytes) => ({ id, digest: digestOf(bytes).toString('hex') }),
        () => ({ id, failed: 'changed' }));
      this.dispatchEvent(Object.assign(new Event('message'), { data }));
    }, 20);
  }
};

// ---------------------------------------------------------------- the server

let server;

class Server {
  uploads = new Map();
  files = new Map();
  log = [];
  running = 0;
  requests = 0;
  most = 0;
  last = 0;
  /** Decides what goes wrong with a request; null: nothing. */
  fault = () => null;
  limit = Infinity;
  /** What an earlier attempt sent of the next upload. */
  found = Buffer.alloc(0);

  /** Answers a request whose content has arrived, or a part of it. */
  answer(method, path, fields, content, isWhole = true) {
    this.log.push(`${method} ${path.split('/').at(-1)} ${content.length}`);
    if (content.length > this.limit) return { status: 413, text: 'too large' };
    const upload = this.uploads.get(path);
    if (method === 'PUT') return isWhole ? this.publish(path, content, fields) : null;
    if (method === 'POST') {
      const id = `/.anyport/uploads/${this.last += 1}`;
      const data = this.found;
      this.found = Buffer.alloc(0);
      this.uploads.set(id, { path, size: Number(fields['Upload-Length']), data });
      return { status: 201, Location: id, 'Upload-Offset': String(data.length) };
    }
    if (!upload) return { status: 404, text: 'no such upload' };
    if (method === 'DELETE') return this.uploads.delete(path), { status: 204 };
    const state = { 'Upload-Offset': String(upload.data.length),
      'Upload-Complete': upload.stored ? '?1' : '?0' };
    if (method === 'HEAD') return { status: 204, ...state, ...this.place(upload) };
    if (Number(fields['Upload-Offset']) !== upload.data.length) return { status: 409, ...state };
    if (upload.stored) return { status: 200, ...state, ...this.place(upload) };
    upload.data = Buffer.concat([upload.data, content]);
    if (!isWhole) return null;
    if (fields['Upload-Complete'] === '?0') {
      return { status: 204, 'Upload-Offset': String(upload.data.length) };
    }
    assert.equal(upload.data.length, upload.size, 'the last request completes the file');
    const answer = this.publish(upload.path, upload.data, fields);
    if (answer.status === 201) upload.stored = upload.path;
    else this.uploads.delete(path);
    return { ...answer, ...this.place(upload) };
  }

  place({ stored }) {
    return stored ? { 'Content-Location': `/files/${stored}` } : {};
  }

  publish(path, bytes, fields) {
    const digest = digestOf(bytes);
    const stated = /blake3=:(.*):/.exec(fields['Repr-Digest'] ?? '')?.[1];
    if (stated && stated !== digest.toString('base64')) {
      return { status: 422, text: '{"error":{"code":"digest-mismatch","message":"differs"}}' };
    }
    this.files.set(path, Buffer.from(bytes));
    const receipt = { bytes: bytes.length, digest: `blake3:${digest.toString('hex')}`, path,
      outcome: 'stored' };
    return { status: 201, text: JSON.stringify({ receipt }) };
  }
}

globalThis.XMLHttpRequest = class {
  fields = {};
  upload = {};
  status = 0;
  open(method, url) {
    this.method = method;
    this.responseURL = url;
    this.path = url.includes('/.anyport/') ? url.slice(url.indexOf('/.anyport/'))
      : decodeURIComponent(url.slice(url.indexOf('/files/') + 7));
  }
  setRequestHeader(name, value) {
    this.fields[name] = value;
  }
  getResponseHeader(name) {
    const isJson = this.text?.startsWith('{');
    if (name === 'Content-Type') return isJson ? 'application/json' : 'text/plain';
    return this.response?.[name] ?? null;
  }
  abort() {
    this.end(() => this.onabort());
  }
  end(run) {
    if (this.isEnded) return;
    this.isEnded = true;
    server.running -= 1;
    run();
  }
  async send(body) {
    server.requests += 1;
    server.running += 1;
    server.most = Math.max(server.most, server.running);
    const fault = server.fault(this);
    const content = body ? await body.arrayBuffer().catch(() => null) : Buffer.alloc(0);
    if (!content) return this.end(() => this.onerror());
    const lose = (at) => {
      server.answer(this.method, this.path, this.fields, content.subarray(0, at), false);
      this.end(() => this.onerror());
    };
    for (let part = 1; part <= 4 && content.length; part += 1) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (this.isEnded) return;
      if (fault === 'cut' && part === 3) return lose(content.length >> 1);
      if (fault === 'stall' && part === 3) return;
      this.upload.onprogress?.({ loaded: Math.floor(content.length * part / 4) });
    }
    if (content.length) this.upload.onload?.();
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (this.isEnded) return;
    if (fault === 'cut' || fault === 'stall') return this.end(() => this.onerror());
    const upload = server.uploads.get(this.path);
    if (upload && !upload.stored) {
      if (fault === 'gone') server.uploads.delete(this.path);
      // A server that was killed has less than it had received.
      if (fault === 'killed') {
        upload.data = upload.data.subarray(0, upload.data.length >> 1);
        return this.end(() => this.onerror());
      }
      if (fault === 'corrupt' && upload.data.length) upload.data[0] ^= 1;
    }
    this.response = fault === 'portal' ? { status: 200, text: '<html>Sign in</html>' }
      : typeof fault === 'number' ? { status: fault, text: 'busy' }
      : server.answer(this.method, this.path, this.fields, content);
    if (fault === 'lost') return this.end(() => this.onerror());
    this.status = this.response.status;
    this.text = this.responseText = this.response.text ?? '';
    this.end(() => this.onload());
  }
};

const { refresh } = await import('../web/api.js');
const { queue } = await import('../web/uploads.js');

function begin(changes = {}) {
  for (const item of [...queue.items]) queue.cancel(item);
  queue.items = [];
  queue.halted = null;
  timers = [];
  server = Object.assign(new Server(), changes);
}

/** @param {number} seed */
function generator(seed) {
  return () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648;
  };
}

const bytesOf = (length, random) => {
  const bytes = Buffer.alloc(length, 7);
  for (let at = 0; at < Math.min(length, 997); at += 1) bytes[at] = Math.floor(random() * 256);
  return bytes;
};

const chosen = (...files) => files.map((file) => ({ file, path: file.name }));
const ended = () => queue.items.every(({ state }) => state === 'done' || state === 'refused');
const LARGE = 1_500_000;
const SEEDS = Number(process.env.SEEDS ?? 25);

// ---------------------------------------------------------------- the rules

const FAULTS = ['cut', 'stall', 'lost', 'gone', 'killed', 'corrupt', 'portal', 408, 429, 500, 502, 503];

test('a file is stored whole and verified, or not at all, whatever fails meanwhile', async () => {
  let faults = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const random = generator(seed);
    const seen = [];
    let left = 12;
    begin({ limit: seed > SEEDS * 0.8 ? 400_000 : Infinity, fault: () => {
      if (left === 0 || random() < 0.5) return null;
      left -= 1;
      faults += 1;
      seen.push(FAULTS[Math.floor(random() * FAULTS.length)]);
      return seen.at(-1);
    } });
    const files = [0, 5, 900_000, LARGE, LARGE + 7].map((size, at) =>
      new FakeFile(bytesOf(size, random), `f${at}`));
    queue.add(chosen(...files));
    await until(`ended (seed ${seed}: ${seen})`, ended);
    for (const [at, file] of files.entries()) {
      const { state, error, receipt } = queue.items[at];
      const stored = server.files.get(file.name);
      const told = `seed ${seed}, ${file.name}: ${state} ${error?.kind} after ${seen}`;
      assert.ok(!stored || stored.equals(file.bytes), `${told}: another content is stored`);
      if (state === 'done') assert.ok(stored && receipt.bytes === file.size, told);
      // Without the digest in the answer that was lost it is stored, and not called verified.
      if (state === 'done' && !seen.includes('lost')) assert.ok(receipt.isVerified, told);
      if (state === 'refused') assert.equal(error.kind, 'differs', told);
      if (state === 'refused') assert.ok(seen.includes('corrupt'), told);
    }
  }
  assert.ok(faults > 4 * SEEDS, `${faults} faults`);
});

test('a wrong beginning of an earlier attempt is not published; the whole file is', async () => {
  begin({ found: Buffer.alloc(1000, 9) });
  const file = new FakeFile(Buffer.alloc(LARGE, 3), 'a');
  queue.add(chosen(file));
  await until('ended', ended);
  assert.equal(queue.items[0].state, 'done');
  assert.ok(server.files.get('a').equals(file.bytes));
});

test('at most three uploads are in flight, in the order of the queue', async () => {
  begin();
  const stored = [];
  const listen = ({ detail }) => stored.push(detail.name);
  queue.addEventListener('stored', listen);
  const names = Array.from({ length: 20 }, (_, at) => `n${at}`);
  queue.add(chosen(...names.map((name) => new FakeFile(Buffer.alloc(10), name))));
  await until('ended', ended);
  queue.removeEventListener('stored', listen);
  assert.deepEqual(stored, names);
  assert.equal(server.most, 3);
});

test('a full disk pauses the queue until it is resumed', async () => {
  let isFull = true;
  begin({ fault: ({ method }) => isFull && method === 'PATCH' ? 507 : null });
  queue.add(chosen(...['a', 'b', 'c', 'd', 'e'].map((name) =>
    new FakeFile(Buffer.alloc(LARGE), name))));
  await until('paused', () => queue.items.every(({ state }) => state === 'paused'));
  assert.ok(!queue.isBusy);
  const requests = server.log.length;
  await until('quiet', () => timers.length === 0);
  assert.equal(server.log.length, requests);
  isFull = false;
  queue.resumeAll();
  await until('ended', ended);
  assert.equal(server.files.size, 5);
});

test('an upload that is received while the disk becomes full is still stored', async () => {
  begin({ fault: ({ path, method, fields }) =>
    method === 'PATCH' && fields['Upload-Complete'] === '?0' && path.endsWith('/2') ? 507 : null });
  queue.add(chosen(...['a', 'b', 'c', 'd'].map((name) => new FakeFile(Buffer.alloc(LARGE), name))));
  await until('paused', () => queue.halted && !queue.isBusy);
  assert.deepEqual(queue.items.map(({ state }) => state), ['done', 'done', 'paused', 'paused']);
});

test('the uploads of a person are neither shown nor continued to the next one', async () => {
  const sessions = (user) => ({ rights: user ? ['write'] : [], user });
  globalThis.fetch = async () => ({ ok: true, json: async () => sessions(user) });
  let user = 'alice';
  await refresh();
  let isOut = true;
  begin({ fault: () => isOut ? 401 : null });
  queue.add(chosen(new FakeFile(Buffer.alloc(LARGE), 'a')));
  await until('halted', () => queue.halted && !queue.isBusy);
  user = null;
  await refresh();
  isOut = false;
  user = 'bob';
  await refresh();
  assert.deepEqual([queue.items.length, queue.halted], [0, null]);
  await until('quiet', () => timers.length === 0);
  assert.equal(server.files.size, 0);
});

test('a refusal to create an upload is not asked again and again', async () => {
  begin({ fault: () => 404 });
  queue.add(chosen(new FakeFile(Buffer.alloc(LARGE), 'a'), new FakeFile(Buffer.alloc(1), 'b')));
  await until('ended', ended);
  assert.ok(queue.items.every(({ state }) => state === 'refused'));
  assert.equal(server.requests, 2);
});

test('what a person paused stays paused when the queue continues after signing in', async () => {
  let isOut = false;
  begin({ fault: ({ method }) => isOut && method !== 'DELETE' ? 401 : null });
  queue.add(chosen(...['a', 'b', 'c'].map((name) => new FakeFile(Buffer.alloc(LARGE), name))));
  queue.pause(queue.items[0]);
  isOut = true;
  await until('halted', () => queue.halted && !queue.isBusy);
  isOut = false;
  queue.resumeAll(({ isHeld }) => isHeld);
  await until('stored', () => server.files.size === 2);
  assert.equal(queue.items[0].state, 'paused');
});

test('cancel removes the upload from the server', async () => {
  begin();
  const [item] = queue.add(chosen(new FakeFile(Buffer.alloc(LARGE), 'a')));
  await until('sending', () => item.bytes > 0);
  assert.equal(server.uploads.size, 1);
  queue.cancel(item);
  await until('removed', () => server.uploads.size === 0 && server.running === 0);
  assert.deepEqual([queue.items.length, server.files.size], [0, 0]);
});

test('a file that changed is refused, and sent when it is added again', async () => {
  begin({ fault: ({ method }) => method === 'PATCH' && !changed.isReadable ? 'cut' : null });
  const changed = new FakeFile(Buffer.alloc(LARGE), 'a');
  const [item] = queue.add(chosen(changed));
  await until('sending', () => item.bytes > 0);
  changed.isReadable = false;
  queue.pause(item);
  await queue.resume(item);
  await until('refused', () => item.state === 'refused');
  assert.equal(item.error.kind, 'changed');
  assert.equal(server.files.size, 0);
  const now = new FakeFile(Buffer.alloc(LARGE + 1, 3), 'a', 1_700_000_009_000);
  changed.isReadable = true;
  assert.deepEqual(queue.add(chosen(now)), [item]);
  await until('ended', ended);
  assert.ok(server.files.get('a').equals(now.bytes));
});

test('a file that grew while it was sent is not stored', async () => {
  const file = new FakeFile(Buffer.alloc(LARGE), 'a');
  begin({ fault: ({ method }) => {
    if (method === 'PATCH') setTimeout(() => { file.isReadable = false; }, 22);
    return null;
  } });
  const [item] = queue.add(chosen(file));
  await until('refused', () => item.state === 'refused');
  assert.equal(item.error.kind, 'changed');
  assert.equal(server.files.size, 0);
});

test('a proxy that refuses large requests gets smaller ones, and those after it too', async () => {
  const limit = 150_000;
  begin({ limit });
  queue.add(chosen(new FakeFile(Buffer.alloc(LARGE), 'a')));
  await until('ended', ended);
  const refused = () => server.log.filter((line) => Number(line.split(' ')[2]) > limit).length;
  assert.ok(refused() > 0);
  const before = refused();
  queue.add(chosen(new FakeFile(Buffer.alloc(LARGE), 'b')));
  await until('ended', ended);
  assert.equal(refused(), before);
  assert.deepEqual([...server.files.keys()], ['a', 'b']);
});
