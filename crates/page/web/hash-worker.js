// @ts-check
// Computes BLAKE3 digests of files beside their uploads, a piece of each file in turn.

/** @typedef {{ memory: WebAssembly.Memory, input: () => number, capacity: () => number,
 *   init: () => void, update: (length: number) => void, finish: () => void }} Blake3 */

/** Slices of 8 MiB are read at twice the rate of slices of 1 MiB. */
const PIECE = 8 << 20;

/** @type {Set<number>} */
const running = new Set();

/** @type {Promise<WebAssembly.Module> | undefined} */
let module;

function compiled() {
  return module ??= WebAssembly.compileStreaming(fetch(new URL('./blake3.wasm', import.meta.url)));
}

/** @returns {Promise<Blake3>} */
async function hasher() {
  const { exports } = await WebAssembly.instantiate(await compiled());
  const blake3 =
    /** @type {Blake3} */ (/** @type {unknown} */ (exports));
  blake3.init();
  return blake3;
}

/** @param {number} id @param {File} file */
async function hash(id, file) {
  let blake3;
  try {
    blake3 = await hasher();
  } catch {
    module = undefined;
    return postMessage({ id, failed: 'unavailable' });
  }
  const input = new Uint8Array(blake3.memory.buffer, blake3.input(), blake3.capacity());
  try {
    for (let at = 0; at < file.size; at += PIECE) {
      const piece = new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer());
      if (!running.has(id)) return;
      if (piece.length !== Math.min(PIECE, file.size - at)) throw new Error('shorter');
      for (let from = 0; from < piece.length; from += input.length) {
        const part = piece.subarray(from, from + input.length);
        input.set(part);
        blake3.update(part.length);
      }
      postMessage({ id, bytes: at + piece.length });
    }
    blake3.finish();
    const digest = Array.from(input.subarray(0, 32), b => b.toString(16).padStart(2, '0'));
    postMessage({ id, digest: digest.join('') });
  } catch {
    postMessage({ id, failed: 'changed' });
  }
}

addEventListener('message', async event => {
  const { id, file } = event.data;
  if (!file) return running.delete(id);
  running.add(id);
  await hash(id, file);
  running.delete(id);
});
