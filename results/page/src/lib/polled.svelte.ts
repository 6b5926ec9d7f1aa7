// Data that is asked for again and again while somebody looks at it.

export class Polled<T> {
  value = $state.raw<T>()
  error = $state.raw<Error>()
  loading = $state(true)
  #timer: ReturnType<typeof setTimeout> | undefined
  #abort: AbortController | undefined
  #load: (signal: AbortSignal) => Promise<T>
  #interval: (value: T | undefined) => number

  /** interval says in milliseconds how long to wait before the next time; 0: there is none. */
  constructor(load: (signal: AbortSignal) => Promise<T>, interval: (value: T | undefined) => number) {
    this.#load = load
    this.#interval = interval
    document.addEventListener('visibilitychange', this.#visible)
    void this.now()
  }

  /** now asks at once. */
  async now(): Promise<void> {
    clearTimeout(this.#timer)
    this.#abort?.abort()
    const abort = (this.#abort = new AbortController())
    try {
      const value = await this.#load(abort.signal)
      if (abort.signal.aborted) return
      this.value = value
      this.error = undefined
    } catch (error) {
      if (abort.signal.aborted) return
      this.error = error as Error
    }
    this.loading = false
    const wait = this.#interval(this.value)
    if (wait > 0 && !document.hidden) this.#timer = setTimeout(() => void this.now(), this.error ? Math.max(wait, 5000) : wait)
  }

  #visible = () => {
    if (document.hidden) clearTimeout(this.#timer)
    else if (this.#interval(this.value) > 0) void this.now()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#abort?.abort()
    document.removeEventListener('visibilitychange', this.#visible)
  }
}
