// @ts-check
// How to reach this server: its address, the lines for a terminal, and this connection.
import { httpsAddress, isEncrypted, isLoopback, root, session } from './api.js';
import { copyButton, fill, h, visible } from './dom.js';
import { duration, rate } from './format.js';
import { live } from './live.js';
import { t } from './words.js';

/** Milliseconds between two looks at the connection. */
const LOOK = 2000;
const CLIENTS = ['nc', 'curl', 'anyport'];
const PROTOCOLS = { 'http/1.1': 'HTTP/1.1', h2: 'HTTP/2' };

/**
 * Returns the QR code of an address of this server; a phone cannot reach one of this computer.
 * @param {string} href
 * @param {string} [path] of the address, if it is not the top
 */
export function qr(href, path) {
  if (isLoopback(new URL(href, root).hostname)) {
    return h('p', { class: 'note' }, t('connect.only'));
  }
  const source = new URL('.anyport/qr.svg', root);
  if (path) source.searchParams.set('path', path);
  return h('img', { class: 'qr', src: source.href, width: 180, height: 180,
    alt: t('qr.of') });
}

/** Returns the content of the sheet "Connect". */
export function connectSheet() {
  const address = session.address || root.href;
  const { commands } = session;
  const names = [...CLIENTS, ...Object.keys(commands).filter(name => !CLIENTS.includes(name))];
  return h('div', { class: 'connect' },
    h('p', { class: 'line' }, h('code', null, address), copyButton(address)),
    qr(address),
    h('h3', null, t('connect.terminal')),
    names.filter(name => commands[name]).map(name => h('p', { class: 'line' },
      h('code', null, visible(commands[name])),
      copyButton(commands[name], { 'aria-label': t('copy.line', { name }) }))),
    connection());
}

/** @param {number} n */
const milliseconds = n => n < 1000 ? `${+n.toPrecision(2)} ms` : duration(n / 1000);

/** This connection, looked at again and again while it is shown. */
function connection() {
  const secure = isEncrypted();
  const list = h('dl');
  const { fingerprint } = session;
  /** @type {import('./live.js').Connection | null} */
  let seen = null;

  function draw() {
    const protocol =
      /** @type {Record<string, string>} */ (PROTOCOLS)[session.protocol]
      ?? session.protocol;
    /** @type {[string, import('./dom.js').Child][]} */
    const rows = [
      [t('connect.protocol'), [protocol, seen?.tls].filter(Boolean).join(' · ')],
      [t('connect.peer'), seen && visible(seen.peer)],
      [t('connect.rtt'), seen?.rtt_ms != null && milliseconds(seen.rtt_ms)],
      [t('connect.rate'), seen?.rate && rate(seen.rate)],
    ];
    fill(list, rows.filter(([, value]) => value).flatMap(([name, value]) =>
      [h('dt', null, name), h('dd', null, value)]));
  }

  const details = h('details', { on: { toggle: look } }, h('summary', null, t('connect.details')),
    list,
    fingerprint ? [h('p', { class: 'note' }, t('connect.fingerprint')),
      h('p', { class: 'line' }, h('code', null, fingerprint), copyButton(fingerprint))] : null);

  const closed = new AbortController();
  live.addEventListener('connection', event => {
    seen =
      /** @type {CustomEvent} */ (event).detail;
    draw();
  }, { signal: closed.signal });
  const timer = setInterval(look, LOOK);
  function look() {
    if (!details.isConnected) {
      clearInterval(timer);
      closed.abort();
    } else if (details.open) {
      live.start();
      live.send({ connection: {} });
    }
  }
  draw();
  return [
    h('h3', null, t('connect.this')),
    h('p', { class: 'note' }, t(secure ? 'connect.encrypted' : 'connect.plain'), ' ',
      !secure && session.tls_here
        && h('a', { href: httpsAddress() }, t('use.https'))),
    details,
  ];
}
