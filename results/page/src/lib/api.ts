// The API over HTTP: see /api. Who asks is known by the session, a cookie, where the coordinator asks for it.

import { limited, seen } from './connection.svelte'
import { begunEarly, dropEarly } from './early'
import { addressOf, type Query } from './questions'

/** Problem is an error of the API (RFC 9457). */
export class Problem extends Error {
  constructor(readonly status: number, readonly title: string, readonly detail: string, readonly body: unknown) {
    super(detail || title)
  }
}

/** FieldProblem says what is wrong with a field of a request, or with a place of a text. */
export interface FieldProblem { field?: string; detail: string; line?: number; column?: number }

/** fieldProblems are those that an error of the API names. */
export const fieldProblems = (error: unknown): FieldProblem[] =>
  error instanceof Problem ? ((error.body as { errors?: FieldProblem[] }).errors ?? []) : []

/** told is what to say of an error. */
export const told = (error: unknown): string =>
  error instanceof Problem ? error.message : 'The coordinator does not respond.'

/** signIn begins a session: the browser keeps the token in a cookie that scripts can't read. */
export const signIn = (token: string) => call<unknown>('POST', addressOf('/session'), { token })

/** signOut ends it. The token stays valid. */
export function signOut(): Promise<unknown> {
  forget()
  return call<unknown>('DELETE', addressOf('/session'), undefined)
}

async function call<T>(method: string, url: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (body !== undefined) headers['content-type'] = 'application/json'
  return limited(async (signal) => {
    const response = await fetch(url, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
    })
    return read<T>(response, await response.text())
  }, signal)
}

let unknown = () => {}

/** onUnknown is told that the coordinator does not know any more who asks. */
export const onUnknown = (what: () => void): void => { unknown = what }

/** read is the message of an answer, or throws the problem that it is. */
function read<T>(response: Response, text: string): T {
  let value: any
  try {
    value = text === '' ? {} : JSON.parse(text)
  } catch {
    throw new Problem(response.status, response.statusText, text.slice(0, 500), text)
  }
  if (response.status === 401 && !/\/(session|whoami)$/.test(response.url)) unknown()
  if (!response.ok) throw new Problem(response.status, value.title ?? response.statusText, value.detail ?? '', value)
  return value as T
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => want(call<T>('GET', addressOf(path, query), undefined, signal))

// What was answered last, by address: a view shows it at once while it asks again. The oldest answers go first.
interface Kept { tag: string; value: unknown; size: number }
const answers = new Map<string, Kept>()
const room = 16 << 20
let taken = 0
const underWay = new Map<string, Promise<unknown>>()

// How many answers a view waits for, and who waits until there are none.
let wanted = 0
let idlers: (() => void)[] = []

/** want is what a view waits for. */
export async function want<T>(answer: Promise<T>): Promise<T> {
  wanted++
  try {
    return await answer
  } finally {
    if (--wanted === 0) {
      for (const go of idlers) go()
      idlers = []
    }
  }
}

/** idle: no view waits for an answer. */
export const idle = (): boolean => wanted === 0

/** answered is when that is so. */
export async function answered(): Promise<void> {
  while (wanted > 0) await new Promise<void>((go) => idlers.push(go))
}

function keep(url: string, answer: Kept): void {
  taken += answer.size - (answers.get(url)?.size ?? 0)
  answers.delete(url)
  answers.set(url, answer)
  for (const [oldest, its] of answers) {
    if (taken <= room) break
    answers.delete(oldest)
    taken -= its.size
  }
}

/** kept is what was answered last to the same question. */
export const kept = <T>(path: string, query?: Query): T | undefined => answers.get(addressOf(path, query))?.value as T | undefined

/** forget drops what was answered: somebody else asks from now on. */
export function forget(): void {
  dropEarly()
  answers.clear()
  taken = 0
}

/**
 * ask is get, and keeps the answer. One that has not changed is the same object, and costs nothing to read. again: only time has
 * passed, and the answer may be one that somebody else has got within the last second.
 */
export const ask = <T>(path: string, query?: Query, signal?: AbortSignal, again = false): Promise<T> => want(asked<T>(path, query, signal, again))

async function asked<T>(path: string, query: Query | undefined, signal: AbortSignal | undefined, again: boolean): Promise<T> {
  const url = addressOf(path, query)
  const begun = underWay.get(url)
  if (begun) {
    const value = await (signal ? Promise.race([begun, aborted(signal)]) : begun)
    if (value !== undefined) return value as T
  }
  return fresh<T>(url, signal, again)
}

/** aborted fails when the signal is. */
const aborted = (signal: AbortSignal) => new Promise<never>((_, fail) => {
  if (signal.aborted) fail(signal.reason)
  else signal.addEventListener('abort', () => fail(signal.reason), { once: true })
})

const fresh = <T>(url: string, signal?: AbortSignal, again = false): Promise<T> =>
  limited((signal) => latest<T>(url, signal, again), signal)

async function latest<T>(url: string, signal: AbortSignal, again: boolean): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (again) headers['cache-control'] = 'max-age=1'
  const response = await (begunEarly(url, signal) ?? fetch(url, { headers, signal }))
  const before = answers.get(url)
  const tag = response.headers.get('etag') ?? ''
  if (before && response.ok && tag !== '' && tag === before.tag) {
    void response.body?.cancel()
    return before.value as T
  }
  const text = await response.text()
  const value = read<T>(response, text)
  keep(url, { tag, value, size: 2 * text.length })
  return value
}

