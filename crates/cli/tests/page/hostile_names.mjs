// Names and texts of others that look like HTML, scripts, links, or turn what is read around.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, expectFaults, faults, given, opened, reaches, ready, sample, scenario, shell,
  stored, transfer, until,
} from './browser.mjs';

const HTML = '<img src=x onerror=globalThis.run=1>';
const NAMES = [
  HTML,
  '"><script>globalThis.run=1<!--',
  "' onmouseover='globalThis.run=1",
  'javascript:globalThis.run=1',
  '{{constructor.constructor("globalThis.run=1")()}}',
  '&lt;img src=x onerror=run=1&gt;',
  '%3Cimg src=x onerror=run=1%3E',
  'a#fragment?query=1',
  '__proto__',
  'constructor',
  '\u202Egpj.exe',
  'bell\u0007and\u001b[31m.txt',
  'line\nbreak.txt',
  'zero\u200Bwidth.txt',
];

/** No script of others ran, no element of theirs exists, and nothing invisible is in the text. */
async function calm(page, where) {
  const found = await page.evaluate(() => ({
    run: globalThis.run,
    images: [...document.querySelectorAll('img, iframe, object, embed, base')]
      .map(({ outerHTML }) => outerHTML).filter((html) => !html.includes('qr')),
    handlers: [...document.querySelectorAll('*')].filter((element) =>
      [...element.attributes].some(({ name }) => name.startsWith('on'))).length,
    links: [...document.querySelectorAll('a[href]')].map(({ protocol }) => protocol)
      .filter((protocol) => !/^https?:$/.test(protocol)),
    hidden: /[\u0000-\u0008\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069]/
      .exec(document.body.innerText + document.title)?.[0] ?? null,
  }));
  const calm = { run: undefined, images: [], handlers: 0, links: [], hidden: null };
  assert.deepEqual(found, calm, where);
}

