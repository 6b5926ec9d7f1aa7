// What the page waits for. A coordinator that hangs must be noticed, and so must a connection that the browser doesn't open, because
// it opens only a few to one host.

/** patience is how long an answer may take before the page says so, limit is how long until it asks again, in milliseconds. */
const patience = 8000
const limit = 60_000

const pending = new Set<number>()
let late = $state(0)
let timer: ReturnType<typeof setInterval> | undefined

function look(): void {
  const oldest = Math.min(...pending)
  const waited = performance.now() - oldest
  late = waited >= patience ? Math.floor(waited / 1000) : 0
  if (pending.size === 0) {
    clearInterval(timer)
    timer = undefined
  }
}

export const connection = {
  /** For how many seconds an answer has been waited for, if that is long, or 0. */
  get late() { return late },
}

/** limited asks, and gives up after some time. Until it has what it asked for, it counts as waiting. */
export async function limited<T>(ask: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
  const own = new AbortController()
  const end = setTimeout(() => own.abort(new DOMException('The coordinator does not answer.', 'TimeoutError')), limit)
  let since = performance.now()
  while (pending.has(since)) since += 0.001
  pending.add(since)
  timer ??= setInterval(look, 1000)
  try {
    return await ask(signal ? AbortSignal.any([signal, own.signal]) : own.signal)
  } finally {
    clearTimeout(end)
    pending.delete(since)
    if (late > 0) look()
  }
}

/** seen waits until somebody looks at the page. */
export function seen(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) { resolve(); return }
    const done = () => {
      if (document.hidden && !signal.aborted) return
      document.removeEventListener('visibilitychange', done)
      resolve()
    }
    document.addEventListener('visibilitychange', done)
    signal.addEventListener('abort', done)
  })
}
