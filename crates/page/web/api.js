// @ts-check
/** @typedef {{ token_required: boolean, user: string | null, rights: string[],
 *   scope: string | null, signed_in: boolean, encrypted: boolean, protocol: string,
 *   tls_here: boolean, fingerprint: string | null, max_size: number | null, renames: boolean,
 *   room: boolean, address: string, commands: { [client: string]: string }, mode: string,
 *   version: string }} Session */

/** The root of the server, also below a path of a proxy. */
export const root = new URL('../../../', import.meta.url);

/** The URL of the directory that uploads go to and files are in: a drop box is its own one. */
export const base = document.querySelector('main')?.dataset.drop === undefined
  ? new URL('files/', root) : new URL('./', location.href);

/** `signedout` when a request got 401, `session` when the session was read again. */
export const events = new EventTarget();

/** @type {Session} */
export let session = {
  token_required: false, user: null, rights: [], scope: null, signed_in: false, encrypted: false,
  protocol: '', tls_here: false, fingerprint: null, max_size: null, renames: false, room: false,
  address: root.href, commands: {}, mode: 'open', version: '',
};

/** A refusal of the server, or status 0 without an answer. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message
   * @param {string | null} [hint] */
  constructor(status, code, message, hint = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/**
 * Sends a request to a path below the root. Without an answer, or if the answer is a refusal, it
 * throws an `ApiError`.
 * @param {string | URL} path
 * @param {RequestInit & { headers?: Record<string, string> }} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  const headers = {
    Accept: 'application/json', 'X-Requested-With': 'XMLHttpRequest', ...options.headers,
  };
  let response;
  try {
    response = await fetch(new URL(path, root), {
      credentials: 'same-origin', cache: 'no-store', ...options, headers,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, 'offline', String(error));
  }
  if (response.ok) return response;
  throw await refusal(response);
}

/** Reads the refusal in a response. @param {Response} response @returns {Promise<ApiError>} */
export async function refusal(response) {
  if (response.status === 401) events.dispatchEvent(new Event('signedout'));
  const text = await response.text().catch(() => '');
  return parseRefusal(response.status, text);
}

/** Returns the refusal in the text of a response. @param {number} status @param {string} text */
export function parseRefusal(status, text) {
  try {
    const { code, message, hint } = JSON.parse(text).error;
    return new ApiError(status, String(code), String(message), hint ? String(hint) : null);
  } catch {
    return new ApiError(status, 'http', text.trim().split('\n')[0]?.slice(0, 300) || `${status}`);
  }
}

/** Reads the session again. @returns {Promise<Session>} */
export async function refresh() {
  return accept(await request('.anyport/session'));
}

/** Exchanges a token for a session, which is read again: a browser may refuse the cookie.
 * @param {string} token @returns {Promise<Session>} */
export async function signIn(token) {
  await request('.anyport/session', {
    method: 'POST', headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  return refresh();
}

/** Ends the session. */
export async function signOut() {
  await request('.anyport/session', { method: 'DELETE' });
  await refresh();
}

/** @param {Response} response @returns {Promise<Session>} */
async function accept(response) {
  session = await response.json();
  events.dispatchEvent(new Event('session'));
  return session;
}

/** Whether a host is this computer itself. @param {string} hostname */
export const isLoopback = hostname =>
  /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);

/** Whether nobody on the way can read what is sent. */
export const isEncrypted = () => session.encrypted || location.protocol === 'https:';

/** Returns the address of this page on the encrypted side of the same port. */
export const httpsAddress = () => location.href.replace(/^http:/, 'https:');

/** Whether the client has a right. @param {string} right */
export function may(right) {
  return session.rights.includes(right);
}

/**
 * Returns a path of the files as part of a URL. A byte that is not UTF-8 is a lone surrogate in a
 * path, U+DC80 to U+DCFF, as Python's `surrogateescape` has it.
 * @param {string} path
 */
export function encodePath(path) {
  return path.split('/').map(part => part.split(/([\udc80-\udcff])/u).map(piece =>
    /^[\udc80-\udcff]$/u.test(piece) ? hex(piece.charCodeAt(0) - 0xdc00)
      : encodeURIComponent(piece.replace(/\p{Cs}/gu, '\ufffd'))
        .replace(/[!'()*]/g, c => hex(c.charCodeAt(0)))).join('')).join('/');
}

/** @param {number} byte */
const hex = byte => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;

/** Returns the path that `encodePath` wrote. @param {string} encoded */
export function decodePath(encoded) {
  return encoded.replace(/(?:%[0-9a-f]{2})+/gi, run => {
    try {
      return decodeURIComponent(run);
    } catch {
      return run.replace(/%(..)/g, (_, byte) => {
        const code = parseInt(byte, 16);
        return String.fromCharCode(code < 128 ? code : 0xdc00 + code);
      });
    }
  });
}
