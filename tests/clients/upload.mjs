// One upload by tus-js-client: `node upload.mjs JSON`. What happens is told on standard output, a
// JSON value a line: {request}, {url}, and at last {done} or {failed}. It knows nothing of the
// service but the endpoint it is given.
//
// {path, stream, stopAt, terminate, storage, options}: the file, whether to hide its size, the byte
// at which to give up (and whether to terminate the upload then), where to keep URLs, and whatever
// options of tus-js-client there are.
import { createReadStream } from 'node:fs'
import { PassThrough } from 'node:stream'
import { FileUrlStorage, Upload } from 'tus-js-client'

const { path, stream, stopAt, terminate, storage, options } = JSON.parse(process.argv[2])
const tell = (value) => console.log(JSON.stringify(value))

function seen(request, response) {
  tell({
    request: request.getMethod(),
    override: request.getHeader('X-HTTP-Method-Override') ?? null,
    url: request.getURL(),
    from: request.getHeader('Upload-Offset') ?? null,
    status: response?.getStatus() ?? null,
    to: response?.getHeader('Upload-Offset') ?? null,
    file: response?.getHeader('Upload-File-Id') ?? null,
  })
}

function end(code, value) {
  tell(value)
  process.exitCode = code
}

const source = createReadStream(path)
const upload = new Upload(stream ? source.pipe(new PassThrough()) : source, {
  retryDelays: [0, 100, 300, 600, 1000, 2000, 4000],
  ...options,
  ...(storage ? { urlStorage: new FileUrlStorage(storage) } : {}),
  onAfterResponse: seen,
  onUploadUrlAvailable: () => tell({ url: upload.url }),
  onError: (error) => {
    if (error.originalRequest) seen(error.originalRequest, error.originalResponse)
    end(1, { failed: String(error) })
  },
  onSuccess: () => end(0, { done: upload.url }),
  onChunkComplete: (_, sent) => {
    if (stopAt === undefined || sent < stopAt) return
    upload.abort(terminate).then(
      () => end(0, { stopped: upload.url }),
      (error) => end(1, { failed: String(error) }),
    )
  },
})
if (storage) {
  const previous = await upload.findPreviousUploads()
  if (previous.length > 0) upload.resumeFromPreviousUpload(previous[0])
}
upload.start()