await scenario(async () => {
  for (const name of NAMES) {
    fs.writeFileSync(path.join(given.dir, name), 'x');
    fs.mkdirSync(path.join(given.dir, 'below', name), { recursive: true });
    fs.writeFileSync(path.join(given.dir, 'below', name, name), 'x');
  }
  const page = await opened();
  page.on('dialog', (dialog) => void dialog.accept());
  await page.getByText(HTML, { exact: true }).first().waitFor();
  await calm(page, 'the list');

  // Selected, renamed, deleted and refused.
  await page.locator('#files tbody tr').first().hover();
  for (const box of await page.locator('#files tbody input[type=checkbox]').all()) {
    await box.check({ force: true });
  }
  await calm(page, 'the selection');
  await page.keyboard.press('Escape');
  const row = page.locator('#files tbody tr', { hasText: HTML }).first();
  await row.hover();
  await row.locator('input[type=checkbox]').check({ force: true });
  await page.locator('.selection').getByRole('button', { name: 'Rename' }).click();
  await page.locator('.naming input').fill(`${HTML}2`);
  await page.keyboard.press('Enter');
  await page.getByText(`${HTML}2`, { exact: true }).first().waitFor();
  await calm(page, 'a new name');

  // Directories of such names, by navigation and by address.
  for (const name of NAMES) {
    const answer = await page.goto(`${given.url}files/below/${encodeURIComponent(name)}/`);
    // A name that the server does not permit has a page of the refusal.
    if (answer.status() !== 400) {
      await ready(page);
      await page.locator('#files tbody tr, #files .empty:not([hidden])').first().waitFor();
    }
    await calm(page, `the directory ${name}`);
  }
  await page.goto(`${given.url}files/${encodeURIComponent(HTML)}/#${HTML}`);
  await ready(page);
  await calm(page, 'a directory that does not exist');
  await page.goto(`${given.url}?${HTML}#"><script>globalThis.run=1</script>`);
  await ready(page);
  await calm(page, 'query and fragment');

  // An upload, its receipt, and the error text of something between page and server.
  const own = sample(`own ${HTML} \u202E.txt`, 10);
  await choose(page, own);
  await stored(page, 'own');
  await transfer(page, 'own').getByText('Details').click();
  await calm(page, 'a receipt');
  const text = JSON.stringify({ error: { code: HTML, message: `no ${HTML}\u202E`, hint: HTML } });
  await page.route('**/files/refused*', (route) =>
    route.fulfill({ status: 403, contentType: 'application/json', body: text }));
  await choose(page, sample('refused.txt', 10));
  await reaches(page, 'refused.txt', 'refused');
  assert.match(await transfer(page, 'refused.txt').innerText(), /No <img src=x/i);
  await calm(page, 'a refusal');

  // The room: nicks have letters and digits only, texts are text.
  const bad = await shell(`curl -s -o /dev/null -w '%{http_code}' -X POST --data-binary x ` +
    `'${given.url}rooms/lobby?as=%3Cimg%3E'`);
  assert.equal(bad, '400');
  const lines = [HTML, 'javascript:globalThis.run=1', 'data:text/html,<script>run=1</script>',
    'https://example.com/<img/src=x/onerror=run=1>', '\u202Eevil \u0007', 'x\u2028y',
    'http://user:pass@example.com/ http://example.com/"onmouseover="run=1'];
  await page.getByRole('button', { name: 'Room' }).click();
  for (const line of lines) {
    await shell(`curl -s --data-binary @- '${given.url}rooms/lobby'`, { input: line });
  }
  await until('all lines', async () =>
    (await page.locator('.room-log').innerText()).includes('user:pass@'));
  await calm(page, 'the room');
  assert.match(await page.locator('.room-log').innerText(), /(\\u202e|\ufffd)evil/);
  for (const link of await page.locator('.room-log a').all()) {
    assert.match(await link.getAttribute('href'), /^https?:\/\/example\.com\//);
    assert.equal(await link.getAttribute('rel'), 'noopener noreferrer');
  }

  // The page without JavaScript has the same names.
  const plain = await (await page.context().browser().newContext({ javaScriptEnabled: false }))
    .newPage();
  await plain.goto(given.url);
  assert.equal(await plain.locator('img, script:not([src])').count(), 0);
  await plain.close();

  // Files that are HTML, SVG or scripts, opened in a tab of this origin.
  expectFaults(/sandbox|allow-scripts|Content Security Policy/i);
  const attack = `<script>globalThis.run=1;fetch('/files/pwned',{method:'PUT',body:'x'})</script>
    <img src=x onerror="globalThis.run=1"><form method=post action=/ id=f></form>
    <iframe src="/"></iframe><meta http-equiv=refresh content="0;url=javascript:run=1">`;
  const before = faults.length;
  const files = {
    'evil.html': attack, 'evil.xhtml': `<html xmlns="http://www.w3.org/1999/xhtml">${attack}</html>`,
    'evil.svg': `<svg xmlns="http://www.w3.org/2000/svg" onload="globalThis.run=1">
      <script>globalThis.run=1;fetch('/files/pwned',{method:'PUT',body:'x'})</script></svg>`,
    'evil.xml': '<?xml-stylesheet href="/files/evil.js"?><x/>',
    'evil.js': 'globalThis.run=1', 'evil.txt': attack, 'noextension': attack,
  };
  const opened_ = {};
  for (const [name, content] of Object.entries(files)) {
    fs.writeFileSync(path.join(given.dir, name), content);
    const tab = await page.context().newPage();
    const answer = await tab.goto(given.url + `files/${name}`).catch(() => null);
    if (answer) {
      const policy = answer.headers()['content-security-policy'] ?? '';
      // A script or a text is shown as text.
      if (/html|svg|xml/.test(name)) assert.match(policy, /^sandbox/, name);
      assert.equal(answer.headers()['x-content-type-options'], 'nosniff', name);
      assert.equal(await tab.evaluate(() => globalThis.run), undefined, name);
      opened_[name] = await tab.evaluate(() => globalThis.origin);
    } else opened_[name] = 'download';
    await tab.close();
  }
  assert.ok(!fs.existsSync(path.join(given.dir, 'pwned')));
  // The page itself runs no script of a stored file, inline or not, as a worker or as a string.
  const tried = await page.evaluate(async () => {
    const results = {};
    const script = (attributes) => new Promise((resolve) => {
      const element = document.createElement('script');
      element.onload = () => resolve('loaded');
      element.onerror = () => resolve('refused');
      try {
        Object.assign(element, attributes);
      } catch {
        return resolve('refused');
      }
      document.body.append(element);
      setTimeout(() => resolve('refused'), 500);
    });
    results.stored = await script({ src: '/files/evil.js' });
    results.inline = await script({ text: 'globalThis.run = 1' });
    // In a task of the page: code that a debugger evaluates may use eval.
    const tasks = [];
    const attempt = (name, act) => tasks.push(new Promise((resolve) => setTimeout(() => {
      try {
        act();
        results[name] = 'done';
      } catch {
        results[name] = 'refused';
      }
      resolve();
    }, 10)));
    attempt('html', () => (document.body.innerHTML += '<p>x'));
    attempt('eval', () => globalThis.eval('globalThis.run = 1'));
    attempt('function', () => new Function('globalThis.run = 1')());
    attempt('worker', () => new Worker('/files/evil.js'));
    attempt('policy', () => globalThis.trustedTypes.createPolicy('other', {}));
    attempt('again', () => globalThis.trustedTypes.createPolicy('anyport', {}));
    await Promise.all(tasks);
    results.elsewhere = await fetch('http://127.0.0.1:9/').then(() => 'done', () => 'refused');
    results.run = globalThis.run ?? null;
    return results;
  });
  assert.equal(tried.run, null);
  for (const [name, outcome] of Object.entries(tried)) {
    if (name !== 'run') assert.equal(outcome, 'refused', name);
  }
  return { opened: opened_, tried, violations: faults.length - before };
});
