// Who looks at the page, and what they may do.

import { get, Problem } from './api'

interface WhoAmI { principal?: { name?: string; role?: string } }

let who = $state.raw<WhoAmI>()
let asked = $state(false)

/** principal is who the coordinator takes this browser for. */
export const principal = {
  /** needed: the coordinator wants to know who asks, and doesn't. */
  get needed() { return asked },
  get name() { return who?.principal?.name },
  /** The role, as in tokens: viewer, submitter, admin. Undefined where nobody is asked. */
  get role() { return who?.principal?.role?.replace('ROLE_', '').toLowerCase() },
  /** mayChange says whether actions are offered. What is allowed, the coordinator decides. */
  get mayChange() { return who !== undefined && this.role !== 'viewer' },
}

/** identify asks the coordinator who this is. */
export async function identify(): Promise<void> {
  try {
    who = await get<WhoAmI>('/whoami')
    asked = false
  } catch (error) {
    if (error instanceof Problem && error.status === 401) asked = true
  }
}
