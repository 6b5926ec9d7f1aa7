// What an address asks for: begun before the page itself has been loaded, whose code is larger. See vite.config.ts.
import { addressOf, early, questions, type Question } from './questions'

interface Begun { response: Promise<Response>; end: AbortController }

const begun = new Map<string, Begun>()

/** views have their code in one file: see vite.config.ts. */
const views = ['curves', 'parameters', 'coverage', 'timeline', 'trials']

const [view, name, tab = '', beyond] = location.pathname.split('/').filter(Boolean)

function asks(): Question[] {
  if (view === undefined) return [questions.studies()]
  if (view !== 'studies' || name === undefined || beyond !== undefined) return []
  try {
    const study = decodeURIComponent(name)
    const more = Object.hasOwn(early, tab) ? early[tab]?.(study, new URLSearchParams(location.search)) : undefined
    return [questions.study(study), ...(more ?? [])]
  } catch {
    return [] // It is no text.
  }
}

for (const question of asks()) {
  const end = new AbortController()
  const response = fetch(addressOf(...question), { headers: { accept: 'application/json' }, signal: end.signal })
  response.catch(() => {}) // Whoever takes it sees it.
  begun.set(addressOf(...question), { response, end })
}
// When the study is there, its view can be shown with it. Who wants to see it is told of errors.
if (begun.size > 0 && views.includes(tab)) import('../views/Curves.svelte').catch(() => {})

/** begunEarly is the answer to a call that has been begun early, for the first who asks. The signal ends it. */
export function begunEarly(url: string, signal: AbortSignal): Promise<Response> | undefined {
  const its = begun.get(url)
  if (!its) return undefined
  begun.delete(url)
  const end = () => its.end.abort(signal.reason)
  if (signal.aborted) end()
  else signal.addEventListener('abort', end, { once: true })
  return its.response
}

/** dropEarly ends what nobody has taken: it would be out of date. */
export function dropEarly(): void {
  for (const { end } of begun.values()) end.abort()
  begun.clear()
}
