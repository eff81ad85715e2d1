// axe in every state, the keyboard alone, and a window of 360 pixels.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, given, listed, opened, proxy, reaches, sample, scenario, serve, stored, transfer,
  violations,
} from './browser.mjs';

const SCHEMES = ['light', 'dark'];
const WIDTHS = [360, 1280];

await scenario(async () => {
  const found = [];
  const wide = [];
  let states = 0;
  /** Checks a state in both colour schemes and widths. */
  const check = async (page, state) => {
    for (const colorScheme of SCHEMES) {
      for (const width of WIDTHS) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await page.setViewportSize({ width, height: 740 });
        states += 1;
        if (width === 360) {
          const scroll = await page.evaluate(() => document.documentElement.scrollWidth);
          if (scroll > 360) wide.push(`${state}: ${scroll}`);
        }
        if (width !== 360 || colorScheme === 'light') {
          found.push(...await violations(page, `${state}, ${colorScheme}, ${width}`));
        }
      }
    }
  };

  const page = await opened();
  await check(page, 'empty');
  const slow = await proxy(given.url, { rate: 300_000 });
  const sending = await opened(slow.url);
  const long = `a name that is far too long for a telephone ${'and-on-'.repeat(20)}.mov`;
  // Large enough to be under way until all states are checked, also on a busy machine.
  const large = [long, 'second.mov', 'third.mov', 'fourth.mov'];
  await choose(sending, large.map((name) => sample(name, 20_000_000)));
  await sending.locator('.transfer[data-state=sending]').first().waitFor();
  await check(sending, 'uploading');
  await transfer(sending, 'second.mov').locator('details.menu summary').click();
  await check(sending, 'menu of a row');
  await transfer(sending, 'second.mov').getByRole('button', { name: 'Pause' }).click();
  await reaches(sending, 'second.mov', 'paused');
  slow.down = true;
  slow.cut();
  await sending.getByText('Connection lost.').first().waitFor();
  await check(sending, 'offline');
  sending.on('dialog', (dialog) => void dialog.accept());
  await sending.close();

  for (let n = 0; n < 22; n++) {
    fs.writeFileSync(path.join(given.dir, `${n} ${'long-'.repeat(n * 2)}.txt`), 'x'.repeat(n * 999));
  }
  fs.mkdirSync(path.join(given.dir, 'folder', 'deep', 'deeper', 'deepest'), { recursive: true });
  await choose(page, sample('done.mov', 100_000));
  await stored(page, 'done.mov');
  await transfer(page, 'done.mov').getByText('Details').click();
  await listed(page, 'folder').waitFor();
  await check(page, 'list and receipt');
  await listed(page, 'folder').hover();
  await listed(page, 'folder').locator('input[type=checkbox]').check();
  await check(page, 'selection');
  await page.locator('.selection').getByRole('button', { name: 'Rename' }).click();
  await check(page, 'renaming');
  await page.keyboard.press('Escape');
  await page.locator('.selection').getByRole('button', { name: 'Clear' }).click();
  await page.getByRole('button', { name: 'New folder' }).click();
  await check(page, 'new folder');
  await page.keyboard.press('Escape');
  await page.locator('input[type=search]').fill('nothing like it');
  await check(page, 'no match');
  await page.locator('input[type=search]').fill('');
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.locator('dialog[open]').waitFor();
  await page.locator('dialog').getByText('Details', { exact: true }).click();
  await check(page, 'connect');
  await page.keyboard.press('Escape');
  await page.setViewportSize({ width: 1280, height: 740 });
  await page.getByRole('button', { name: 'Room' }).click();
  await page.getByPlaceholder('Say something').fill(`https://example.com/${'x'.repeat(300)}`);
  await page.keyboard.press('Enter');
  await page.locator('.room-log a').first().waitFor();
  await check(page, 'room');
  await page.locator('.room-pane').getByRole('button', { name: 'Close' }).click();
  await page.goto(`${given.url}files/folder/deep/deeper/deepest/`);
  await page.getByText('No files yet.').waitFor();
  await check(page, 'deep directory');
  await page.goto(`${given.url}files/folder/absent/`);
  await page.getByText('This folder does not exist.').waitFor();
  await check(page, 'absent directory');
  await page.getByRole('button', { name: '한국어' }).click();
  await check(page, 'Korean');
  await page.close();

  const limited = await serve(['--max-size', '1MB']);
  const refusing = await opened(limited.url);
  await choose(refusing, sample('too-large.bin', 2_000_000));
  await reaches(refusing, 'too-large.bin', 'refused');
  await check(refusing, 'refused');
  const tokens = path.join(path.dirname(sample('x', 1)), 'tokens');
  fs.writeFileSync(tokens, `guest ${'g'.repeat(43)} write\n`, { mode: 0o600 });
  const guarded = await serve(['--token-file', tokens]);
  const entry = await opened(guarded.url);
  await check(entry, 'token');
  await entry.getByLabel('Enter the token').fill('wrong-token-wrong-token');
  await entry.keyboard.press('Enter');
  await entry.getByRole('alert').getByText('not valid').waitFor();
  await check(entry, 'wrong token');
  await entry.getByLabel('Enter the token').fill('g'.repeat(43));
  await entry.keyboard.press('Enter');
  await entry.locator('.strip').waitFor();
  await choose(entry, sample('from-guest.txt', 10));
  await entry.getByText('Thank you, that is all.').waitFor();
  await check(entry, 'guest');
  const reading = await serve(['--read-only']);
  const reader = await opened(reading.url);
  await check(reader, 'read-only');
  assert.deepEqual({ found, wide }, { found: [], wide: [] });
  return { states };
});
