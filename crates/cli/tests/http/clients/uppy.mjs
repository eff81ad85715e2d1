// @uppy/tus with @uppy/core, which run without a page: pauses and resumes an upload, and sends several at the same time.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'

const [endpoint, file] = process.argv.slice(1)
const content = readFileSync(file)
const chunkSize = Math.ceil(content.length / 5)
// Outside of a browser tus-js-client takes a Buffer, and Uppy wants its size.
const data = () => Object.assign(Buffer.from(content), { size: content.length })
const add = (uppy, name) => uppy.addFile({ name, type: 'application/octet-stream', data: data() })
const start = (options) => new Uppy().use(Tus, { endpoint, retryDelays: [], chunkSize, ...options })

const paused = await new Promise((resolve, reject) => {
  const uppy = start({})
  const id = add(uppy, 'paused')
  let stopped = 0
  uppy.on('upload-progress', (_, progress) => {
    if (
      stopped === 0 &&
      progress.bytesUploaded > content.length / 3 &&
      progress.bytesUploaded < content.length
    ) {
      stopped = progress.bytesUploaded
      assert.equal(uppy.pauseResume(id), true)
      setTimeout(() => uppy.pauseResume(id), 50)
    }
  })
  uppy
    .upload()
    .then(
      (result) => (result.failed.length ? reject(result.failed[0].error) : resolve(stopped)),
      reject,
    )
})

const uppy = start({ limit: 3 })
for (let number = 0; number < 6; number++) add(uppy, `several-${number}`)
const result = await uppy.upload()
assert.equal(result.failed.length, 0, JSON.stringify(result.failed.map((each) => each.error)))
assert.equal(result.successful.length, 6)
console.log(JSON.stringify({ paused, urls: result.successful.map((each) => each.uploadURL) }))
