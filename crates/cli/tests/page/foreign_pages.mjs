// Pages of other origins, while the browser is signed in: another port of this host (same site, so
// the cookie is sent), another host name, a name that is bound anew to this address, and a frame.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import {
  expectFaults, given, pause, person, published, scenario, site,
} from './browser.mjs';

const { token } = given.facts ?? {};
const port = new URL(given.url).port;

/** What a hostile page tries; returns what each attempt achieved. */
const attempts = async ({ url }) => {
  const results = {};
  const attempt = async (name, path, options) => {
    try {
      const response = await fetch(url + path, { credentials: 'include', ...options });
      results[name] = response.type === 'opaque' ? 'opaque' : response.status;
    } catch {
      results[name] = 'failed';
    }
  };
  await attempt('put', 'files/evil.txt', { method: 'PUT', body: 'evil' });
  await attempt('post', 'files/', { method: 'POST', mode: 'no-cors', body: new FormData() });
  const form = new FormData();
  form.append('file', new Blob(['evil']), 'evil-form.txt');
  await attempt('form', '', { method: 'POST', mode: 'no-cors', body: form });
  await attempt('text', 'evil-text', { method: 'POST', mode: 'no-cors', body: 'evil' });
  await attempt('delete', 'files/kept.txt', { method: 'DELETE' });
  await attempt('move', 'files/kept.txt', { method: 'MOVE', headers: { Destination: '/files/x' } });
  await attempt('mkcol', 'files/evil', { method: 'MKCOL' });
  await attempt('read', 'files/kept.txt', {});
  await attempt('list', '', { headers: { Accept: 'application/json' } });
  await attempt('session', '.anyport/session', {});
  await attempt('sign_out', '.anyport/session', { method: 'DELETE' });
  const word = { method: 'POST', mode: 'no-cors', body: 'evil words' };
  await attempt('say', 'rooms/lobby', word);
  const tus = { 'Tus-Resumable': '1.0.0', 'Upload-Length': '4' };
  await attempt('tus', 'files/', { method: 'POST', headers: tus });
  const share = JSON.stringify({ kind: 'file', path: 'kept.txt' });
  await attempt('share', '.anyport/shares', { method: 'POST', mode: 'no-cors', body: share });
  for (const path of ['.anyport/live', 'rooms/lobby', 'echo']) {
    results[`ws ${path}`] = await new Promise((resolve) => {
      const socket = new WebSocket(url.replace('http', 'ws') + path);
      socket.onopen = () => (socket.close(), resolve('open'));
      socket.onerror = () => resolve('failed');
    });
  }
  const load = (element, attributes) =>
    new Promise((resolve) => {
      element.onload = () => resolve('loaded');
      element.onerror = () => resolve('failed');
      Object.assign(element, attributes);
      document.body.append(element);
    });
  results.image = await load(new Image(), { src: `${url}files/picture.svg` });
  results.script = await load(document.createElement('script'), { src: `${url}files/script.js` });
  return results;
};


/** Sends a form by navigation, which no CORS rule stops. */
const submit = ({ enctype, action }) => {
  const form = document.createElement('form');
  Object.assign(form, { method: 'post', action, enctype });
  const input = document.createElement('input');
  Object.assign(input, { name: 'token', value: 'evil' });
  form.append(input);
  document.body.append(form);
  form.submit();
};

await scenario(async () => {
  fs.writeFileSync(`${given.dir}/kept.txt`, 'kept');
  fs.writeFileSync(`${given.dir}/picture.svg`, '<svg xmlns="http://www.w3.org/2000/svg"/>');
  fs.writeFileSync(`${given.dir}/script.js`, 'window.stolen = true');
  const before = published();
  const context = await person({}, [`--host-resolver-rules=MAP rebound.example 127.0.0.1`]);
  const own = await context.newPage();
  await own.goto(given.url);
  if (token) {
    const status = await own.evaluate(async (token) => {
      const body = JSON.stringify({ token });
      const headers = { 'Content-Type': 'application/json' };
      return (await fetch('/.anyport/session', { method: 'POST', body, headers })).status;
    }, token);
    assert.equal(status, 200);
    const [cookie] = await context.cookies();
    assert.equal(cookie.httpOnly, true);
    assert.equal(cookie.sameSite, 'Strict');
    assert.ok(!cookie.value.includes(token), 'the token is not in the cookie');
    assert.equal(await own.evaluate(() => document.cookie), '');
  }
  const report = {};
  const foreign = await site('<body>evil</body>');
  const named = foreign.url.replace('127.0.0.1', 'localhost');
  for (const [name, from] of [['port', foreign.url], ['host', named]]) {
    const page = await context.newPage();
    await page.goto(from);
    report[name] = await page.evaluate(attempts, { url: given.url });
    assert.equal(await page.evaluate(() => globalThis.stolen), undefined);
    // The page of a refusal would load itself again, now with the cookie.
    await page.route('**/.anyport/page/**', (route) => route.abort());
    for (const enctype of ['multipart/form-data', 'text/plain', 'application/x-www-form-urlencoded']) {
      for (const path of ['', '.anyport/session', 'rooms/lobby', '.anyport/shares']) {
        await page.goto(from);
        const [answer] = await Promise.all([
          page.waitForResponse((response) => response.url() === given.url + path),
          page.waitForEvent('framenavigated'),
          page.evaluate(submit, { enctype, action: given.url + path }),
        ]);
        report[`${name} form`] ??= {};
        report[`${name} form`][`${path} ${enctype}`] = answer.status();
      }
    }
    await page.goto(from);
    const framed = await page.evaluate((src) => {
      const frame = document.createElement('iframe');
      document.body.append(frame);
      return new Promise((resolve) => {
        frame.onload = () => resolve(frame.contentDocument === null ? 'other' : 'blank');
        frame.src = src;
      });
    }, given.url);
    const texts = await Promise.all(page.frames().slice(1).map((frame) => frame.content()));
    assert.ok(!texts.join().includes('kept.txt'), `${framed}: the page is not shown in a frame`);
    await page.close();
  }
  const page = await context.newPage();
  // The page that the name led to before it was bound anew.
  const origin = `http://rebound.example:${port}/`;
  const body = '<body>evil</body>';
  await page.route(`${origin}evil`, (route) => route.fulfill({ contentType: 'text/html', body }));
  await page.goto(`${origin}evil`);
  report.rebound = await page.evaluate(attempts, { url: origin });
  report.rebound.page = (await page.goto(origin)).status();
  await page.close();
  expectFaults(/frame-ancestors/);
  await pause(100);
  assert.deepEqual(published(), before);
  assert.equal(fs.readFileSync(`${given.dir}/kept.txt`, 'utf8'), 'kept');
  assert.deepEqual(fs.readdirSync(given.dir).filter((name) => name.includes('.anyport-')), []);
  if (token) {
    const session = await own.evaluate(async () => (await fetch('/.anyport/session')).json());
    assert.equal(session.signed_in, true, 'no foreign page ended the session');
  }
  return report;
});
