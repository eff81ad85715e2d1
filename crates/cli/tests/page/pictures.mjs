// Pictures of every state into $SHOTS: desktop and phone, light and dark. Run by scripts/page-pictures.
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, drop, given, listed, opened, person, proxy, reaches, ready, sample, scenario, serve,
  shell, stored, transfer, until,
} from './browser.mjs';

const SIZES = { desktop: [1280, 800], wide: [1600, 900], phone: [360, 740] };

/** Pictures of a state in the sizes that are named. */
async function picture(page, state, sizes = ['desktop', 'phone']) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const size of sizes) {
      const [width, height] = SIZES[size];
      await page.setViewportSize({ width, height });
      await page.mouse.move(1, height - 1);
      const file = path.join(process.env.SHOTS, `${state}-${size}-${colorScheme}.png`);
      await page.screenshot({ path: file });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

const put = (name, size, age) => {
  const file = path.join(given.dir, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, '');
  fs.truncateSync(file, size);
  const time = Date.now() / 1000 - age;
  fs.utimesSync(file, time, time);
};

await scenario(async () => {
  const page = await opened();
  await page.getByText('No files yet.').waitFor();
  await picture(page, 'empty', ['desktop', 'wide', 'phone']);
  const day = 86_400;
  put('photos/one.jpg', 3_000_000, day);
  put('projects/plan.md', 3_000, day);
  put('budget 2026.xlsx', 48_211, 3 * day);
  put('Interview with the mayor, final cut (2).wav', 812_000_000, 5 * day);
  put('notes.txt', 1_204, 600);
  put('회의록.pdf', 2_400_000, 40 * day);
  put('backup.tar.zst', 31_400_000_000, 400 * day);
  await page.reload();
  await ready(page);
  await listed(page, 'notes.txt').waitFor();
  await picture(page, 'list', ['desktop', 'wide', 'phone']);
  const fresh = () => page.emulateMedia({ colorScheme: 'light' });
  await fresh();
  await listed(page, 'notes.txt').hover();
  await listed(page, 'notes.txt').locator('input[type=checkbox]').check();
  await listed(page, 'photos').locator('input[type=checkbox]').check();
  await picture(page, 'selection');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'New folder' }).click();
  await picture(page, 'newfolder', ['desktop', 'phone']);
  await page.keyboard.press('Escape');
  await fresh();
  await drop(page, [sample('dropped.txt', 10)], { hold: async () => {
    await page.locator('.drop').waitFor();
    await page.screenshot({ path: path.join(process.env.SHOTS, 'dragging-desktop-light.png') });
  } });
  await stored(page, 'dropped.txt');
  await choose(page, sample('holiday.mov', 98_000_000));
  await stored(page, 'holiday.mov');
  await picture(page, 'done');
  await transfer(page, 'holiday.mov').getByText('Details').click();
  await picture(page, 'receipt');

  const rates = { rate: 2_000_000 };
  const slow = await proxy(given.url, rates);
  const sending = await opened(slow.url);
  const names = ['trip to the sea.mov', 'recording-2026-11-28-final-version-that-nobody-renamed.wav',
    'slides.key', 'archive.zip', 'raw-0001.dng'];
  await choose(sending, names.map((name, n) => sample(name, 98_000_000 - n * 10_000_000)));
  await until('rates', async () =>
    (await sending.locator('.transfer[data-state=sending]').allInnerTexts())
      .filter((text) => /left/.test(text)).length >= 3);
  await picture(sending, 'uploading', ['desktop', 'wide', 'phone']);
  // For the README.
  await sending.setViewportSize({ width: 860, height: 940 });
  await sending.emulateMedia({ colorScheme: 'light' });
  await sending.screenshot({ path: path.join(process.env.SHOTS, 'readme.png') });
  await sending.setViewportSize({ width: 1280, height: 800 });
  await transfer(sending, 'slides.key').getByRole('button', { name: 'Pause' }).click();
  await transfer(sending, 'trip').locator('details.menu summary').click();
  await picture(sending, 'menu');
  await sending.keyboard.press('Escape');
  slow.down = true;
  slow.cut();
  await sending.getByText('Connection lost.').first().waitFor();
  await picture(sending, 'offline');
  sending.on('dialog', (dialog) => void dialog.accept());
  slow.down = false;
  await sending.reload();
  await ready(sending);
  await sending.locator('.transfer[data-state=needs-file]').first().waitFor();
  await picture(sending, 'again');
  await sending.close();

  const limited = await serve(['--max-size', '1MB']);
  const refusing = await opened(limited.url);
  await choose(refusing, [sample('too-large.bin', 2_000_000), sample('small.txt', 20)]);
  await reaches(refusing, 'too-large.bin', 'refused');
  await picture(refusing, 'refused');
  const full = await serve(['--quota', '1MB']);
  const filling = await opened(full.url);
  await choose(filling, ['a', 'b', 'c', 'd', 'e'].map((n) => sample(`full-${n}`, 600_000)));
  await filling.getByRole('button', { name: 'Resume all' }).waitFor();
  await picture(filling, 'full');
  await filling.close();

  await page.getByRole('button', { name: 'Connect' }).click();
  await page.locator('dialog').getByText('Details', { exact: true }).click();
  await picture(page, 'connect');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Room' }).click();
  for (const [who, line] of [['netcat', 'is the build done?'], ['curly', 'yes, 14:02'],
    ['curly', 'log: https://example.com/build/4711'], ['netcat', 'thanks']]) {
    await shell(`curl -s --data-binary @- '${given.url}rooms/lobby?as=${who}'`, { input: line });
  }
  await page.getByPlaceholder('Say something').fill('I have put the slides here.');
  await page.keyboard.press('Enter');
  await page.locator('.room-log').getByText('I have put').waitFor();
  await picture(page, 'room', ['desktop', 'wide', 'phone']);
  await page.close();

  const deep = await opened(`${given.url}files/photos/`);
  await picture(deep, 'directory');
  const korean = await opened(given.url, { locale: 'ko-KR' });
  await picture(korean, 'korean');

  const tokens = path.join(path.dirname(sample('x', 1)), 'tokens');
  const all = 'read,write,delete,talk,share';
  const [mine, guest] = ['m'.repeat(43), 'g'.repeat(43)];
  fs.writeFileSync(tokens, `alice ${mine} ${all}\nguest ${guest} write\n`, { mode: 0o600 });
  const guarded = await serve(['--token-file', tokens]);
  const entry = await opened(guarded.url);
  await picture(entry, 'token');
  await entry.getByLabel('Enter the token').fill('wrong-token-wrong-token');
  await entry.keyboard.press('Enter');
  await entry.getByRole('alert').getByText('not valid').waitFor();
  await picture(entry, 'token-wrong');
  await entry.getByLabel('Enter the token').fill(guest);
  await entry.keyboard.press('Enter');
  await entry.locator('.strip').waitFor();
  await picture(entry, 'guest');
  await choose(entry, sample('from-guest.txt', 10));
  await entry.getByText('Thank you, that is all.').waitFor();
  await picture(entry, 'guest-done');
  fs.writeFileSync(path.join(guarded.directory, 'report.pdf'), 'x'.repeat(100_000));
  const alice = await opened(guarded.url);
  await alice.getByLabel('Enter the token').fill(mine);
  await alice.keyboard.press('Enter');
  await listed(alice, 'report.pdf').hover();
  await listed(alice, 'report.pdf').locator('input[type=checkbox]').check();
  await picture(alice, 'signed-in');
  await alice.locator('.selection').getByRole('button', { name: 'Share' }).click();
  await alice.getByRole('button', { name: 'Create link' }).click();
  await alice.locator('.share-made input').waitFor();
  await picture(alice, 'share');
  const link = await alice.locator('.share-made input').inputValue();
  const shared = await (await person()).newPage();
  await shared.goto(link);
  await picture(shared, 'shared-file');
  await alice.getByRole('button', { name: 'Create drop box' }).click();
  await until('the box', async () => (await alice.locator('.share-made input').inputValue()) !== link);
  const box = await opened(await alice.locator('.share-made input').inputValue());
  await picture(box, 'drop-box');
  await choose(box, sample('for the box.txt', 100));
  await stored(box, 'for the box.txt');
  await picture(box, 'drop-box-done');
  const reading = await serve(['--read-only'], { directory: given.dir });
  await picture(await opened(reading.url), 'read-only');
  const plain = await (await person({ javaScriptEnabled: false })).newPage();
  await plain.goto(given.url);
  await picture(plain, 'without-javascript');
  return {};
});
