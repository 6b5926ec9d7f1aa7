// What a study or an extension would cost, in words: what `trellis submit --dry-run` says.
import { bytes, count, duration, forecast as expected, grouped, significant } from './number'
import { objectiveName } from './study'
import type { Estimate, ExtensionPlan, Forecast, ModelSize, Plan, StudySpec } from './types'
import { missing } from './waiting'

export interface Row { name: string; text: string }

/** estimated writes an estimate with its bounds, where these differ as people read them. */
function estimated(estimate: Estimate, write: (value: number) => string): string {
  const [about, low, high] = [write(estimate.expected ?? 0), write(estimate.low ?? 0), write(estimate.high ?? 0)]
  return low === high ? about : `${about} (${low} to ${high})`
}

const words = (name: string): string => name.replaceAll('_', ' ').toLowerCase()

function budgetOf(spec: StudySpec): string {
  const { trials, epochs, time } = spec.budget ?? {}
  return [trials && count(Number(trials), 'trial'), epochs && count(Number(epochs), 'epoch'), time && duration(parseFloat(time))]
    .filter(Boolean).join(', ')
}

/** basisOf says what a forecast is based on, and what it leaves out. */
function basisOf(spec: StudySpec, forecast: Forecast): string {
  const of = (name: 'epochs' | 'other_epochs' | 'runs_ended' | 'runs_stopped' | 'runs_diverged' | 'runs_begun' | 'other_runs') => Number(forecast.basis?.[name] ?? 0)
  const bound = !forecast.confidence
  const studies = count(forecast.basis?.other_studies ?? 0, 'other study', 'other studies') + (spec.program ? ' with the same program' : ' with the same model and data')
  const parts: string[] = []
  if (of('epochs') > 0 && of('other_epochs') > 0) parts.push(`${count(of('epochs'), 'measured epoch')} of this study and ${grouped(of('other_epochs'))} of ${studies}`)
  else if (of('epochs') > 0) parts.push(count(of('epochs'), 'measured epoch') + ' of this study')
  else if (of('other_epochs') > 0) parts.push(`${count(of('other_epochs'), 'measured epoch')} of ${studies}`)
  else parts.push(forecast.basis?.epoch_time ? "the spec's epoch_time" : 'nothing yet: the time of an epoch is unknown')
  const scaled = forecast.basis?.scaled_share ?? 0
  if (scaled > 0) parts.push(`${Math.ceil(100 * scaled)}% of the time is of shapes that were not measured, scaled by their operations`)
  const seen = spec.program ? 'reports' : 'losses'
  const ended = count(of('runs_ended'), 'ended run')
  const diverged = of('runs_diverged') > 0 ? grouped(of('runs_diverged')) : ''
  // A bound allows for no run that stops early.
  if (!bound && !spec.early_stopping && diverged) parts.push(`${diverged} of ${ended} diverged`)
  if (!bound && spec.early_stopping) {
    if (of('runs_ended') > 0) parts.push(`${grouped(of('runs_stopped'))} of ${ended} stopped early` + (diverged && `, ${diverged} diverged`))
    else if (of('runs_begun') > 0) parts.push(`no run has ended yet, so early stopping is estimated from the ${seen} so far`)
    else if (of('other_runs') > 0) parts.push(`early stopping is estimated from ${count(of('other_runs'), 'run')} of other studies`)
    else parts.push(`early stopping is a guess, because there are no ${seen} yet`)
  }
  if (spec.pruning) parts.push('pruning may end runs earlier')
  if (spec.settle) parts.push('not counting seeds that settle may add')
  if (forecast.basis?.after_others) parts.push('older studies in the queue come first')
  return parts.join('; ')
}

