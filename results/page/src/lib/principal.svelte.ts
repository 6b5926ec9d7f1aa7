// Who looks at the page, and what they may do.

import { forget, get, onUnknown, Problem } from './api'
import type { Principal } from './types'

interface WhoAmI { principal?: Principal }

let who = $state.raw<WhoAmI>()
let asked = $state(false)
let changes = $state(0)

/** principal is who the coordinator takes this browser for. */
export const principal = {
  /** needed: the coordinator wants to know who asks, and doesn't. */
  get needed() { return asked },
  get name() { return who?.principal?.name },
  /** The role, as in tokens: viewer, submitter, admin. Undefined where nobody is asked. */
  get role() { return who?.principal?.role?.replace('ROLE_', '').toLowerCase() },
  /** mayChange says whether actions are offered. What is allowed, the coordinator decides. */
  get mayChange() { return who !== undefined && this.role !== 'viewer' },
  /** mayChangeOf says whether actions are offered on what somebody has created: a submitter may change only their own. */
  mayChangeOf(creator: Principal | undefined) {
    return this.mayChange && (this.role !== 'submitter' || (creator?.role === who?.principal?.role && creator?.name === this.name))
  },
  /** changes counts how often somebody else was there at once: what was shown is to be asked for again. */
  get changes() { return changes },
}

function become(now: WhoAmI | undefined): void {
  asked = now === undefined
  if (JSON.stringify(now) === JSON.stringify(who)) return
  if (who !== undefined) forget()
  if (who !== undefined && now !== undefined) changes++
  who = now
}

let last = 0

/** identify asks the coordinator who this is, until it says so. */
export async function identify(): Promise<void> {
  const own = ++last
  for (let wait = 1000; own === last; wait = Math.min(2 * wait, 15_000)) {
    try {
      const now = await get<WhoAmI>('/whoami')
      if (own === last) become(now)
      return
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        if (own === last) become(undefined)
        return
      }
    }
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
}

// All tabs have one session: when it begins or ends in one, or is revoked, the others must not go on as before.
const tabs = new BroadcastChannel('session')
tabs.onmessage = () => void identify()
onUnknown(() => { if (!asked) void identify() })
document.addEventListener('visibilitychange', () => { if (!document.hidden) void identify() })

/** renewed is called when the session of this browser has begun or ended. */
export function renewed(): Promise<void> {
  tabs.postMessage('renewed')
  return identify()
}
