// @ts-check
import { icons } from './icons.js';
import { t } from './words.js';

/** @typedef {Node | string | number | false | null | undefined} Child */
/** @typedef {{ [name: string]: unknown, class?: string | false | null,
 *   on?: { [type: string]: (event: any) => void }, data?: { [name: string]: string } }} Props */

/**
 * Returns an element. Text becomes text nodes, `true` an empty attribute; attributes that could run
 * code or carry style are not set, and links lead to http(s) only.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === 'on') {
      for (const [type, handler] of Object.entries(props?.on ?? {})) {
        element.addEventListener(type, handler);
      }
    } else if (name === 'data') {
      Object.assign(element.dataset, value);
    } else if (value !== false && value !== null && value !== undefined && isSafe(name, value)) {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  if (tag === 'a') element.setAttribute('rel', 'noopener noreferrer');
  append(element, children);
  return element;
}

/** @param {Element} element @param {(Child | Child[])[]} children */
export function append(element, children) {
  for (const child of children.flat()) {
    if (child === false || child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces the content of an element.
 * @param {Element} element @param {...(Child | Child[])} children */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** @param {string} name @param {unknown} value */
function isSafe(name, value) {
  if (/^(on|style$)/i.test(name)) return false;
  if (!/^(href|src|action|formaction)$/i.test(name)) return true;
  try {
    return /^https?:$/.test(new URL(String(value), document.baseURI).protocol);
  } catch {
    return false;
  }
}

// The last are bytes that are not UTF-8, as `decodePath` of api.js returns them.
const CONTROLS = new RegExp('[\\0-\\x1f\\x7f-\\x9f\\u061c\\u200b-\\u200f\\u2028-\\u202e'
  + '\\u2060-\\u2069\\ufeff\\udc80-\\udcff]', 'gu');
/** What joiners are needed after: emoji and Arabic script. */
const JOINED = /[\p{ExtPict}\p{EMod}\p{sc=Arab}\ufe0f]$/u;

/**
 * Returns text of a peer with a visible form of each control, of each mark that changes the
 * direction of text, and of what has no width.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(CONTROLS, (c, at) => {
    const code = c.charCodeAt(0);
    if (/[\u200c\u200d]/.test(c) && JOINED.test(text.slice(Math.max(0, at - 2), at))) return c;
    if (code < 32) return String.fromCharCode(0x2400 + code);
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    return code === 127 ? '\u2421' : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** Returns a name of a peer as an element. @param {string} name */
export function bdi(name) {
  return h('bdi', null, visible(name));
}

const SVG = 'http://www.w3.org/2000/svg';

/** Returns an icon, hidden from screen readers: a word is beside it. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', icons[name] ?? '');
  svg.append(path);
  return svg;
}

/**
 * Returns a button with an icon and a word.
 * @param {string} label
 * @param {(event: MouseEvent) => void} click
 * @param {Props & { icon?: string }} [props]
 */
export function button(label, click, props = {}) {
  const { icon: image, ...rest } = props;
  return h('button', { type: 'button', ...rest, on: { click } },
    image ? icon(image) : null, h('span', null, label));
}

/** @type {HTMLElement | undefined} */
let region;

/** Says a text to screen readers. @param {string} text */
export function announce(text) {
  if (!region?.isConnected) {
    region = h('div', { class: 'hidden', role: 'status', 'aria-live': 'polite' });
    document.body.append(region);
  }
  // A node for each text: two equal texts are both read, and none replaces one that waits.
  const line = h('p', null, text);
  region.append(line);
  setTimeout(() => line.remove(), 5000);
}

/**
 * Copies a text; without the clipboard API (plain http) by a selection.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const active = document.activeElement;
    const field = h('textarea', { class: 'hidden', readonly: true });
    field.value = text;
    // Inside an open dialog everything else is inert and cannot be selected.
    (document.querySelector('dialog[open]') ?? document.body).append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.remove();
    if (active instanceof HTMLElement) active.focus({ preventScroll: true });
    return copied;
  }
}

/**
 * Returns a button that copies a text and says so for two seconds.
 * @param {string | (() => string)} text
 * @param {Props & { icon?: string, label?: string }} [props]
 */
export function copyButton(text, props = {}) {
  const { label = t('copy'), ...rest } = props;
  const element = button(label, async () => {
    const done = await copy(typeof text === 'string' ? text : text());
    const words = done ? t('copied') : t('copy.failed');
    const span = element.querySelector('span');
    if (span) span.textContent = words;
    announce(words);
    setTimeout(() => { if (span) span.textContent = label; }, 2000);
  }, { class: 'quiet', icon: 'copy', ...rest });
  return element;
}

/**
 * Opens a sheet over the page; Esc, its button and a click beside it close it.
 * @param {string} title
 * @param {Child | Child[]} content
 * @returns {HTMLDialogElement}
 */
export function sheet(title, content) {
  const dialog = h('dialog', { class: 'sheet', 'aria-label': title, on: {
    close: () => dialog.remove(),
    click: event => { if (event.target === dialog) dialog.close(); },
  } },
    h('div', { class: 'sheet-body' },
      h('header', null, h('h2', null, title),
        button(t('close'), () => dialog.close(), { class: 'quiet', icon: 'close' })),
      content));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** @type {{ createScriptURL(url: string): string } | undefined} */
const policy =
  /** @type {{ trustedTypes?: { createPolicy: Function } }} */ (window).trustedTypes
  ?.createPolicy('anyport', { createScriptURL: (/** @type {string} */ url) => {
    const allowed = new URL('./', import.meta.url).href;
    if (!url.startsWith(allowed)) throw new TypeError(`script of another path: ${url}`);
    return url;
  } });

/** Returns the URL of a worker of this page; only its own files are allowed.
 * @param {string} file */
export function workerUrl(file) {
  const url = new URL(file, import.meta.url).href;
  return policy ? policy.createScriptURL(url) : url;
}
