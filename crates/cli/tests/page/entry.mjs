// A server that requires a token: entry, a wrong token, sign out, a token that is removed, rights.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import {
  choose, given, listed, opened, person, ready, sample, scenario, shell, site,
  stored, until,
} from './browser.mjs';

const { tokens, alice, reader, guest } = given.facts;

const enter = async (page, token) => {
  await page.getByLabel('Enter the token').fill(token);
  await page.getByRole('button', { name: 'Continue' }).click();
};

await scenario(async () => {
  fs.writeFileSync(path.join(given.dir, 'kept.txt'), 'kept');
  const report = {};
  const page = await opened();
  const dialogs = [];
  page.on('dialog', (dialog) => dialogs.push(dialog.type()));
  assert.ok(!(await page.content()).includes('kept.txt'), 'nothing is shown before');
  await enter(page, 'wrong-token-wrong-token-wrong');
  await page.getByRole('alert').getByText('This token is not valid here').waitFor();
  await enter(page, ` ${alice} `);
  await listed(page, 'kept.txt').waitFor();
  await choose(page, sample('by-alice.txt', 100));
  await stored(page, 'by-alice.txt');

  // The token is nowhere in the browser; the cookie is for this server and ends with the session.
  const [cookie] = await page.context().cookies();
  report.cookie = { ...cookie, value: cookie.value.length };
  const kept = await page.evaluate(async () => {
    const databases = await indexedDB.databases();
    const all = [JSON.stringify({ ...localStorage, ...sessionStorage }), document.cookie];
    for (const { name } of databases) {
      const database = await new Promise((resolve) => {
        const request = indexedDB.open(name);
        request.onsuccess = () => resolve(request.result);
      });
      for (const store of database.objectStoreNames) {
        all.push(JSON.stringify(await new Promise((resolve) => {
          const request = database.transaction(store).objectStore(store).getAll();
          request.onsuccess = () => resolve(request.result);
        })));
      }
      database.close();
    }
    return all.join();
  });
  assert.ok(!kept.includes(alice) && !cookie.value.includes(alice));
  await page.reload();
  await ready(page);
  await listed(page, 'by-alice.txt').waitFor();

  // Sign out, and in again at an address below.
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Enter the token').waitFor();
  await page.goto(`${given.url}files/`);
  await ready(page);
  await enter(page, alice);
  await listed(page, 'kept.txt').waitFor();

  // A link to a file asks for the token and then is the file; for a person who is signed in, also
  // from a page of another site, whose requests have no cookie.
  const linked = await (await person()).newPage();
  await linked.goto(`${given.url}files/kept.txt`);
  await ready(linked);
  await enter(linked, alice);
  await linked.getByText('kept', { exact: true }).waitFor();
  const mail = await site(`<a href="${given.url}files/kept.txt">link</a>`);
  await linked.goto(mail.url.replace('127.0.0.1', 'localhost'));
  await linked.getByRole('link').click();
  await linked.getByText('kept', { exact: true }).waitFor();

  // No JavaScript: the same form, the same address afterwards.
  const plain = await (await person({ javaScriptEnabled: false })).newPage();
  await plain.goto(given.url);
  await plain.locator('input[name=token]').fill('wrong-token-wrong-token-wrong');
  await plain.locator('form button').click();
  await plain.locator('input[name=token]').fill(alice);
  await plain.locator('form button').click();
  await plain.getByRole('link', { name: 'kept.txt' }).waitFor();
  await plain.locator('input[type=file]').setInputFiles(sample('plain.txt', 50));
  await plain.getByRole('button', { name: 'Upload', exact: true }).click();
  await plain.getByRole('link', { name: 'plain.txt' }).waitFor();

  // Read only: no strip, no deletion. Guest: strip, own transfers, thanks.
  const read = await opened();
  await enter(read, reader);
  await listed(read, 'kept.txt').waitFor();
  assert.equal(await read.locator('.strip').count(), 0);
  assert.equal(await read.getByRole('button', { name: 'New folder' }).isVisible(), false);
  const sending = await opened();
  await enter(sending, guest);
  await choose(sending, sample('from-guest.txt', 500));
  await sending.getByText('Thank you, that is all.').waitFor();
  assert.equal(await sending.locator('#files').count(), 0);
  assert.ok(!(await sending.content()).includes('kept.txt'));
  assert.equal(await sending.getByRole('button', { name: 'Copy link' }).isVisible(), false);
  report.guest = await sending.locator('main').innerText();

  // A token that the server no longer has ends its session.
  await page.bringToFront();
  const lines = fs.readFileSync(tokens, 'utf8').split('\n');
  fs.writeFileSync(tokens, lines.filter((line) => !line.includes(alice)).join('\n'));
  await shell(`kill -HUP ${given.facts.pid}`);
  await until('signed out', async () => {
    const answer = await page.evaluate(async () => (await fetch('/.anyport/session')).json());
    return answer.rights.length === 0;
  });
  await page.reload();
  await ready(page);
  await page.getByLabel('Enter the token').waitFor();
  assert.deepEqual(dialogs, [], 'the browser asks nothing by itself');
  return report;
});
