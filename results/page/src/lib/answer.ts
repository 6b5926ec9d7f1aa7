// How far the answer of a study reaches, and what would settle it, in the words of `trellis best`.
import { count, duration, grouped } from './number'
import { href } from './route.svelte'
import { address } from './study'
import type { Advice, Axis, Study, StudySpec, Verdict } from './types'

/** ended says whether a study's results are final, unless it is extended or trials are tried again. */
export const ended = (study: Study): boolean => study.state === 'STUDY_STATE_COMPLETED' || study.state === 'STUDY_STATE_CANCELED'
const canceled = (study: Study): boolean => study.state === 'STUDY_STATE_CANCELED'

/** sampled says whether a budget leaves out a part of the grid. Then new values add nothing. */
const sampled = (spec: StudySpec): boolean => Number(spec.budget?.trials ?? 0) > 0 || Number(spec.budget?.epochs ?? 0) > 0

/** sampleOf says which part of its grid a study has: 500 of 1,000,000 trials of the grid, in random order. */
export function sampleOf(study: Study): string {
  const grid = Number(study.grid_trials ?? 0)
  if (grid === 0) return ''
  const orders: Record<string, string> = { ORDER_RANDOM: 'in random order', ORDER_AS_WRITTEN: 'in the order of the grid' }
  const trials = study.spec.settle ? 'some' : grouped(Number(study.progress?.trials ?? 0))
  return `${trials} of ${grouped(grid)} trials of the grid, ${orders[study.spec.order ?? ''] ?? 'the longest runs first'}`
}

/** outOfTime says why trials were not trained, if the time of the budget was over. */
export function outOfTime(study: Study): string {
  const n = Number(study.progress?.trials_canceled ?? 0)
  const time = study.spec.budget?.time
  if (!time || n === 0 || canceled(study)) return ''
  return `the time budget of ${duration(parseFloat(time))} was over before ${n === 1 ? 'it' : 'they'} began`
}

/** seedsOf are a spec's seeds: one by one, or as a range. */
function seedsOf(axis: Axis | undefined): number[] {
  const { from = 0, to = 0, by } = axis?.step ?? { ...(axis?.linear ?? { from: 1, to: 1 }), by: 1 }
  return axis?.integers?.map(Number) ?? Array.from({ length: Math.floor((to - from) / by + 1e-9) + 1 }, (_, i) => from + i * by)
}

/** leftOut says which trials take no part in the answer. */
function leftOut(study: Study): string {
  const p = study.progress ?? {}
  const n = Number(p.trials ?? 0) - Number(p.trials_succeeded ?? 0) - Number(p.trials_diverged ?? 0)
  const pruned = Number(p.trials_pruned ?? 0)
  const were = n === 1 ? 'was' : 'were'
  const again = canceled(study) ? '' : ` Train ${pruned === 1 ? 'it' : 'them'} to the end: trellis retry ${study.name} --pruned`
  if (n <= 0) return ''
  if (!ended(study)) return `${count(n, 'trial')} may still change this.`
  const time = outOfTime(study)
  if (time && Number(p.trials_canceled ?? 0) === n) return `${count(n, 'trial')} ${were} left out: ${time}.`
  if (pruned === n) {
    const which = n === 1 ? 'it, and it may be the best' : 'them, and the best may be among them'
    return `${count(n, 'trial')} ${were} left out: a heuristic pruned ${which}.${again}`
  }
  if (pruned > 0) {
    const which = pruned === 1 ? 'one of them, and it may be the best' : `${grouped(pruned)} of them, and the best may be among those`
    return `${count(n, 'trial')} without a result ${were} left out: a heuristic pruned ${which}.${again}`
  }
  return `${count(n, 'trial')} without a result ${were} left out.`
}

/** cautions say how far an answer reaches: every answer says so. */
export function cautions(study: Study): string[] {
  const sample = sampleOf(study)
  return [leftOut(study), sample && `The study is a sample: ${sample}. A better one may be among the others.`].filter(Boolean)
}

export interface Step { text: string; link?: { name: string; to: string } }

/**
 * adviceOf says what would settle a verdict. Its link does what works: where a budget leaves out a part, no seeds can be added, nor by
 * those who may not extend it.
 */
export function adviceOf(study: Study, advice: Advice | undefined, mayExtend: boolean): Step | undefined {
  const add = advice?.add_seeds ?? []
  const needed = `${advice?.beyond ? 'more than' : 'about'} ${advice?.seeds_needed ?? 0} seeds`
  const seeds = (text: string): Step => {
    if (mayExtend && !canceled(study) && !sampled(study.spec)) {
      return {
        text: `${text}trellis extend ${study.name} --seeds ${add.join(',')}`,
        link: { name: 'Add them', to: href(address(study, 'extend'), { seeds: add.join(', ') }) },
      }
    }
    const all = [...seedsOf(study.spec.seeds), ...add].join(', ')
    return { text: `${text}put seeds: [${all}] into the spec`, link: { name: 'Submit one with them', to: href(['submit'], { like: study.name, seeds: all }) } }
  }
  switch (advice?.kind) {
    case 'KIND_ONE_SEED': return seeds('With one seed, a difference may be chance. Repeat every configuration with more seeds: ')
    case 'KIND_SETTLING': return { text: 'The coordinator adds seeds to the tied configurations until one is clearly the best or they have as many as the spec allows.' }
    case 'KIND_NOT_ENDED': return { text: 'The study has not ended: this may change.' }
    case 'KIND_UNKNOWN':
      return { text: 'It is unknown how many seeds would settle it: a tied configuration lacks seeds of the best, or is no worse with the seeds of both.' }
    case 'KIND_TOO_MANY_SEEDS':
      return { text: `It would take ${needed} to separate them: they differ little compared with their variation between seeds.` }
    case 'KIND_MORE_SEEDS': {
      const text = `It would take ${needed} to separate them, if the differences stay as they are. `
      return study.spec.settle
        ? { text: text + `Submit the spec under another name with settle: {max_seeds: ${advice.seeds_needed}}: only what is new is trained.` }
        : seeds(text + 'Add seeds: ')
    }
  }
  return undefined
}

/** verdictOf says how sure it is that a configuration with several seeds is the best. */
export function verdictOf(verdict: Verdict): string {
  const [others, configurations] = [Number(verdict.contenders_total ?? 0), Number(verdict.configurations ?? 0)]
  const sure = `at ${Math.round(100 * (verdict.confidence ?? 0.95))}% confidence`
  if (configurations < 2) return 'There is no other configuration to compare with.'
  if (others === 0) {
    return verdict.settled ? `It is the best of the ${grouped(configurations)} configurations compared, ${sure}.`
      : `It is not clear yet which of the ${grouped(configurations)} configurations is the best ${sure}.`
  }
  return `${count(others, 'other configuration is', 'other configurations are')} statistically tied with it ${sure}${
    verdict.settled ? ', with exactly the same results' : ''}.`
}

/** epochsOf says how many epochs are behind a study, and how many may come. */
export function epochsOf(study: Study): string {
  const p = study.progress ?? {}
  const [shared, left] = [Number(p.epochs_shared ?? 0), Number(p.epochs_left ?? 0)]
  return count(Number(p.epochs ?? 0) - shared, 'epoch') + ' trained' + (shared > 0 ? `, ${grouped(shared)} from other studies` : '') +
    (left > 0 && !ended(study) ? `, at most ${grouped(left)} left` : '')
}
