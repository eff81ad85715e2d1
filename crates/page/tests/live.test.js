// The live connection against a scripted server and a manual clock:
// `node --test crates/page/tests`.
import assert from 'node:assert/strict';
import { test } from 'node:test';

globalThis.document = {
  documentElement: { lang: 'en' }, addEventListener() {}, querySelector: () => null,
};
globalThis.addEventListener = () => {};
const { Live } = await import('../web/live.js');

const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };
let now = 0;
let timers = [];
let keys = 0;
globalThis.setTimeout = (run, delay) => {
  const timer = { at: now + (delay ?? 0), run };
  timers.push(timer);
  return timer;
};
globalThis.clearTimeout = (timer) => void (timers = timers.filter((other) => other !== timer));
Object.defineProperty(globalThis, 'performance', { value: { now: () => now } });

const settled = () => new Promise((resolve) => real.setTimeout(resolve, 0));

/** Lets time pass, with everything that is due in between. */
async function pass(time) {
  const end = now + time;
  for (;;) {
    await settled();
    const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
    if (!next) break;
    now = Math.max(now, next.at);
    clearTimeout(next);
    next.run();
  }
  now = end;
}

class Socket {
  closed = false;
  sent = [];
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  open() {
    this.onopen();
  }
  receive(...messages) {
    for (const message of messages) this.onmessage({ data: JSON.stringify(message) });
  }
  end(code = 1006) {
    this.onclose({ code });
  }
  of(kind) {
    return this.sent.filter((message) => kind in message).map((message) => message[kind]);
  }
}

function setUp() {
  now += 1_000_000;
  timers = [];
  const around = { sockets: [], fetched: [], seen: [], checks: 0, signedIn: true, reachable: true };
  around.hiddenNow = false;
  const live = new Live({
    socket: () => {
      const socket = new Socket();
      around.sockets.push(socket);
      return socket;
    },
    list: (path) => new Promise((resolve, reject) => {
      around.fetched.push({ path, resolve, reject });
    }),
    check: async () => {
      around.checks++;
      if (!around.reachable) throw new Error('unreachable');
      return around.signedIn;
    },
    wake: (wake) => void (around.wake = wake),
    hidden: () => around.hiddenNow,
    error: ({ message }) => new Error(message),
    random: () => 0.5,
    key: () => `key-${++keys}`,
  });
  for (const type of ['open', 'lost', 'changed', 'transfers', 'room']) {
    live.addEventListener(type, (event) => around.seen.push([type, event.detail]));
  }
  Object.defineProperty(around, 'socket', { get: () => around.sockets.at(-1) });
  const texts = () => around.seen.flatMap(([, detail]) => detail?.message?.text ?? []);
  return { live, around, texts };
}

const message = (id, text, key) => ({ message: { id, from: 'bob', text, time: '', key } });

const joinedAs = (as, last) => (
  { joined: { room: 'lobby', as, members: [], listeners: 0, last } }
);

test('a list joins its parts and is the answer to the last request only', async () => {
  const { live, around } = setUp();
  const older = live.list('a');
  around.socket.open();
  const newer = live.list('b');
  await assert.rejects(older, { name: 'AbortError' });
  const [{ id: first }, { id }] = around.socket.of('list');
  around.socket.receive(
    { list: { path: 'a', id: first, entries: [{ name: 'wrong' }], more: false } },
    { list: { path: 'b', id, entries: [{ name: '1' }], more: true } },
    { list: { path: 'b', id, entries: [{ name: '2' }], more: false, left_out: 3 } },
  );
  const entries = await newer;
  assert.deepEqual(Array.from(entries, ({ name }) => name), ['1', '2']);
  assert.equal(entries.left_out, 3);
});

test('without a connection a list is fetched, and again once it can be watched', async () => {
  const { live, around } = setUp();
  const list = live.list('a');
  await pass(999);
  assert.equal(around.fetched.length, 0);
  await pass(1);
  around.fetched[0].resolve([{ name: 'x' }]);
  assert.equal((await list).length, 1);
  around.socket.open();
  await pass(1_000);
  assert.deepEqual(around.seen.at(-1), ['changed', { path: 'a' }]);
});

test('a list that the connection took with it is fetched', async () => {
  const { live, around } = setUp();
  const list = live.list('a');
  around.socket.open();
  around.socket.receive({ list: { path: 'a', id: 1, entries: [{ name: 'half' }], more: true } });
  around.socket.end();
  around.fetched[0].resolve([{ name: 'whole' }]);
  assert.deepEqual(await list, [{ name: 'whole' }]);
});

