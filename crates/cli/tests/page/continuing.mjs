// Uploads are paused, resumed, cancelled and refused; the connection, the server and the page go.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, given, opened, pause, person, proxy, published, reaches, ready, sample, same,
  scenario, serve, stored, transfer, until,
} from './browser.mjs';

/** Sizes of partial files; a completed upload is remembered by an empty one. */
const parts = (directory) =>
  fs.readdirSync(directory).filter((name) => name.endsWith('.part'))
    .map((name) => fs.statSync(path.join(directory, name), { throwIfNoEntry: false })?.size)
    .filter(Boolean);
const growing = (directory, bytes) =>
  until(`${bytes} bytes of a partial file`, () => parts(directory).some((size) => size >= bytes));
const act = (page, name, action) => transfer(page, name).getByRole('button', { name: action });

await scenario(async () => {
  const report = {};
  const way = await proxy(given.url, { rate: 4_000_000 });
  const page = await opened(way.url);
  const movie = sample('movie.mov', 6_000_000);

  // Pause holds what the server has; resume sends the rest only.
  await choose(page, movie);
  await growing(given.dir, 1_000_000);
  await act(page, 'movie.mov', 'Pause').click();
  await reaches(page, 'movie.mov', 'paused');
  await until('no growth', async () => {
    const [before] = parts(given.dir);
    await pause(300);
    return before === parts(given.dir)[0];
  });
  const kept = parts(given.dir)[0];
  await act(page, 'movie.mov', 'Resume').click();
  await stored(page, 'movie.mov');
  assert.ok(same(movie, path.join(given.dir, 'movie.mov')));
  report.paused_at = kept;

  // Cancel is in the menu of the row, and removes what the server has.
  await choose(page, sample('unwanted.bin', 6_000_000));
  await growing(given.dir, 500_000);
  await transfer(page, 'unwanted.bin').locator('details.menu summary').click();
  await transfer(page, 'unwanted.bin').getByRole('button', { name: 'Cancel' }).click();
  await transfer(page, 'unwanted.bin').waitFor({ state: 'detached' });
  await until('no partial file', () => parts(given.dir).length === 0);

  // A lost connection is one line, and the upload continues by itself.
  const trip = sample('trip.mov', 6_000_000);
  await choose(page, trip);
  await growing(given.dir, 1_000_000);
  way.down = true;
  way.cut();
  await page.getByText('Connection lost. Uploads continue when it returns.').waitFor();
  report.offline = parts(given.dir)[0];
  way.down = false;
  await stored(page, 'trip.mov');
  await page.getByText('Connection lost.').waitFor({ state: 'hidden' });
  assert.ok(same(trip, path.join(given.dir, 'trip.mov')));
  await page.context().setOffline(true);
  await choose(page, sample('later.txt', 2000));
  await reaches(page, 'later.txt', 'offline');
  await page.context().setOffline(false);
  await stored(page, 'later.txt');

  // The server is killed and starts again on the same port.
  const directory = fs.mkdtempSync(path.join(path.dirname(movie), 'own-'));
  let server = await serve(['--limit-rate', '4MB'], { directory });
  const other = await opened(server.url);
  const killed = sample('killed.mov', 8_000_000);
  await choose(other, killed);
  await growing(directory, 1_000_000);
  await server.kill();
  await other.getByText('Connection lost.').first().waitFor();
  server = await serve([], { directory, port: server.port });
  await stored(other, 'killed.mov');
  assert.ok(same(killed, path.join(directory, 'killed.mov')));
  await other.close();

  // A reload without a file handle: the page says which file to add again, and at which percent.
  const again = sample('again.mov', 6_000_000);
  await choose(page, again);
  await growing(given.dir, 2_000_000);
  page.on('dialog', (dialog) => void dialog.accept());
  await page.reload();
  await ready(page);
  await reaches(page, 'again.mov', 'needs-file');
  const words = await until('percent', async () => {
    const text = await transfer(page, 'again.mov').innerText();
    return /Add again\.mov again to continue at [1-9]\d* %/.exec(text)?.[0];
  });
  report.asked = words;
  const rest = Number(/(\d+) %/.exec(words)[1]);
  // Another file of that name is not the same one.
  await choose(page, again);
  await stored(page, 'again.mov');
  assert.ok(same(again, path.join(given.dir, 'again.mov')));
  assert.ok(rest >= 30, `${rest} %`);

  // A reload with a file handle asks nothing.
  const context = await person();
  await context.addInitScript(() => {
    // A handle of the browser's own file system, for which it asks no permission.
    globalThis.handleOf = async (name, size) => {
      const root = await navigator.storage.getDirectory();
      const handle = await root.getFileHandle(name, { create: true });
      const writable = await handle.createWritable();
      const bytes = new Uint8Array(size).map((_, at) => (at * 7919) >> 5);
      await writable.write(bytes);
      await writable.close();
      return handle;
    };
    const { getAsFileSystemHandle } = DataTransferItem.prototype;
    DataTransferItem.prototype.getAsFileSystemHandle = function get() {
      return globalThis.offered ?? getAsFileSystemHandle.call(this);
    };
  });
  const keeping = await context.newPage();
  keeping.on('dialog', (dialog) => void dialog.accept());
  await keeping.goto(way.url);
  await ready(keeping);
  await keeping.evaluate(async () => {
    globalThis.offered = globalThis.handleOf('handle.bin', 6_000_000);
    await globalThis.offered;
    const data = new DataTransfer();
    data.items.add(new File(['x'], 'handle.bin'));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));
  });
  await growing(given.dir, 1_500_000);
  const before = parts(given.dir)[0];
  await keeping.reload();
  await ready(keeping);
  await stored(keeping, 'handle.bin');
  report.with_handle = { before, size: fs.statSync(path.join(given.dir, 'handle.bin')).size };
  await context.close();

  // A proxy that refuses long requests: the chunks become shorter until they pass.
  const narrow = await proxy(given.url, {
    refuse: (request) => (Number(request.headers['content-length'] ?? 0) > 1_000_000 ? 413 : 0),
  });
  const small = await opened(narrow.url);
  const large = sample('large.mov', 5_000_000);
  await choose(small, large);
  await stored(small, 'large.mov');
  assert.ok(same(large, path.join(given.dir, 'large.mov')));
  report.refused = narrow.refused;
  report.requests = narrow.requests.filter((line) => line.startsWith('PATCH')).length;
  await small.close();

  // A page of something between, such as a login of a network, is no receipt.
  let captive = true;
  const portal = await proxy(given.url, {
    refuse: (request) => (captive && /^(PUT|POST|PATCH)$/.test(request.method) ? 200 : 0),
  });
  const stayed = await opened(portal.url);
  await choose(stayed, sample('portal.txt', 3000));
  await until('an answer of the proxy', () => portal.refused > 0);
  await reaches(stayed, 'portal.txt', 'offline');
  captive = false;
  await stored(stayed, 'portal.txt');
  assert.ok(published().includes('portal.txt'));
  await stayed.close();

  // A byte that changes on the way is loud, and nothing is stored.
  const noisy = await proxy(given.url, {
    change: (request, chunk, sent) => {
      const at = 700_000 - sent;
      if (request.method !== 'PATCH' || at < 0 || at >= chunk.length) return chunk;
      const changed = Buffer.from(chunk);
      changed[at] ^= 1;
      return changed;
    },
  });
  const wrong = await opened(noisy.url);
  await choose(wrong, sample('wrong.bin', 1_500_000));
  await reaches(wrong, 'wrong.bin', 'refused');
  report.wrong = await transfer(wrong, 'wrong.bin').innerText();
  assert.ok(!published().includes('wrong.bin'));
  await wrong.close();

  // A refusal is the server's sentence in its row; a retry sends again.
  const limited = await serve(['--max-size', '1MB']);
  const refusing = await opened(limited.url);
  await choose(refusing, sample('too-large.bin', 2_000_000));
  await reaches(refusing, 'too-large.bin', 'refused');
  report.too_large = await transfer(refusing, 'too-large.bin').innerText();
  await act(refusing, 'too-large.bin', 'Try again').click();
  await reaches(refusing, 'too-large.bin', 'refused');
  await refusing.close();

  // A full disk pauses the queue.
  const full = await serve(['--quota', '1MB']);
  const filling = await opened(full.url);
  await choose(filling, ['a', 'b', 'c', 'd', 'e'].map((n) => sample(`full-${n}`, 600_000)));
  await filling.getByRole('button', { name: 'Resume all' }).waitFor();
  report.full = await filling.locator('.transfers-total').innerText();
  await filling.close();
  return report;
});
