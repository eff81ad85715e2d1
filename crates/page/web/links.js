// @ts-check
// Addresses in text of peers.

/** Links in one text: a line of 64 KiB must not become thousands of elements. */
const LINKS = 20;
const AFTER = '.,:;!?*_~…。、」』）)]';

/**
 * Returns a text with its http(s) addresses as links. Everything else stays text; an address with
 * a user or password may look like another host's, and stays text too.
 * @param {string} text
 * @returns {(string | {text: string, href: string})[]}
 */
export function tokens(text) {
  /** @type {(string | {text: string, href: string})[]} */
  const found = [];
  let end = 0;
  let links = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[^\s<>"'\x60\\^{|}]+/giu)) {
    if (++links > LINKS) break;
    const address = trimmed(match[0]);
    const href = web(address);
    if (href === null) continue;
    if (match.index > end) found.push(text.slice(end, match.index));
    found.push({ text: address, href });
    end = match.index + address.length;
  }
  if (end < text.length) found.push(text.slice(end));
  return found;
}

/**
 * Returns an address without the punctuation of its sentence; a closing bracket belongs to it if
 * it was opened in it. From the end, as a regular expression would need quadratic time.
 * @param {string} address
 */
function trimmed(address) {
  const isOpened = address.includes('(');
  let end = address.length;
  while (end && AFTER.includes(address[end - 1]) && !(isOpened && address[end - 1] === ')')) end--;
  return address.slice(0, end);
}

/** @param {string} address */
function web(address) {
  try {
    const url = new URL(address);
    return /^https?:$/.test(url.protocol) && url.username + url.password === '' ? url.href : null;
  } catch {
    return null;
  }
}
