// The list: sorted, filtered, navigated, changed by this page and by others.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  given, listed, opened, sample, scenario, shell, until,
} from './browser.mjs';

const put = (name, size, age = 0) => {
  const file = path.join(given.dir, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, Buffer.alloc(size, 'x'));
  const time = Date.now() / 1000 - age;
  fs.utimesSync(file, time, time);
};
const names = (page) => page.locator('#files tbody td.name').allInnerTexts();
const order = (page, expected) =>
  until(`order ${expected}`, async () => `${await names(page)}` === `${expected}`);

await scenario(async () => {
  put('b.txt', 100, 100);
  put('a2.txt', 3_000_000, 86_400 * 3);
  put('a10.txt', 20, 10);
  put('zoo/inside.txt', 5);
  const page = await opened();
  await order(page, ['zoo', 'a2.txt', 'a10.txt', 'b.txt']);
  await page.getByRole('button', { name: 'Size' }).click();
  await order(page, ['zoo', 'a2.txt', 'b.txt', 'a10.txt']);
  await page.getByRole('button', { name: 'Modified' }).click();
  await order(page, ['zoo', 'a10.txt', 'b.txt', 'a2.txt']);
  const time = listed(page, 'a2.txt').locator('time');
  assert.equal(await time.innerText(), '3 days ago');
  assert.match(await time.getAttribute('title'), /\d{4}.*\d:\d\d/);
  assert.match(await listed(page, 'a2.txt').locator('.size').getAttribute('title'), /3,000,000/);
  await page.getByRole('button', { name: 'Name' }).click();
  await order(page, ['zoo', 'a2.txt', 'a10.txt', 'b.txt']);

  // Down, back and forward in the same page; another tab has the same address.
  await page.getByRole('link', { name: 'zoo' }).click();
  await order(page, ['inside.txt']);
  assert.equal(page.url(), `${given.url}files/zoo/`);
  await page.goBack();
  await order(page, ['zoo', 'a2.txt', 'a10.txt', 'b.txt']);
  await page.goForward();
  await order(page, ['inside.txt']);
  await page.reload();
  await order(page, ['inside.txt']);
  await page.locator('nav').getByRole('link', { name: 'Files' }).click();
  await order(page, ['zoo', 'a2.txt', 'a10.txt', 'b.txt']);

  // A download, and a selection as zip.
  const [download] = await Promise.all([page.waitForEvent('download'), (async () => {
    await listed(page, 'b.txt').hover();
    await listed(page, 'b.txt').locator('input[type=checkbox]').check();
    await page.locator('.selection').getByRole('link', { name: 'Download' }).click();
  })()]);
  assert.equal(fs.statSync(await download.path()).size, 100);
  await listed(page, 'a10.txt').locator('input[type=checkbox]').check();
  await listed(page, 'zoo').locator('input[type=checkbox]').check();
  assert.match(await page.locator('.selection').innerText(), /3 selected · 120 B/);
  const [archive] = await Promise.all([page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download zip' }).click()]);
  const zip = await archive.path();
  const inside = (await shell(`python3 -m zipfile -l ${zip}`)).split('\n').slice(1)
    .map((line) => line.split(' ')[0]).filter((name) => name && !name.endsWith('/')).sort();
  assert.deepEqual(inside, ['files/a10.txt', 'files/b.txt', 'files/zoo/inside.txt']);
  await page.keyboard.press('Escape');
  await page.locator('.selection').waitFor({ state: 'hidden' });

  // A new folder, a new name, and a deletion that asks in its place.
  await page.getByRole('button', { name: 'New folder' }).click();
  await page.keyboard.type('albums');
  await page.keyboard.press('Enter');
  await listed(page, 'albums').waitFor();
  assert.ok(fs.statSync(path.join(given.dir, 'albums')).isDirectory());
  await listed(page, 'b.txt').hover();
  await listed(page, 'b.txt').locator('input[type=checkbox]').check();
  await page.locator('.selection').getByRole('button', { name: 'Rename' }).click();
  await page.keyboard.type('renamed');
  await page.keyboard.press('Enter');
  await listed(page, 'renamed.txt').waitFor();
  assert.ok(fs.existsSync(path.join(given.dir, 'renamed.txt')));
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  assert.ok(fs.existsSync(path.join(given.dir, 'renamed.txt')), 'one click deletes nothing');
  await page.getByRole('button', { name: 'Delete 1 now' }).click();
  await listed(page, 'renamed.txt').waitFor({ state: 'detached' });
  assert.ok(!fs.existsSync(path.join(given.dir, 'renamed.txt')));

  // A name in use is refused with the server's sentence.
  await listed(page, 'a10.txt').hover();
  await listed(page, 'a10.txt').locator('input[type=checkbox]').check();
  await page.locator('.selection').getByRole('button', { name: 'Rename' }).click();
  await page.locator('.naming input').fill('a2.txt');
  await page.keyboard.press('Enter');
  await page.locator('.naming .refusal:not(:empty)').waitFor();
  const refusal = await page.locator('.naming .refusal').innerText();
  await page.keyboard.press('Escape');
  await page.locator('.selection').getByRole('button', { name: 'Clear' }).click();

  // What nc and curl store appears, while it is received with its progress.
  const { port } = new URL(given.url);
  await shell(`printf 'ANYPORT/1 PUT by-nc.txt size=5\\nhelloEND\\n' | nc -N 127.0.0.1 ${port}`);
  await listed(page, 'by-nc.txt').waitFor();
  const slow = sample('by-curl.bin', 3_000_000);
  const sending = shell(`curl -sS --limit-rate 1000000 -T ${slow} ${given.url}`);
  const row = page.locator('#files tr.receiving', { hasText: 'by-curl.bin' });
  await row.waitFor();
  const progress = await until('progress', async () =>
    /[\d.]+ of 3\.00 MB/.exec(await row.innerText())?.[0]);
  await sending;
  await row.waitFor({ state: 'detached' });
  await listed(page, 'by-curl.bin').waitFor();
  await shell(`curl -sS -X DELETE ${given.url}files/by-nc.txt`);
  await listed(page, 'by-nc.txt').waitFor({ state: 'detached' });

  // From twenty entries on there is a filter.
  assert.equal(await page.locator('input[type=search]').isVisible(), false);
  for (let n = 0; n < 25; n++) put(`many/entry ${n}.txt`, n);
  await page.goto(`${given.url}files/many/`);
  await page.locator('input[type=search]').fill('entry 2');
  await order(page, ['entry 2.txt', 'entry 20.txt', 'entry 21.txt', 'entry 22.txt', 'entry 23.txt',
    'entry 24.txt']);
  await page.locator('input[type=search]').fill('nothing');
  await page.getByText('Nothing matches “nothing”.').waitFor();
  return { refusal, progress };
});
