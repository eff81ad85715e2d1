// Files are chosen, dropped, pasted, chosen as a folder, and many at a time.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, drop, given, opened, proxy, published, sample, same, scenario, stored, transfer,
  until,
} from './browser.mjs';

const there = (name) => path.join(given.dir, name);

await scenario(async () => {
  const page = await opened();
  const first = page.locator('input[type=file]').first();
  assert.equal(await first.getAttribute('webkitdirectory'), null);
  assert.notEqual(await first.getAttribute('multiple'), null);

  // Choosing starts sending, and the receipt has the digest that the page computed.
  const movie = sample('holiday.mov', 5_000_003);
  await choose(page, movie);
  await stored(page, 'holiday.mov');
  const row = transfer(page, 'holiday.mov');
  assert.match(await row.innerText(), /Stored and verified · 5\.00 MB · .*\d s/);
  assert.ok(same(movie, there('holiday.mov')));
  const time = (file) => Math.floor(fs.statSync(file).mtimeMs / 1000);
  assert.equal(time(there('holiday.mov')), time(movie), 'its time is kept');
  await row.getByText('Details').click();
  const digest = await row.getByText(/^blake3:/).innerText();
  assert.match(digest, /^blake3:[0-9a-f]{64}$/);
  await row.getByText('Copy link').click();
  await page.locator('.transfer', { hasText: 'Copied' }).waitFor();

  // The same file again is not stored twice.
  await choose(page, movie);
  await page.locator('.transfer', { hasText: 'Already there' }).waitFor();

  const empty = sample('empty.bin', 0);
  await choose(page, empty);
  await stored(page, 'empty.bin');

  // Dropped: a file and a directory with directories.
  sample('album/one.jpg', 70_001);
  sample('album/deep/two.jpg', 3);
  const target = page.locator('.drop');
  await drop(page, [sample('dropped.bin', 90_000), path.dirname(sample('album/three.jpg', 5))], {
    hold: async () => {
      await target.waitFor();
      assert.match(await target.innerText(), /^Drop to send to /);
    },
  });
  await until('dropped files', () => published().includes('album/deep/two.jpg')
    && published().includes('dropped.bin') && published().includes('album/three.jpg'));
  await target.waitFor({ state: 'hidden' });

  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File(['a screenshot'], 'image.png', { type: 'image/png' }));
    data.items.add(new File(['a document'], 'letter.txt'));
    const event = new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
    document.body.dispatchEvent(event);
  });
  await until('pasted files', () => published().some((name) => /^Pasted .*\.png$/.test(name))
    && published().includes('letter.txt'));

  const folder = page.locator('input[webkitdirectory]');
  sample('songs/a/one.mp3', 1000);
  await folder.setInputFiles(path.dirname(sample('songs/two.mp3', 1000)));
  await until('folder', () => published().filter((name) => name.startsWith('songs/')).length === 2);

  // A subdirectory receives what is sent while it is shown.
  await page.getByRole('link', { name: 'songs' }).click();
  await page.waitForURL('**/files/songs/');
  await choose(page, sample('below.txt', 10));
  await until('file in the directory', () => published().includes('songs/below.txt'));

  // Many at a time, at most three in flight, and a line for all.
  const slow = await proxy(given.url, { rate: 1_000_000 });
  const other = await opened(slow.url);
  const many = Array.from({ length: 24 }, (_, n) => sample(`many/${n}.bin`, 30_000, n));
  let most = 0;
  await choose(other, many);
  await other.locator('.transfers-total').waitFor();
  const total = await other.locator('.transfers-total').innerText();
  await until('many files', async () => {
    most = Math.max(most, await other.locator('.transfer[data-state=sending]').count());
    return published().filter((name) => /^\d+\.bin$/.test(name)).length === 24;
  });
  assert.ok(most <= 3, `${most} in flight`);
  for (const [n, file] of many.entries()) assert.ok(same(file, there(`${n}.bin`)));

  // The server has published them a moment before the page has their receipts.
  await until('receipts', async () => await other.locator('.transfer[data-state=sending]').count()
    === 0);

  // The page warns before it is left while something is sent, and not otherwise.
  await choose(other, sample('leaving.bin', 3_000_000));
  await other.locator('.transfer[data-state=sending]').waitFor();
  let warned = 0;
  other.on('dialog', (dialog) => {
    warned += dialog.type() === 'beforeunload' ? 1 : 0;
    void dialog.dismiss();
  });
  await other.mouse.click(5, 300);
  await other.evaluate(() => void setTimeout(() => (location.href = '/livez'), 0));
  await until('a warning', () => warned > 0);
  await stored(other, 'leaving.bin');
  await other.goto(slow.url);
  assert.equal(warned, 1);
  return { digest, total };
});
