// What is shown of a study follows its changes.
import { untrack } from 'svelte'
import type { Polled } from './polled.svelte'
import type { Study } from './types'

/**
 * again asks anew when a study has changed that is not being trained: it has ended, or somebody extended, resumed or retried it.
 * While it is trained, views ask at their own intervals.
 */
export function again(study: () => Study, all: () => Polled<any>[]): void {
  const now = () => ({ index: study().modify_index, state: study().state })
  let before = untrack(now)
  $effect(() => {
    const { index, state } = now()
    const changed = state !== before.state || (index !== before.index && state !== 'STUDY_STATE_RUNNING')
    before = { index, state }
    if (changed) untrack(() => { for (const one of all()) void one.now() })
  })
}
