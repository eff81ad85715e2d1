// Sends a file by the page, by a single fetch of a bare page, and by curl, in turns. Run by scripts/bench-page.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, given, noise, pause, person, ready, scenario, scratch, serve, shell,
} from './browser.mjs';

const { size = 1_000_000_000, pairs = 9, directory } = given.facts ?? {};

/** In the page: seconds from the choice of a file until `done` holds. */
const measured = (page) => page.evaluate(() => new Promise((resolve) => {
  addEventListener('change', () => {
    const began = performance.now();
    const look = () => {
      const state = document.querySelector('.transfer')?.dataset.state;
      if (state === 'refused') resolve(-1);
      else if (state === 'done') resolve((performance.now() - began) / 1000);
      else setTimeout(look, 5);
    };
    look();
  }, { capture: true, once: true });
}));

const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
/** The median, and the second smallest to the second largest: 96 % of 9 values contain it. */
const spread = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[Math.min(1, sorted.length - 1)];
  const high = sorted[Math.max(0, sorted.length - 2)];
  return `${middle(values).toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
};

await scenario(async () => {
  fs.mkdirSync(directory, { recursive: true });
  const file = path.join(directory, 'file.bin');
  const handle = fs.openSync(file, 'w');
  for (let at = 0; at < size; at += 50_000_000) {
    fs.writeSync(handle, noise(Math.min(50_000_000, size - at), at));
  }
  fs.closeSync(handle);
  const served = path.join(directory, 'served');
  fs.rmSync(served, { recursive: true, force: true });
  fs.mkdirSync(served);
  const server = await serve([], { directory: served });
  const context = await person();
  const bareContext = await person({ bypassCSP: true });
  const clean = async () => {
    for (const name of fs.readdirSync(served)) {
      fs.rmSync(path.join(served, name), { recursive: true });
    }
    await shell('sync', { limit: 120_000 });
    await pause(300);
  };

  const byPage = async () => {
    const page = await context.newPage();
    await page.goto(server.url);
    await ready(page);
    const time = measured(page);
    await choose(page, file);
    const seconds = await time;
    assert.ok(seconds > 0);
    await page.close();
    return seconds;
  };
  const byFetch = async () => {
    const page = await bareContext.newPage();
    await page.goto(`${server.url}livez`);
    await page.evaluate(() => {
      const input = document.createElement('input');
      input.type = 'file';
      document.body.append(input);
      globalThis.time = new Promise((resolve, reject) => {
        input.onchange = async () => {
          const began = performance.now();
          const answer = await fetch('/files/bare.bin', { method: 'PUT', body: input.files[0] });
          await answer.text();
          if (answer.status === 201) resolve((performance.now() - began) / 1000);
          else reject(new Error(String(answer.status)));
        };
      });
    });
    await choose(page, file);
    const seconds = await page.evaluate(() => globalThis.time);
    await page.close();
    return seconds;
  };
  const byCurl = async () => Number(await shell(
    `curl -sS -o /dev/null -w '%{time_total}' -T ${file} ${server.url}files/curl.bin`,
    { limit: 300_000, cwd: scratch }));

  const ways = { page: byPage, fetch: byFetch, curl: byCurl };
  const times = { page: [], fetch: [], curl: [] };
  for (let pair = -1; pair < pairs; pair++) {
    const names = Object.keys(ways);
    // The order rotates, so that none is always after the same one; round -1 warms up.
    for (let n = 0; n < names.length; n++) {
      const name = names[(n + pair + 1) % names.length];
      await clean();
      const seconds = await ways[name]();
      const [stored] = fs.readdirSync(served).filter((entry) => !entry.startsWith('.'));
      assert.equal(fs.statSync(path.join(served, stored)).size, size);
      if (pair >= 0) times[name].push(seconds);
      console.error(`${pair} ${name}: ${seconds.toFixed(3)} s`);
    }
  }
  fs.rmSync(directory, { recursive: true });
  const ratio = (one, other) => times[one].map((time, n) => time / times[other][n]);
  console.log(`\n| ${size / 1e6} MB, ${pairs} rounds | median (2nd to last but one) |\n|---|---|`);
  for (const name of Object.keys(ways)) console.log(`| ${name}, s | ${spread(times[name])} |`);
  console.log(`| page / fetch | ${spread(ratio('page', 'fetch'))} |`);
  console.log(`| page / curl | ${spread(ratio('page', 'curl'))} |`);
  console.log(`| fetch / curl | ${spread(ratio('fetch', 'curl'))} |`);
  return { times, page_by_fetch: middle(ratio('page', 'fetch')) };
});
