import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tokens } from '../web/links.js';

/** Returns the addresses that become links; the text itself must stay what it was. */
function links(text) {
  const parts = tokens(text);
  assert.equal(parts.map(part => part.text ?? part).join(''), text);
  return parts.flatMap(part => part.href ?? []);
}

test('only http and https become links, and the text stays what it was', () => {
  assert.deepEqual(links('see https://a.example/b?c=d#e and HTTP://B.example now'),
    ['https://a.example/b?c=d#e', 'http://b.example/']);
  for (const text of ['javascript:alert(1)', 'data:text/html,x', 'ftp://a.example', 'a.example',
    'javascript://a.example/%0Aalert(1)', 'xhttp://a.example', 'https://', 'http:///', 'file:///a',
    'vbscript:x', 'blob:http:x', '//a.example', 'https:/\u0000/a.example', '']) {
    assert.deepEqual(links(text), [], text);
  }
});

test('an address with a user or password stays text', () => {
  assert.deepEqual(links('https://bank.example@evil.example/ http://a:b@c.example'), []);
});

test('punctuation after an address is not part of it, a bracket of its own is', () => {
  assert.deepEqual(links('(https://a.example/b), https://a.example/c_(d). "https://a.example/e"!'),
    ['https://a.example/b', 'https://a.example/c_(d)', 'https://a.example/e']);
  assert.deepEqual(links('<https://a.example/>…'), ['https://a.example/']);
});

test('a text has a limited number of links, and linear time is enough', { timeout: 10_000 }, () => {
  assert.equal(links('http://a.example '.repeat(4000)).length, 20);
  for (const text of ['http://'.repeat(9000), `http://a${'.'.repeat(65_000)}`,
    `http://a/${'.'.repeat(65_000)}z `.repeat(20),
    `http://a.example/${'('.repeat(60_000)}${')'.repeat(5_000)}`]) links(text);
});
