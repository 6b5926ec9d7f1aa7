// What a study or an extension would cost, in words: what `trellis submit --dry-run` says.
import { duration, grouped } from './number'
import { objectiveName } from './study'
import type { Estimate, ExtensionPlan, Forecast, Plan, StudySpec, WaitingFor } from './types'

export interface Row { name: string; text: string }

const count = (n: number, thing: string): string => `${grouped(n)} ${thing}${n === 1 ? '' : 's'}`

/** estimated writes an estimate with its bounds, where these differ as people read them. */
function estimated(estimate: Estimate, write: (value: number) => string): string {
  const [expected, low, high] = [write(estimate.expected ?? 0), write(estimate.low ?? 0), write(estimate.high ?? 0)]
  return low === high ? expected : `${expected} (${low} to ${high})`
}

const waits: Record<string, string> = {
  WAITING_REASON_DATA_MISSING: 'its data set', WAITING_REASON_DATA_CHANGED: 'its data set as it was', WAITING_REASON_WEIGHTS_MISSING: 'its weights',
  WAITING_REASON_FILES_MISSING: "its program's files", WAITING_REASON_NO_PROGRAMS: 'a worker that runs programs: trellis worker --programs',
  WAITING_REASON_TOO_LARGE: 'a worker that has what each run needs', WAITING_REASON_ANOTHER_MACHINE: 'a worker on another machine',
}
const waitsFor = (waiting: WaitingFor): string => waits[waiting.reason ?? ''] ?? waiting.message ?? 'workers'

const words = (name: string): string => name.replaceAll('_', ' ').toLowerCase()

function budgetOf(spec: StudySpec): string {
  const { trials, epochs, time } = spec.budget ?? {}
  return [trials && count(Number(trials), 'trial'), epochs && count(Number(epochs), 'epoch'), time && duration(parseFloat(time))]
    .filter(Boolean).join(', ')
}

/** timeRows say how much is to be trained, and how long that takes. ofThese says more about how much. */
function timeRows(forecast: Forecast | undefined, ofThese = ''): Row[] {
  const known = (forecast?.seconds_per_epoch ?? 0) > 0
  const rows: Row[] = []
  const add = (name: string, text: string) => rows.push({ name, text })
  if (!(forecast?.epochs?.high ?? 0)) return rows
  const atMost = forecast!.confidence ? '' : 'at most '
  add('to train', `${atMost}${estimated(forecast!.epochs!, (value) => grouped(Math.round(value)))} epochs`)
  if (ofThese) add('of these', ofThese)
  if (forecast!.seconds_per_epoch) add('time per epoch', duration(forecast!.seconds_per_epoch))
  if (forecast!.seconds) {
    add('time', `${atMost}${estimated(forecast!.seconds, duration)} on ${count(forecast!.slots ?? 0, 'slot')}`)
    const end = new Date(Date.now() + 1000 * (forecast!.seconds.expected ?? 0))
    add('if started now', 'ends ' + new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).format(end))
  } else if (!forecast!.slots) add('time', 'unknown: there are no workers yet')
  else if (!known) add('time', 'unknown until the first epochs have been trained')
  const others = (forecast!.alternatives ?? []).map((one) => `${duration(one.seconds ?? 0)} on ${one.slots}`)
  if (others.length > 0) add('by slots', others.join(', '))
  return rows
}

/** planRows describe what a new study would cost. */
export function planRows(spec: StudySpec, plan: Plan): Row[] {
  const rows: Row[] = []
  const add = (name: string, text: string) => text && rows.push({ name, text })
  const [trials, runs, epochs] = [Number(plan.trials ?? 0), Number(plan.runs ?? 0), Number(plan.epochs ?? 0)]
  const leftOut = Number(plan.left_out ?? 0)
  add('study', spec.name ?? '')
  add('trials', grouped(trials) + (leftOut > 0 ? `; where leaves out ${count(leftOut, 'point')}` : ''))
  add('runs', grouped(runs))
  add('budget', budgetOf(spec))
  add('order', words((spec.order ?? '').replace('ORDER_', '')))
  const alone = Number(plan.epochs_alone ?? 0)
  add('epochs', `at most ${grouped(epochs)}` + (alone > epochs ? `; ${grouped(alone)} without sharing runs between trials that differ only in max epochs` : ''))
  if (spec.objective) add('ranked by', `${objectiveName(spec)}, ${spec.objective.direction === 'DIRECTION_MAXIMIZE' ? 'the highest' : 'the lowest'} first`)
  const pruning = Object.keys((spec.pruning as object | undefined) ?? {})[0]
  if (pruning) add('pruned by', words(pruning))
  const audit = Number(spec.audit ?? 0)
  if (audit > 0) add('audit', `about ${count(Math.max(1, Math.round(audit * runs)), 'run')} trained a second time`)
  const [shared, again] = [Number(plan.epochs_shared ?? 0), Number(plan.epochs_again ?? 0)]
  if (shared > 0) {
    add('already trained', `${count(shared, 'epoch')}, which took ${duration(plan.seconds_shared ?? 0)}; ${grouped(Number(plan.runs_shared ?? 0))} of ${count(runs, 'run')} complete`
      + (again > 0 ? `; ${count(again, 'epoch')} trained again: no checkpoint has them` : ''))
  }
  if (plan.waiting_for) add('waits for', waitsFor(plan.waiting_for))
  const times = timeRows(plan.forecast)
  if (times.length === 0) add('to train', spec.settle ? 'nothing, except for seeds that settle may add' : 'nothing: the study would be complete at once')
  return [...rows, ...times]
}

/** extensionRows describe what an extension would add: what `trellis extend --dry-run` says. */
export function extensionRows(plan: ExtensionPlan): Row[] {
  const [runs, longer, reopened] = [Number(plan.runs ?? 0), Number(plan.runs_lengthened ?? 0), Number(plan.runs_reopened ?? 0)]
  const [before, again] = [Number(plan.epochs_before ?? 0), Number(plan.epochs_again ?? 0)]
  const times = timeRows(plan.forecast, [
    before > 0 ? `${grouped(before)} are left to train anyway` : '',
    again > 0 ? `${grouped(again)} are trained again: no checkpoint has them` : '',
  ].filter(Boolean).join('; '))
  return [
    { name: 'trials', text: `${grouped(Number(plan.trials ?? 0))} more` },
    {
      name: 'runs',
      text: [
        runs > 0 || longer + reopened === 0 ? `${grouped(runs)} new` : '',
        longer > 0 ? `${grouped(longer)} trained for more epochs` : '',
        reopened > 0 ? `${grouped(reopened)} that ran out of time` : '',
      ].filter(Boolean).join(', '),
    },
    { name: 'epochs', text: `at most ${grouped(Number(plan.epochs ?? 0))} more` },
    ...times.length > 0 ? times : [{ name: 'to train', text: 'nothing' }],
  ]
}
