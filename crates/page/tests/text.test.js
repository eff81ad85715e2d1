// Names, paths, sizes and words as people read them: `node --test crates/page/tests`.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

const kept = new Map();
globalThis.window = globalThis;
globalThis.location = new URL('http://a.example/');
globalThis.localStorage = { getItem: key => kept.get(key) ?? null, setItem: kept.set.bind(kept) };
globalThis.document = {
  documentElement: { lang: 'en' }, dispatchEvent() {}, querySelector: () => null,
};
const { decodePath, encodePath } = await import('../web/api.js');
const { visible } = await import('../web/dom.js');
const format = await import('../web/format.js');
const words = await import('../web/words.js');

test('a path of any bytes is the same after it was decoded and encoded', () => {
  for (const path of ['a/b', 'a%20b/%F0%9F%98%80', 'caf%E9', '50%25.txt', '%C3%28', '%ED%95%9C%E9',
    'it%27s%281%29', 'a%0Ab', '%23%3F%26', '%EF%BF%BD']) {
    assert.equal(encodePath(decodePath(path)), path);
  }
  assert.equal(decodePath('a%20b/%ED%95%9C'), 'a b/한');
});

test('characters that hide or turn text are visible, and letters stay', () => {
  for (const text of ['a\u202etxt.exe', 'a\u200bb', 'a\u200db', 'a\u2060b', '\ufeffa', 'a\u2066b',
    'a\u009bb', decodePath('caf%E9'), 'a\u200eb', 'a\u2028b']) {
    assert.match(visible(text), /\\[ux][0-9a-f]{2,4}/, JSON.stringify(text));
  }
  assert.equal(visible('\u001b[2J\n'), '␛[2J␊');
  for (const text of ['👨‍👩‍👧', '👩🏽‍🚀', 'می‌خواهم', '한글.hwp', 'é', '📩💀']) assert.equal(visible(text), text);
});

test('sizes and durations are as the server prints them', () => {
  assert.deepEqual([0, 999, 1000, 9994, 999_500, 3e9].map(format.bytes),
    ['0 B', '999 B', '1.00 kB', '9.99 kB', '1.00 MB', '3.00 GB']);
  assert.equal(format.amount(412e6, 980e6), '412');
  assert.deepEqual([0.312, 12.14, 15, 125, 3800].map(format.duration),
    ['0.31 s', '12.1 s', '15 s', '2 min 5 s', '1 h 3 min']);
  assert.equal(format.percent(0.9999), '99 %');
  const long = format.middle(`${'a'.repeat(90)}.tar.gz`, 30);
  assert.ok(long.length === 30 && long.endsWith('.tar.gz'), long);
});

const source = fs.readFileSync(new URL('../web/words.js', import.meta.url), 'utf8');
const keys = [...source.matchAll(/^ {2}'([\w.-]+)':/gm)].map(match => match[1]);

test('each word exists in both languages, and has the values of the other one', () => {
  assert.ok(keys.length > 100 && new Set(keys).size === keys.length);
  const names = text => [...new Set([...text.matchAll(/<(\w+)>/g)].map(match => match[1]))].sort();
  const values = new Proxy({}, { get: (_, name) => `<${String(name)}>` });
  for (const key of keys) {
    words.setLanguage('en');
    const english = words.t(key, values);
    words.setLanguage('ko');
    const korean = words.t(key, values);
    assert.ok(english && korean && !/[{}]/.test(english + korean), key);
    assert.deepEqual(names(korean), names(english), key);
  }
  words.setLanguage('en');
  assert.equal(words.t('count.files', { n: 1 }), '1 file');
  assert.equal(words.t('count.files', { n: 2 }), '2 files');
});

test('each word that a script names exists', () => {
  const web = new URL('../web/', import.meta.url);
  for (const file of fs.readdirSync(web).filter(name => name.endsWith('.js'))) {
    const script = fs.readFileSync(new URL(file, web), 'utf8');
    for (const [, key] of script.matchAll(/\bt\('([\w.-]+)'/g)) {
      assert.ok(keys.includes(key), `${file}: ${key}`);
    }
  }
});