/** prepare asks for what will probably be wanted, once. The signal ends that when something else is wanted. */
export function prepare(path: string, query?: Query, signal?: AbortSignal): Promise<unknown> {
  const url = addressOf(path, query)
  const begun = underWay.get(url)
  if (begun) return begun
  if (answers.has(url)) return Promise.resolve()
  const asked = fresh(url, signal).catch(() => undefined).finally(() => underWay.delete(url))
  underWay.set(url, asked)
  return asked
}
export const post = <T>(path: string, body: unknown = {}, signal?: AbortSignal) => call<T>('POST', addressOf(path), body, signal)
export const remove = <T>(path: string) => call<T>('DELETE', addressOf(path), undefined)

/**
 * follow reads server-sent events until the signal aborts it, and connects again where the last one ended. broken is told why
 * the connection is lost, and of nothing when there is one again. A page that nobody sees has no connection: browsers open few to
 * one host, and other pages need them.
 */
export async function follow<T>(
  path: string, query: Query, signal: AbortSignal, each: (message: T) => void, broken: (error?: Error) => void = () => {},
): Promise<void> {
  let last = ''
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 15_000)) {
    await seen(signal)
    const own = new AbortController()
    const hide = () => { if (document.hidden) own.abort() }
    document.addEventListener('visibilitychange', hide)
    try {
      const headers: Record<string, string> = { accept: 'text/event-stream' }
      if (last) headers['last-event-id'] = last
      const response = await limited(
        (signal) => fetch(addressOf(path, query), { headers, signal }), AbortSignal.any([signal, own.signal]))
      if (!response.ok || !response.body) {
        const value = await response.json().catch(() => ({}))
        if (response.status === 401) unknown()
        throw new Problem(response.status, value.title ?? response.statusText, value.detail ?? '', value)
      }
      broken()
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
      let rest = ''
      for (;;) {
        const { value, done } = await reader.read()
        if (done) break
        const parts = (rest + value).split('\n\n')
        rest = parts.pop()!
        for (const part of parts) {
          let data = ''
          let event = 'message'
          for (const line of part.split('\n')) {
            if (line.startsWith('data:')) data += line.slice(5).trimStart()
            else if (line.startsWith('id:')) last = line.slice(3).trim()
            else if (line.startsWith('event:')) event = line.slice(6).trim()
          }
          if (event === 'end') return
          if (event === 'problem') {
            const value = JSON.parse(data)
            throw new Problem(value.status, value.title, value.detail, value)
          }
          if (data) {
            each(JSON.parse(data) as T)
            wait = 500
          }
        }
      }
    } catch (error) {
      if (signal.aborted) return
      if (own.signal.aborted) {
        wait = 250
        continue
      }
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) throw error
      broken(error as Error)
    } finally {
      document.removeEventListener('visibilitychange', hide)
    }
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
}
