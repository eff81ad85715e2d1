// A link to one file, and a drop box: made, used by people without a token, and revoked.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, given, listed, open, opened, person, proxy, published, reaches, ready, sample, same,
  scenario, stored, transfer, until, violations,
} from './browser.mjs';

/** axe, and no scrolling sideways on a telephone. */
async function fine(page, state) {
  const found = await violations(page, state);
  const size = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 740 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  if (width > 360) found.push(`${state}: ${width} pixels`);
  await page.setViewportSize(size);
  return found;
}

/** Bytes of the largest partial file. */
const parts = () => Math.max(0, ...fs.readdirSync(given.dir, { recursive: true })
  .filter((name) => name.endsWith('.part'))
  .map((name) => fs.statSync(path.join(given.dir, name), { throwIfNoEntry: false })?.size ?? 0));

await scenario(async () => {
  const report = { axe: [] };
  const file = path.join(given.dir, 'report.pdf');
  fs.copyFileSync(sample('report.pdf', 100_000), file);
  fs.writeFileSync(path.join(given.dir, 'secret.txt'), 'secret');
  const page = await opened();
  await page.getByLabel('Enter the token').fill(given.facts.token);
  await page.keyboard.press('Enter');
  await listed(page, 'report.pdf').hover();
  await listed(page, 'report.pdf').locator('input[type=checkbox]').check();
  await page.locator('.selection').getByRole('button', { name: 'Share' }).click();
  await page.getByRole('button', { name: 'Create link' }).click();
  const field = page.locator('.share-made input');
  await field.waitFor();
  const link = await field.inputValue();
  assert.match(link, /\/\.anyport\/s\/[A-Za-z0-9_-]{43}\/$/, '256 random bits');
  report.axe.push(...await fine(page, 'share'));

  // The link is a page of that file alone, kept by no cache and no search engine.
  const reader = await (await person()).newPage();
  const answer = await reader.goto(link);
  assert.match(answer.headers()['cache-control'], /no-store/);
  assert.match(answer.headers()['x-robots-tag'] ?? await reader.content(), /noindex/);
  const text = await reader.locator('body').innerText();
  assert.ok(text.includes('report.pdf') && !text.includes('secret.txt'), text);
  report.axe.push(...await fine(reader, 'link to a file'));
  const [download] = await Promise.all([reader.waitForEvent('download'),
    reader.getByRole('link', { name: /download|report\.pdf/i }).first().click()]);
  assert.ok(same(await download.path(), file));
  assert.equal((await reader.goto(`${given.url}files/report.pdf`)).status(), 401);

  // A drop box is sent to, and shows nothing of others.
  await page.getByRole('button', { name: 'Create drop box' }).click();
  await until('another link', async () => await field.inputValue() !== link);
  const box = await field.inputValue();
  const guests = [await opened(box), await opened(box)];
  for (const guest of guests) {
    await choose(guest, sample('same name.txt', 500));
    await stored(guest, 'same name.txt');
    assert.match(await transfer(guest, 'same name.txt').innerText(), /Stored and verified/);
    assert.equal(await guest.locator('#files').count(), 0);
    assert.equal(await guest.getByRole('button', { name: /Room|Connect|Copy link/ }).count(), 0);
    assert.ok(!(await guest.content()).includes('secret.txt'));
  }
  report.axe.push(...await fine(guests[0], 'drop box'));
  const plain = await open(box, { javaScriptEnabled: false });
  await plain.locator('input[type=file]').setInputFiles(sample('plain.txt', 20));
  await plain.getByRole('button').last().click();
  await plain.getByText('Thank you').waitFor();
  report.published = published();
  const copies = report.published.filter((name) => path.basename(name).startsWith('same name'));
  assert.equal(copies.length, 2, String(report.published));

  // A reload in the box continues only what this browser began.
  await guests[1].reload();
  await ready(guests[1]);
  assert.equal(await guests[1].locator('.transfer').count(), 0);

  // A tab of the box that is closed during an upload: the same browser offers to continue it.
  const slow = await proxy(given.url, { rate: 2_000_000 });
  const sender = await person();
  const half = await sender.newPage();
  const through = box.replace(given.url, slow.url);
  await half.goto(through);
  await ready(half);
  const large = sample('half.mov', 4_000_000);
  await choose(half, large);
  await until('a part', () => parts() > 1_000_000);
  await half.close({ runBeforeUnload: false });
  const back = await sender.newPage();
  await back.goto(through);
  await ready(back);
  await reaches(back, 'half.mov', 'needs-file');
  await choose(back, large);
  await stored(back, 'half.mov');
  assert.ok(same(large, path.join(given.dir, published().find((name) => /half/.test(name)))));

  // A revoked link ends; the page says so.
  const list = page.locator('.share-list li');
  await list.first().waitFor();
  for (let left = await list.count(); left > 0; left--) {
    await list.first().getByRole('button').click();
    await list.first().getByRole('button').click();
    await until('one less', async () => await list.count() < left);
  }
  for (const address of [link, box]) {
    const after = await reader.goto(address);
    assert.ok([404, 410].includes(after.status()), `${after.status()}`);
  }
  await choose(guests[0], sample('late.txt', 10));
  await guests[0].locator('.transfer[data-state=refused]').waitFor();
  report.late = await transfer(guests[0], 'late.txt').innerText();
  assert.deepEqual(report.axe, []);
  return report;
});