test('changes are told once a while, after a running list, and when the page is seen', async () => {
  const { live, around } = setUp();
  const changes = () => around.seen.filter(([type]) => type === 'changed').length;
  const list = live.list('a');
  around.socket.open();
  const changed = { changed: { path: 'a' } };
  const [{ id }] = around.socket.of('list');
  around.socket.receive({ list: { path: 'a', id, entries: [], more: true } });
  around.socket.receive(changed, changed, { changed: { path: 'other' } });
  await pass(90);
  assert.equal(changes(), 0, 'the list still runs');
  around.socket.receive({ list: { path: 'a', id, entries: [], more: false } });
  await list;
  await pass(0);
  assert.equal(changes(), 1);
  around.socket.receive(changed, changed, changed);
  await pass(499);
  assert.equal(changes(), 1);
  await pass(1);
  assert.equal(changes(), 2);
  around.hiddenNow = true;
  around.socket.receive(changed);
  await pass(5_000);
  assert.equal(changes(), 2);
  around.hiddenNow = false;
  around.wake();
  await pass(0);
  assert.equal(changes(), 3);
});

test('attempts are ever further apart, also if each connection ends at once', async () => {
  const { live, around } = setUp();
  live.start();
  around.reachable = false;
  const gaps = [];
  for (let last = now; gaps.length < 10;) {
    const attempts = around.sockets.length;
    around.socket.open();
    around.socket.end();
    while (around.sockets.length === attempts) await pass(100);
    gaps.push(now - last);
    last = now;
  }
  assert.ok(gaps.every((gap, at) => at === 0 || gap >= gaps[at - 1]), String(gaps));
  assert.ok(gaps[0] <= 500 && gaps.at(-1) >= 15_000 && gaps.at(-1) <= 30_000, String(gaps));
});

test('waking tries at once, but not more than once a second', async () => {
  const { live, around } = setUp();
  live.start();
  around.reachable = false;
  for (let failures = 0; failures < 8; failures++) {
    around.socket.end();
    await pass(30_000);
  }
  around.socket.end();
  await pass(2_000);
  const attempts = around.sockets.length;
  for (let wakes = 0; wakes < 100; wakes++) around.wake();
  await pass(0);
  assert.equal(around.sockets.length, attempts + 1);
  around.socket.end();
  for (let wakes = 0; wakes < 100; wakes++) around.wake();
  await pass(900);
  assert.equal(around.sockets.length, attempts + 1);
  await pass(100);
  assert.equal(around.sockets.length, attempts + 2);
});

test('a dead connection is noticed, a silent one is not mistaken for one', async () => {
  const { live, around } = setUp();
  live.start();
  around.socket.open();
  for (let minutes = 0; minutes < 10; minutes++) {
    await pass(26_000);
    around.socket.receive({ connection: {} });
  }
  assert.equal(around.sockets.length, 1);
  await pass(60_000);
  assert.equal(around.sockets[0].closed, true);
  assert.ok(around.sockets.length > 1);
});

test('a connection that never opens is given up, and so is a check without an answer', async () => {
  const { live, around } = setUp();
  live.start();
  around.reachable = false;
  await pass(10_000);
  assert.equal(around.sockets[0].closed, true);
  assert.equal(live.online, false);
  await pass(1_000);
  assert.equal(around.sockets.length, 2);
});

test('only a server that cannot be reached is lost, and it is said once', async () => {
  const { live, around } = setUp();
  live.start();
  around.socket.open();
  around.socket.end();
  await pass(500);
  assert.deepEqual(around.seen, [['open', null]]);
  around.reachable = false;
  for (let failures = 0; failures < 5; failures++) {
    around.socket.end();
    await pass(30_000);
  }
  assert.deepEqual(around.seen.map(([type]) => type), ['open', 'lost']);
});

test('signed out, it asks no more until the next start', async () => {
  const { live, around } = setUp();
  live.start();
  around.signedIn = false;
  around.socket.end();
  await pass(600_000);
  assert.deepEqual([around.sockets.length, around.checks], [1, 1]);
  live.start();
  assert.equal(around.sockets.length, 2);
});

test('no message is lost or shown twice over a reconnection', async () => {
  const { live, around, texts } = setUp();
  live.join({ room: 'lobby', as: 'alice' });
  around.socket.open();
  assert.deepEqual(around.socket.of('join'), [{ room: 'lobby', as: 'alice' }]);
  const joined = (last) => joinedAs('alice', last);
  around.socket.receive(joined('e-2'));
  around.socket.receive(message('e-1', '1'), message('e-2', '2'), message('e-4', '4'));
  const first = live.say('mine, arrived');
  const second = live.say('mine, lost');
  assert.equal(around.socket.of('say').length, 2);
  around.socket.end();
  const third = live.say('mine, said while away');
  await pass(500);
  around.socket.open();
  assert.deepEqual(around.socket.of('join'), [{ room: 'lobby', as: 'alice', since: 'e-4' }]);
  around.socket.receive(joined('e-6'), message('e-5', 'mine, arrived', first));
  assert.deepEqual(around.socket.of('say'), [], 'not before all that was missed');
  around.socket.receive(message('e-6', '6'));
  assert.deepEqual(around.socket.of('say').map(({ key }) => key), [second, third]);
  around.socket.receive(message('e-7', 'mine, lost', second), message('e-7', 'twice'));
  assert.deepEqual(texts(), ['1', '2', '4', 'mine, arrived', '6', 'mine, lost']);
});

