// Tabs, servers and networks that go during an upload; prints a table. Run by scripts/drill page.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, given, pause, profile, ready, sample, same, scenario, scratch, serve, stored, transfer,
  until,
} from './browser.mjs';

const { size = 200_000_000, tabs = 20, servers = 10, seconds = 30, network } = given.facts ?? {};
const rate = ['--limit-rate', '40MB'];

/** Bytes of the partial file: what a kill may not lose. */
const partial = (directory) =>
  Math.max(0, ...fs.readdirSync(directory).filter((name) => name.endsWith('.part'))
    .map((name) => fs.statSync(path.join(directory, name), { throwIfNoEntry: false })?.size ?? 0));
const reached = (directory, bytes) =>
  until(`${bytes} bytes`, () => partial(directory) >= bytes, 120_000);

/** The offset of each request that continues, as it is sent. */
function offsets(page) {
  const seen = [];
  page.on('request', (request) => {
    const offset = request.headers()['upload-offset'];
    if (request.method() === 'PATCH' && offset !== undefined) seen.push(Number(offset));
  });
  return seen;
}

/** Kills Chromium of a profile, as a crash or a flat battery does. */
function killBrowser(directory) {
  for (const id of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let words = '';
    try {
      words = fs.readFileSync(`/proc/${id}/cmdline`, 'utf8');
    } catch { /* It ended. */ }
    const isMain = words.includes(`--user-data-dir=${directory}`) && !words.includes('--type=');
    if (isMain) process.kill(Number(id), 'SIGKILL');
  }
}

const rows = [];
const result = (what, facts) => {
  rows.push([what, ...facts]);
  console.error(`${what}: ${facts.join(', ')}`);
};

async function killTabs(file) {
  const server = await serve(rate);
  const directory = path.join(scratch, 'profile');
  let context = await profile(directory);
  let page = await context.newPage();
  await page.goto(server.url);
  await ready(page);
  await choose(page, file);
  let [asked, lost, browsers] = [0, 0, 0];
  for (let kill = 1; kill <= tabs; kill++) {
    await reached(server.directory, Math.floor((size * kill) / (tabs + 1)));
    if (kill % 5 === 0) {
      killBrowser(directory);
      browsers += 1;
      await context.close().catch(() => {});
      context = await profile(directory);
    } else if (kill % 2) {
      const client = await context.newCDPSession(page);
      const crashed = page.waitForEvent('crash');
      client.send('Page.crash').catch(() => {});
      await crashed;
    } else {
      await page.close({ runBeforeUnload: false });
    }
    await pause(100);
    const before = partial(server.directory);
    page = await context.newPage();
    const seen = offsets(page);
    await page.goto(server.url);
    await ready(page);
    const row = transfer(page, path.basename(file));
    await row.waitFor();
    await until('the upload again', async () =>
      ['needs-file', 'sending', 'done'].includes(await row.getAttribute('data-state')));
    if (await row.getAttribute('data-state') === 'needs-file') {
      asked += 1;
      await choose(page, file);
    }
    await until('its continuation', () => seen.length > 0);
    lost = Math.max(lost, before - seen[0]);
  }
  await stored(page, path.basename(file));
  const text = await transfer(page, path.basename(file)).innerText();
  assert.match(text, /Stored and verified/);
  assert.ok(same(file, path.join(server.directory, path.basename(file))));
  await context.close();
  await server.kill();
  result('tab killed', [tabs, `asked for the file ${asked} times (${browsers} of the kills were ` +
    `of the whole browser)`, lost, 'equal']);
}

async function killServers(file) {
  let server = await serve(rate);
  const { directory, port } = server;
  const context = await profile(path.join(scratch, 'profile-2'));
  const page = await context.newPage();
  const seen = offsets(page);
  await page.goto(server.url);
  await ready(page);
  await choose(page, file);
  let lost = 0;
  for (let kill = 1; kill <= servers; kill++) {
    await reached(directory, Math.floor((size * kill) / (servers + 1)));
    await server.kill();
    const before = partial(directory);
    const requests = seen.length;
    server = await serve(rate, { directory, port });
    await until('its continuation', () => seen.length > requests);
    lost = Math.max(lost, before - seen.at(-1));
  }
  await stored(page, path.basename(file));
  assert.match(await transfer(page, path.basename(file)).innerText(), /Stored and verified/);
  assert.ok(same(file, path.join(directory, path.basename(file))));
  await context.close();
  await server.kill();
  result('server killed', [servers, 'nothing was asked', lost, 'equal']);
}

/** The interface goes down, or packets to the client are lost without a word. */
const cuts = ({ here, there, link, own }) => ({
  'interface down': [['-n', here, 'link', 'set', link, 'down'],
    ['-n', here, 'link', 'set', link, 'up']],
  'packets lost': [['-n', there, 'route', 'add', 'blackhole', own],
    ['-n', there, 'route', 'del', 'blackhole', own]],
});

async function cutNetwork(file, way, [cut, mend]) {
  const { there, host } = network;
  const wrap = ['ip', 'netns', 'exec', there];
  const server = await serve(['--open', ...rate], { host, wrap });
  const context = await profile(path.join(scratch, `profile ${way}`));
  const page = await context.newPage();
  const seen = offsets(page);
  await page.goto(server.url);
  await ready(page);
  await choose(page, file);
  await reached(server.directory, size / 3);
  execFileSync('ip', cut);
  const began = Date.now();
  const passed = () => (Date.now() - began) / 1000;
  const noticed = await page.getByText('Connection lost.').first()
    .waitFor({ timeout: seconds * 1000 }).then(() => `noticed after ${passed().toFixed(1)} s`)
    .catch(() => 'not noticed by the page');
  await pause((seconds - passed()) * 1000);
  const before = partial(server.directory);
  const requests = seen.length;
  execFileSync('ip', mend);
  const returned = Date.now();
  await until('its continuation', () => seen.length > requests
    || partial(server.directory) > before + 1_000_000, 180_000);
  const continued = (Date.now() - returned) / 1000;
  const lost = seen.length > requests ? Math.max(0, before - seen.at(-1)) : 0;
  await stored(page, path.basename(file));
  assert.match(await transfer(page, path.basename(file)).innerText(), /Stored and verified/);
  assert.ok(same(file, path.join(server.directory, path.basename(file))));
  await context.close();
  await server.kill();
  result(`${way} for ${seconds} s`, [1, `nothing was asked; ${noticed}, continued ` +
    `${continued.toFixed(1)} s after it was back`, lost, 'equal']);
}

await scenario(async () => {
  const file = sample('film.mov', size);
  if (tabs) await killTabs(file);
  if (servers) await killServers(file);
  for (const [way, lines] of network ? Object.entries(cuts(network)) : []) {
    await cutNetwork(file, way, lines);
  }
  console.log(`\n| ${size / 1e6} MB, at 40 MB/s | times | | stored bytes sent again | content |`);
  console.log('|---|---|---|---|---|');
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
  return { rows };
});
