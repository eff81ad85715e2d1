// tus-js-client: uploads `file` in every way that it knows; its arguments are the URL of a directory and a file.
import assert from 'node:assert/strict'
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import tus from 'tus-js-client'

const [endpoint, file, ...wanted] = process.argv.slice(1)
const content = readFileSync(file)
const chunkSize = Math.ceil(content.length / 5)
const scratch = mkdtempSync(join(tmpdir(), 'tus-'))
const storage = (name) => {
  const path = join(scratch, name)
  writeFileSync(path, '{}')
  return new tus.FileUrlStorage(path)
}

/** Uploads `input`, and resolves with the upload and the offsets at which its requests began and ended. */
function upload(input, options, configure = () => {}) {
  return new Promise((resolve, reject) => {
    const from = []
    const acknowledged = []
    const upload = new tus.Upload(input, {
      endpoint,
      retryDelays: null,
      onBeforeRequest: (request) => {
        const offset = request.getHeader('Upload-Offset')
        if (offset != null) from.push(Number(offset))
      },
      onChunkComplete: (_, offset) => acknowledged.push(offset),
      onError: reject,
      onSuccess: ({ lastResponse }) => resolve({ upload, from, acknowledged, lastResponse }),
      ...options,
    })
    configure(upload, resolve)
    upload.start()
  })
}

/** Begins an upload, aborts it, and continues it in a new one, as a program that was started again does. */
async function interrupted(name, options, when) {
  // A stream is read as the server reads, so that a request takes more than one step.
  const input = () => (when === 'request' ? createReadStream(file) : content)
  const more = {
    metadata: { filename: name },
    urlStorage: storage(name),
    fingerprint: async () => name,
    ...options,
  }
  const begun = await new Promise((resolve, reject) => {
    const upload = new tus.Upload(input(), {
      endpoint,
      retryDelays: null,
      ...more,
      onError: reject,
      onSuccess: () => reject(new Error('the upload was not aborted')),
      onProgress: (sent) => {
        if (when === 'request' && sent > 0) upload.abort().then(() => resolve(upload), reject)
      },
      onChunkComplete: (_, offset) => {
        if (when === 'chunk' && offset > content.length / 3)
          upload.abort().then(() => resolve(upload), reject)
      },
    })
    upload.start()
  })
  const again = new tus.Upload(input(), more)
  const [previous] = await again.findPreviousUploads()
  assert.equal(previous.uploadUrl, begun.url)
  const { from, upload: done } = await upload(input(), more, (next) =>
    next.resumeFromPreviousUpload(previous),
  )
  assert.equal(done.url, begun.url)
  return from[0]
}

/** The content as an arbitrary stream, whose length is not known before its end. */
function* pieces() {
  for (let at = 0; at < content.length; at += 100_000) yield content.subarray(at, at + 100_000)
}

const scenarios = {
  async whole() {
    const { from } = await upload(content, {
      metadata: { filename: 'whole', filetype: 'image/png', empty: '' },
    })
    assert.deepEqual(from, [0])
  },
  async during_creation() {
    const { from } = await upload(content, {
      metadata: { filename: 'during_creation' },
      uploadDataDuringCreation: true,
    })
    assert.deepEqual(from, [])
  },
  async between_chunks() {
    assert.equal(await interrupted('between_chunks', { chunkSize }, 'chunk'), 2 * chunkSize)
  },
  async in_a_request() {
    return interrupted('in_a_request', {}, 'request')
  },
  async deferred_length() {
    const options = {
      metadata: { filename: 'deferred_length' },
      uploadLengthDeferred: true,
      chunkSize,
    }
    const { acknowledged } = await upload(Readable.from(pieces()), options)
    assert.equal(acknowledged.at(-1), content.length)
  },
  async empty() {
    await upload(Buffer.alloc(0), { metadata: { filename: 'empty' } })
  },
  async at_the_same_time() {
    const names = [0, 1, 2, 3, 4, 5].map((number) => `at_the_same_time-${number}`)
    await Promise.all(
      names.map((filename) => upload(content, { metadata: { filename }, chunkSize })),
    )
  },
  // tus-js-client joins the parts by the extension "concatenation".
  async parallel_parts() {
    const options = { metadata: { filename: 'parallel_parts' }, parallelUploads: 2 }
    const error = await upload(content, options).then(
      () => null,
      (error) => error,
    )
    return error?.message
  },
  async terminated() {
    const options = { metadata: { filename: 'terminated' }, chunkSize }
    const url = await new Promise((resolve, reject) => {
      const upload = new tus.Upload(content, {
        endpoint,
        retryDelays: null,
        ...options,
        onError: reject,
        onChunkComplete: () => upload.abort(true).then(() => resolve(upload.url), reject),
      })
      upload.start()
    })
    const gone = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
    assert.ok([404, 410].includes(gone.status), gone.status)
  },
  // The draft with interop version 6, and that with version 5, which is not supported.
  async ietf_6() {
    const headers = { 'Content-Disposition': 'attachment; filename="ietf_6"' }
    return interrupted('ietf_6', { protocol: 'ietf-draft-05', headers, chunkSize }, 'chunk')
  },
  async ietf_5() {
    const options = { metadata: { filename: 'ietf_5' }, protocol: 'ietf-draft-03', chunkSize }
    const error = await upload(content, options).then(
      () => null,
      (error) => error,
    )
    return error?.message
  },
}

const results = {}
try {
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (wanted.length && !wanted.includes(name)) continue
    try {
      results[name] = (await scenario()) ?? true
    } catch (error) {
      console.error(`${name}: ${error.stack}`)
      process.exitCode = 1
    }
  }
} finally {
  rmSync(scratch, { recursive: true })
}
console.log(JSON.stringify(results))