/** timeRows say how much is to be trained, and how long that takes. ofThese says more about how much. */
function timeRows(spec: StudySpec, forecast: Forecast | undefined, ofThese = ''): Row[] {
  const known = (forecast?.seconds_per_epoch ?? 0) > 0
  const rows: Row[] = []
  const add = (name: string, text: string) => rows.push({ name, text })
  if (!(forecast?.epochs?.high ?? 0)) return rows
  const atMost = forecast!.confidence ? '' : 'at most '
  const most = Math.round(forecast!.epochs!.high ?? 0)
  add('to train', `${atMost}${estimated(forecast!.epochs!, (value) => grouped(Math.round(value)))} ${most === 1 ? 'epoch' : 'epochs'}`)
  if (ofThese) add('of these', ofThese)
  if (forecast!.seconds_per_epoch) add('time per epoch', duration(forecast!.seconds_per_epoch))
  if (forecast!.seconds) {
    add('time', `${atMost}${estimated(forecast!.seconds, expected)} on ${count(forecast!.slots ?? 0, 'slot')}`)
    const end = new Date(Date.now() + 1000 * (forecast!.seconds.expected ?? 0))
    add('if started now', 'ends ' + new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).format(end))
  } else if (!forecast!.slots) add('time', `unknown: ${forecast!.basis?.unsuited ? 'no worker has what all runs need' : 'there are no workers yet'}`)
  else if (!known) add('time', 'unknown until the first epochs have been trained')
  // With as many as there are, it was said; the alternatives are of fewer simulations.
  const others = (forecast!.alternatives ?? []).filter((one) => one.slots !== forecast!.slots)
    .map((one) => `${expected(one.seconds ?? 0)} on ${one.slots}`)
  if (others.length > 0) add('by slots', atMost + others.join(', '))
  if (known || forecast!.seconds) add('estimated from', basisOf(spec, forecast!))
  return rows
}

/** networksOf says how large networks are, from the smallest to the largest, what an epoch costs, and what a run of the largest takes. */
function networksOf(smallest: ModelSize, largest: ModelSize): string {
  const range = (low: number, high: number, write: (value: number) => string) => (low === high ? '' : write(low) + ' to ') + write(high)
  const giga = (operations = 0) => significant(operations / 1e9, 4)
  return `${range(Number(smallest.weights ?? 0), Number(largest.weights ?? 0), grouped)} weights; `
    + `${range(smallest.operations ?? 0, largest.operations ?? 0, giga)} GFLOP an epoch; up to ${bytes(Number(largest.memory ?? 0))} of memory a run, without its data`
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
  if (plan.smallest && plan.largest) add('networks', networksOf(plan.smallest, plan.largest))
  if (spec.objective) add('ranked by', `${objectiveName(spec)}, ${spec.objective.direction === 'DIRECTION_MAXIMIZE' ? 'the highest' : 'the lowest'} first`)
  const pruning = Object.keys((spec.pruning as object | undefined) ?? {})[0]
  if (pruning) add('pruned by', words(pruning))
  const audit = Number(spec.audit ?? 0)
  if (audit > 0) add('audit', `about ${count(Math.max(1, Math.round(audit * runs)), 'run')} trained a second time`)
  const [shared, again] = [Number(plan.epochs_shared ?? 0), Number(plan.epochs_again ?? 0)]
  if (shared > 0) {
    add('already trained', `${count(shared, 'epoch')}, which took ${duration(plan.seconds_shared ?? 0)}; ${grouped(Number(plan.runs_shared ?? 0))} of ${count(runs, 'run')} complete`
      + (again > 0 ? `; ${count(again, 'epoch')} trained again: no checkpoint has ${again === 1 ? 'it' : 'them'}` : ''))
  }
  if (plan.waiting_for) add('waits for', missing(spec, plan.waiting_for))
  const times = timeRows(spec, plan.forecast)
  if (times.length === 0) add('to train', spec.settle ? 'nothing, except for seeds that settle may add' : 'nothing: the study would be complete at once')
  return [...rows, ...times]
}

/** extensionRows describe what an extension would add: what `trellis extend --dry-run` says. */
export function extensionRows(spec: StudySpec, plan: ExtensionPlan): Row[] {
  const [runs, longer, reopened] = [Number(plan.runs ?? 0), Number(plan.runs_lengthened ?? 0), Number(plan.runs_reopened ?? 0)]
  const [before, again] = [Number(plan.epochs_before ?? 0), Number(plan.epochs_again ?? 0)]
  const times = timeRows(spec, plan.forecast, [
    before > 0 ? `${grouped(before)} ${before === 1 ? 'is' : 'are'} left to train anyway` : '',
    again > 0 ? `${grouped(again)} ${again === 1 ? 'is' : 'are'} trained again: no checkpoint has ${again === 1 ? 'it' : 'them'}` : '',
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
    ...plan.smallest && plan.largest ? [{ name: 'networks', text: networksOf(plan.smallest, plan.largest) }] : [],
    ...plan.waiting_for ? [{ name: 'waits for', text: missing(spec, plan.waiting_for, spec.name) }] : [],
    ...times.length > 0 ? times : [{ name: 'to train', text: 'nothing' }],
  ]
}
