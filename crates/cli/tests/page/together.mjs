// The room beside the files with nc and curl, and four tabs at the same time.
import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import {
  choose, given, listed, opened, person, published, ready, sample, same, scenario, shell, stored,
  until,
} from './browser.mjs';

const { port } = new URL(given.url);

/** A member of the room by nc: lines both ways. */
function member(nick) {
  const socket = net.connect(Number(port), '127.0.0.1');
  const made = { text: '', say: (line) => socket.write(`${line}\n`), end: () => socket.end() };
  socket.on('data', (more) => (made.text += more));
  socket.on('error', () => {});
  socket.write(`ANYPORT/1 JOIN lobby as ${nick}\n`);
  return made;
}

await scenario(async () => {
  const report = {};
  const page = await opened();
  // Unread lines are a number, before the room is opened and without a member that is announced.
  const nc = member('netcat');
  await until('the room by nc', () => nc.text.includes('lobby') || nc.text.length > 0);
  nc.say('hello from nc');
  await page.locator('.room-button .badge').waitFor();
  await page.getByRole('button', { name: 'Room' }).click();
  const log = page.locator('.room-log');
  await log.getByText('hello from nc').waitFor();
  await shell(`curl -s --data-binary @- '${given.url}rooms/lobby?as=curly'`, { input: 'by curl' });
  await log.getByText('by curl').waitFor();
  assert.match(await log.innerText(), /netcat[^]*hello from nc[^]*curly[^]*by curl/);

  // What the page says is read by both.
  const curl = shell(`grep -m1 'from the page' < <(curl -sN ${given.url}rooms/lobby 2>&-)`);
  await until('a listener', async () => {
    await page.locator('.room-here summary').click();
    return /reading/.test(await page.locator('.room-here').innerText());
  });
  await page.getByPlaceholder('Say something').fill('from the page <b>& more</b>');
  await page.keyboard.press('Enter');
  await until('the line by nc', () => nc.text.includes('from the page <b>& more</b>'));
  report.by_curl = (await curl).trim();
  report.by_nc = nc.text.split('\n').find((line) => line.includes('from the page'));

  // A nick, and who is there.
  const name = page.getByLabel('You are');
  await name.fill('bad name');
  await name.press('Enter');
  await page.getByText('A name has up to 32 letters').waitFor();
  await name.fill('Paula');
  await name.press('Enter');
  await until('the nick by nc', () => /Paula/.test(nc.text));
  nc.say('bye');
  nc.end();
  await log.getByText('netcat left').waitFor();

  // A file for the room becomes a line with its link.
  const chooser = page.waitForEvent('filechooser');
  await page.getByRole('button', { name: 'Send a file' }).click();
  await (await chooser).setFiles(sample('for all.txt', 2000));
  const link = log.getByRole('link').last();
  await link.waitFor();
  assert.equal(await link.getAttribute('href'), `${given.url}files/for%20all.txt`);
  const fetched = await shell(`curl -s ${given.url}files/for%20all.txt | wc -c`);
  assert.equal(fetched.trim(), '2000');

  // After a reload the history is there, and nothing of it is unread.
  await page.reload();
  await ready(page);
  await page.getByRole('button', { name: 'Room' }).click();
  await log.getByText('hello from nc').waitFor();
  await page.close();

  // Four tabs: HTTP/1.1 has six connections a host, and each tab has a WebSocket and three uploads.
  const context = await person();
  const tabs = [];
  for (let n = 0; n < 4; n++) {
    const tab = await context.newPage();
    await tab.goto(given.url);
    await ready(tab);
    await tab.getByRole('button', { name: 'Room' }).click();
    await tab.locator('.room-log').waitFor();
    tabs.push(tab);
  }
  const files = tabs.map((_, n) =>
    [0, 1, 2].map((m) => sample(`tabs/${n}-${m}.bin`, 3_000_000, `${n}${m}`)));
  await Promise.all(tabs.map((tab, n) => choose(tab, files[n])));
  await Promise.all(tabs.map((tab, n) => Promise.all(files[n].map((file) =>
    stored(tab, path.basename(file))))));
  for (const file of files.flat()) assert.ok(same(file, path.join(given.dir, path.basename(file))));
  await Promise.all(tabs.map((tab) => listed(tab, '3-2.bin').waitFor()));
  await tabs[0].getByPlaceholder('Say something').fill('to all tabs');
  await tabs[0].keyboard.press('Enter');
  await Promise.all(tabs.map((tab) =>
    tab.locator('.room-log').getByText('to all tabs').waitFor()));
  await shell(`printf x | curl -sS -T - ${given.url}live.txt`);
  await Promise.all(tabs.map((tab) => listed(tab, 'live.txt').waitFor()));
  report.files = published().length;
  return report;
});
