// Data that is asked for again and again while somebody looks at it.

import { ask, kept, Problem } from './api'
import type { Question } from './questions'

/** passing says whether what is asked for after a failure may be answered. */
export const passing = (error: unknown) => !(error instanceof Problem) || error.status >= 500 || error.status === 429

// What answers were decoded to. An answer that has not changed is the same object.
const decoded = new WeakMap<object, unknown>()

/** once decodes an answer, the first time that it is called for it. */
export function once<A extends object, T>(answer: A, decode: (answer: A) => T): T {
  if (!decoded.has(answer)) decoded.set(answer, decode(answer))
  return decoded.get(answer) as T
}

/**
 * asked polls a question of the API, which is given as text: so it is the same as long as it asks the same. What was answered last is
 * shown at once. tolerated: there may be no answer yet, and when says whether there can be one.
 */
export function asked<A extends object, T = A>(
  question: string, interval: (value: T | undefined) => number, decode: (answer: A) => T = (answer) => answer as unknown as T, tolerated = false,
  when: () => boolean = () => true,
): Polled<T> {
  const [path, query] = JSON.parse(question) as Question
  const last = kept<A>(path, query)
  const load = async (signal: AbortSignal, again: boolean) => {
    if (!when()) return undefined as T
    try {
      return once(await ask<A>(path, query, signal, again), decode)
    } catch (error) {
      if (tolerated && error instanceof Problem && [400, 409, 412].includes(error.status)) return undefined as T
      throw error
    }
  }
  return new Polled<T>(load, interval, last && once(last, decode))
}

/** painted is when the next frame has been, or soon where nobody looks: then there may be none. */
export const painted = () => new Promise<void>((done) => {
  if (document.hidden) setTimeout(done)
  else requestAnimationFrame(() => setTimeout(done))
})

export class Polled<T> {
  value = $state.raw<T>()
  error = $state.raw<Error>()
  loading = $state(true)
  #timer: ReturnType<typeof setTimeout> | undefined
  #abort: AbortController | undefined
  #closed = false
  #load: (signal: AbortSignal, again: boolean) => Promise<T>
  #interval: (value: T | undefined) => number

  /**
   * interval says in milliseconds how long to wait before the next time; 0: there is none, but after a failure. first is what to
   * show until then.
   */
  constructor(load: (signal: AbortSignal, again: boolean) => Promise<T>, interval: (value: T | undefined) => number, first?: T) {
    this.#load = load
    if (first !== undefined) {
      this.value = first
      this.loading = false
    }
    this.#interval = interval
    document.addEventListener('visibilitychange', this.#visible)
    // What is shown at once is painted before it is asked for anew.
    if (first === undefined) void this.now()
    else void painted().then(() => this.now())
  }

  /** now asks at once, for the latest. */
  now(): Promise<void> { return this.#ask(false) }

  // again: time has passed, and nothing else. The answer may be one that somebody else has just got.
  async #ask(again: boolean): Promise<void> {
    if (this.#closed) return
    clearTimeout(this.#timer)
    this.#abort?.abort()
    const abort = (this.#abort = new AbortController())
    try {
      const value = await this.#load(abort.signal, again)
      if (abort.signal.aborted) return
      this.value = value
      this.error = undefined
    } catch (error) {
      if (abort.signal.aborted) return
      this.error = error as Error
    }
    this.loading = false
    if (this.#wait > 0 && !document.hidden) this.#timer = setTimeout(() => void this.#ask(true), this.#wait)
  }

  get #wait(): number {
    const wait = this.#interval(this.value)
    return this.error && (wait > 0 || passing(this.error)) ? Math.max(wait, 5000) : wait
  }

  #visible = () => {
    if (document.hidden) clearTimeout(this.#timer)
    else if (this.#wait > 0) void this.now()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#abort?.abort()
    document.removeEventListener('visibilitychange', this.#visible)
  }
}
