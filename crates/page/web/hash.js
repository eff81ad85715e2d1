// @ts-check
import { workerUrl } from './dom.js';

/** @typedef {{ digest: Promise<string | null>, bytes: number, cancel: () => void }} Hashing */
/** @typedef {{ hashing: Hashing, done: (digest: string | null) => void, fail: () => void,
 *   moved?: () => void }} Job */

/** @type {Map<number, Job>} */
const jobs = new Map();

/** @type {Worker | null | undefined} */
let worker;

let last = 0;
let failures = 0;

/** The file cannot be read, or not as it was chosen. */
export class Changed extends Error {}

/**
 * Computes the BLAKE3 digest of a file in a worker. It is null where the browser cannot, and throws
 * [`Changed`] if the file cannot be read.
 * @param {File} file
 * @param {() => void} [moved] called while it proceeds
 * @returns {Hashing}
 */
export function hash(file, moved) {
  const id = ++last;
  /** @type {Hashing} */
  const hashing = { digest: Promise.resolve(null), bytes: 0, cancel };
  const started = start();
  if (!started) return hashing;
  hashing.digest = new Promise((resolve, reject) => {
    jobs.set(id, { hashing, done: resolve, fail: () => reject(new Changed()), moved });
  });
  // An upload that fails first has no use for it.
  hashing.digest.catch(() => {});
  started.postMessage({ id, file });
  return hashing;

  function cancel() {
    jobs.get(id)?.done(null);
    if (jobs.delete(id)) worker?.postMessage({ id });
  }
}

function start() {
  if (worker !== undefined) return worker;
  try {
    worker = new Worker(workerUrl('./hash-worker.js'), { type: 'module' });
  } catch {
    return worker = null;
  }
  worker.addEventListener('message', ({ data }) => {
    const job = jobs.get(data.id);
    if (!job) return;
    if (data.bytes !== undefined) {
      job.hashing.bytes = data.bytes;
      return job.moved?.();
    }
    jobs.delete(data.id);
    if (data.failed === 'changed') job.fail();
    else job.done(data.digest ?? null);
  });
  // Without a worker uploads go on; their receipts say that only sizes were compared.
  worker.addEventListener('error', () => {
    failures += 1;
    worker = failures < 3 ? undefined : null;
    for (const job of jobs.values()) job.done(null);
    jobs.clear();
  });
  return worker;
}
