// @ts-check
// Uploads that are not finished, kept in IndexedDB for the next visit. Where there is none, or it
// is full, everything works but that.
import { root } from './api.js';

/** @typedef {{ id: string, owner: string, user: string | null, time: number, base: string,
 *   directory: string, path: string, size: number, lastModified: number, order: number,
 *   seconds: number, bytes: number, isNew: boolean, isPaused: boolean, url?: string,
 *   handle?: FileSystemFileHandle, refusal?: { kind: string, code: string, message: string,
 *   hint: string | null, status: number } }} Saved */

/** The server keeps partial files for a day, unless told otherwise; names are kept for a week. */
const LIFETIME = 7 * 24 * 3600 * 1000;
const PATIENCE = 1000;

const NAME = `anyport${root.pathname}uploads`;

/** This page, among the tabs of one browser. `crypto.randomUUID` is absent on plain http. */
export const me = unique();

export function unique() {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), n => n.toString(36)).join('');
}

/** @type {Promise<IDBDatabase | null> | undefined} */
let database;

/** @type {BroadcastChannel | undefined} */
let channel;

/** @type {Set<string>} */
const alive = new Set();

try {
  channel = new BroadcastChannel(NAME);
  channel.addEventListener('message', ({ data }) => {
    if (data.asks) channel?.postMessage({ is: me });
    else alive.add(data.is);
  });
} catch {
  // Each tab then continues what it finds.
}

function opened() {
  return database ??= new Promise(resolve => {
    setTimeout(() => resolve(null), 3 * PATIENCE);
    try {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore('uploads', { keyPath: 'id' });
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
}

/**
 * Runs a transaction, and returns the result of its last request; undefined without storage.
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T> | void} run
 * @returns {Promise<T | undefined>}
 */
async function transact(mode, run) {
  const db = await opened();
  if (!db) return undefined;
  return new Promise(resolve => {
    setTimeout(resolve, 3 * PATIENCE);
    try {
      const transaction = db.transaction('uploads', mode);
      const request = run(transaction.objectStore('uploads'));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onerror = transaction.onabort = () => resolve(undefined);
    } catch {
      resolve(undefined);
    }
  });
}

/** Keeps uploads. @param {Saved[]} records */
export async function put(records) {
  await transact('readwrite', store => {
    for (const record of records) store.put(record);
  });
}

/** Forgets uploads. @param {string[]} ids */
export async function remove(ids) {
  await transact('readwrite', store => {
    for (const id of ids) store.delete(id);
  });
}

/** Whether no other tab took an upload over. @param {string} id */
export async function isMine(id) {
  const record = await transact('readonly', store => store.get(id));
  return !record || record.owner === me;
}

/**
 * Takes over the uploads of a user to an address, as far as no other living tab has them.
 * @param {string} base
 * @param {string | null} user
 * @returns {Promise<Saved[]>}
 */
export async function adopt(base, user) {
  /** @param {Saved[]} all */
  const others = all => all.some(record => record.owner !== me);
  if (others(await transact('readonly', store => store.getAll()) ?? []) && channel) {
    alive.clear();
    channel.postMessage({ asks: me });
    await new Promise(resolve => setTimeout(resolve, PATIENCE));
  }
  /** @type {Saved[]} */
  const adopted = [];
  await transact('readwrite', store => {
    const request = store.getAll();
    // In one transaction, so that of two tabs only one finds an owner that is gone.
    request.onsuccess = () => {
      for (const record of
        /** @type {Saved[]} */ (request.result)) {
        if (record.time < Date.now() - LIFETIME) store.delete(record.id);
        else if (record.base === base && record.user === user && !alive.has(record.owner)) {
          record.owner = me;
          store.put(record);
          adopted.push(record);
        }
      }
    };
  });
  return adopted.sort((a, b) => a.order - b.order);
}