test('events lost while up to date are asked for again, but not over and over', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby' });
  around.socket.open();
  const joined = (last) => joinedAs('guest', last);
  around.socket.receive(joined('e-1'), message('e-1', '1'));
  await pass(10_001);
  around.socket.receive({ lost: { count: 5 } });
  assert.equal(around.socket.of('join').at(-1).since, 'e-1');
  around.socket.receive(message('e-7', 'ignored until joined'));
  around.socket.receive(joined('e-7'), { lost: { count: 2 } }, message('e-7', '7'));
  around.socket.receive({ lost: { count: 9 } });
  assert.equal(around.socket.of('join').length, 2);
  const lost = around.seen.filter(([, detail]) => detail?.lost).map(([, { lost }]) => lost.count);
  assert.deepEqual(lost, [2, 9]);
});

test('a room that was started anew does not make it join again and again', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby', as: 'alice' });
  around.socket.open();
  const joined = (last) => joinedAs('alice', last);
  around.socket.receive(joined('e-1'), message('e-1', '1'));
  live.say('kept');
  around.socket.end();
  await pass(500);
  around.socket.open();
  around.socket.receive(joined(undefined), { lost: {} });
  assert.equal(around.socket.of('join').length, 1);
  assert.deepEqual(around.socket.of('say').map(({ text }) => text), ['kept']);
});

test('a change of name waits for the answer to the last join', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby', listen: true });
  around.socket.open();
  live.join({ room: 'lobby', as: 'alice' });
  live.say('hello');
  around.socket.receive(joinedAs(null));
  assert.deepEqual(around.socket.of('say'), []);
  around.socket.receive(joinedAs('alice'));
  assert.deepEqual(around.socket.of('say').map(({ text }) => text), ['hello']);
});

test('a refused message is not said again', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby', as: 'alice' });
  around.socket.open();
  around.socket.receive(joinedAs('alice'));
  const key = live.say('too long');
  around.socket.receive({ error: { code: 'too-large', message: 'too long', of: 'say' } });
  assert.equal(around.seen.at(-1)[1].error.key, key);
  around.socket.end();
  await pass(500);
  around.socket.open();
  around.socket.receive(joinedAs('alice'));
  assert.deepEqual(around.socket.of('say'), []);
});

test('a message for which the server ends the connection is not said again', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby', as: 'alice' });
  around.socket.open();
  around.socket.receive(joinedAs('alice'));
  const kept = live.say('short');
  const key = live.say('much too long');
  around.socket.end(1009);
  assert.equal(around.seen.at(-1)[1].error.key, key);
  await pass(500);
  around.socket.open();
  around.socket.receive(joinedAs('alice'));
  assert.deepEqual(around.socket.of('say').map(({ key }) => key), [kept]);
});

test('events from before the join are told from later ones', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby', as: 'alice' });
  around.socket.open();
  around.socket.receive(joinedAs('alice', 'e-2'));
  around.socket.receive(message('e-1', '1'), message('e-2', '2'), message('e-3', '3'));
  const past = around.seen.flatMap(([, detail]) => detail?.message ? [detail.past] : []);
  assert.deepEqual(past, [true, true, false]);
});

test('a list that takes long is asked for less often', async () => {
  const { live, around } = setUp();
  const list = live.list('a');
  around.socket.open();
  await pass(2_000);
  const [{ id }] = around.socket.of('list');
  around.socket.receive({ list: { path: 'a', id, entries: [], more: false } });
  await list;
  const changes = () => around.seen.filter(([type]) => type === 'changed').length;
  around.socket.receive({ changed: { path: 'a' } });
  await pass(0);
  around.socket.receive({ changed: { path: 'a' } });
  await pass(9_000);
  assert.equal(changes(), 1);
  await pass(1_000);
  assert.equal(changes(), 2);
});

test('with other rights it connects anew, and joins again', async () => {
  const { live, around } = setUp();
  live.join({ room: 'lobby', as: 'alice' });
  around.socket.open();
  live.renew();
  assert.deepEqual(around.sockets.map(({ closed }) => closed), [true, false]);
  around.socket.open();
  assert.equal(around.socket.of('join').length, 1);
});

test('a path that is not UTF-8 is sent as its bytes, and watched under the name of the server',
  async () => {
    const { live, around } = setUp();
    const list = live.list('a/\udcff');
    around.socket.open();
    const [{ path_raw, path, id }] = around.socket.of('list');
    assert.deepEqual([path_raw, path], ['a/%FF', undefined]);
    around.socket.receive({ list: { path: 'a/\ufffd', id, entries: [], more: false } });
    await list;
    around.socket.receive({ changed: { path: 'a/\ufffd' } });
    await pass(0);
    assert.deepEqual(around.seen.at(-1), ['changed', { path: 'a/\udcff' }]);
  });

test('when its token is removed, it is signed out without another connection', async () => {
  const { live, around } = setUp();
  live.start();
  around.socket.open();
  around.signedIn = false;
  around.socket.end(1008);
  await pass(60_000);
  assert.deepEqual([around.sockets.length, around.checks], [1, 1]);
});
