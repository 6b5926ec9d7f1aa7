// What is said of studies in several views.

import { told, whole } from './number'
import type { Axis, Best, ChartAxis, Parameters, Study, StudySpec, Trial, Value } from './types'

/** word turns a name of an enum into a word: STUDY_STATE_RUNNING, running. */
export function word(name: string | undefined, prefix: string): string {
  return (name ?? '').replace(prefix + '_', '').toLowerCase().replaceAll('_', ' ')
}

/** numberOf is a number of the API, in which NaN and infinities are texts. */
export function numberOf(value: number | string | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}

export function textOf(value: Value | undefined): string {
  if (!value) return ''
  if (value.text !== undefined) return value.text
  if (value.boolean !== undefined) return String(value.boolean)
  if (value.integer !== undefined) return value.integer
  return whole(Number(value.number ?? 0))
}

/** textsOf are the values of an axis, with few digits of those that have many: in a chart there is little room. */
export function textsOf(values: Value[]): string[] {
  const numbers = values.map((value) => (value.text === undefined && value.boolean === undefined && value.integer === undefined ? Number(value.number ?? 0) : NaN))
  const texts = told(numbers.filter((one) => !Number.isNaN(one)))
  return values.map((value, i) => (Number.isNaN(numbers[i]) ? textOf(value) : texts.shift()!))
}

/** parameter returns a trial's value of a parameter, max_epochs and seed included. */
export function parameter(parameters: Parameters | undefined, name: string): Value | undefined {
  if (name === 'max_epochs') return { integer: String(parameters?.max_epochs ?? '') }
  if (name === 'seed') return { integer: String(parameters?.seed ?? '') }
  return parameters?.values?.[name]
}

function lengthOf(axis: Axis | undefined): number {
  if (!axis) return 0
  const range = axis.linear ?? axis.log10 ?? axis.log2
  if (range) return range.count
  if (axis.step) return Math.floor(((axis.step.to ?? 0) - (axis.step.from ?? 0)) / axis.step.by + 1e-9) + 1
  return (axis.numbers ?? axis.integers ?? axis.texts ?? axis.booleans ?? []).length
}

/** eachOf are the values of an axis as texts, which differ where they do. */
export function eachOf(axis: Axis | undefined): string[] {
  const list = axis?.numbers ?? axis?.integers ?? axis?.texts ?? axis?.booleans
  if (list) return list.map(String)
  const [count, range] = [lengthOf(axis), axis?.linear ?? axis?.log10 ?? axis?.log2 ?? axis?.step]
  const [from, to, each] = [range?.from ?? 0, range?.to ?? 0, (i: number) => (count > 1 ? i / (count - 1) : 0)]
  const at = axis?.step ? (i: number) => from + i * axis.step!.by
    : axis?.linear ? (i: number) => from + (to - from) * each(i) : (i: number) => from * (to / from) ** each(i)
  return Array.from({ length: count }, (_, i) => String(Number(at(i).toPrecision(12))))
}

/** axes are the parameters of a spec's grids, in the order of the table's columns, and which of them vary. */
export function axes(spec: StudySpec): { all: string[]; varied: string[] } {
  const all: string[] = []
  const varied: string[] = []
  const grids = spec.grid ?? []
  const names = new Set(grids.flatMap((grid) => Object.keys(grid.axes ?? {})))
  const order = ['latent_dim', 'learning_rate', 'weight_decay', 'batch_size']
  const rank = (name: string) => (name === 'max_epochs' ? 99 : order.includes(name) ? order.indexOf(name) : 50)
  for (const name of [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))) {
    all.push(name)
    const texts = new Set(grids.map((grid) => JSON.stringify(grid.axes?.[name] ?? null)))
    if (texts.size > 1 || grids.some((grid) => lengthOf(grid.axes?.[name]) > 1)) varied.push(name)
  }
  all.push('seed')
  if (lengthOf(spec.seeds) > 1) varied.push('seed')
  return { all, varied }
}

/** numbersOf is how many numbers a parameter has in a grid: none if it has texts or booleans. */
export function numbersOf(spec: StudySpec, name: string): number {
  const all = name === 'seed' ? [spec.seeds] : (spec.grid ?? []).map((grid) => grid.axes?.[name])
  return all.some((axis) => axis?.texts || axis?.booleans) ? 0 : new Set(all.flatMap(eachOf)).size
}

/** hasContour says whether two varied parameters are numbers, one with three values or more: between two and two others, a heat map's four cells say more. */
export function hasContour(spec: StudySpec): boolean {
  const counts = axes(spec).varied.map((name) => numbersOf(spec, name)).filter((count) => count > 0)
  return counts.length > 1 && Math.max(...counts) > 2
}

/** levelsOf is how many levels an axis of a chart has. */
export const levelsOf = (axis: ChartAxis): number => axis.levels ?? axis.values?.length ?? 1

/** levelOf is the level of one of the values that an axis of a chart came with. */
export const levelOf = (axis: ChartAxis, i: number): number => Math.floor((i * levelsOf(axis)) / (axis.values?.length ?? 1))

/** label is a parameter's or metric's name for people. */
export const label = (name: string): string => name.replaceAll('_', ' ')

/** objectiveName names what trials are ranked by. */
export const objectiveName = (spec: StudySpec): string => label(spec.objective?.metric ?? 'validation_loss')

export const maximized = (spec: StudySpec): boolean => spec.objective?.direction === 'DIRECTION_MAXIMIZE'

/** bestValue is the value of the best configuration: the mean over its seeds, if it has several. */
export function bestValue(best: Best): number | undefined {
  const configuration = best.verdict?.best
  return numberOf((configuration?.repetitions?.length ?? 0) > 1 ? configuration!.mean : best.trial?.objective)
}

/** described names a trial's varied parameters: latent dim 16, learning rate 0.001. */
export function described(parameters: Parameters | undefined, names: string[]): string {
  return names.map((name) => `${label(name)} ${textOf(parameter(parameters, name))}`).join(', ')
}

export const address = (study: Study | string, ...rest: string[]): string[] =>
  ['studies', typeof study === 'string' ? study : study.name, ...rest]

export const trialName = (trial: Trial): string => 'trial ' + (trial.index ?? '0')

const states = ['succeeded', 'running', 'pruned', 'diverged', 'failed', 'canceled'] as const
export type Part = (typeof states)[number] | 'pending'

/** parts are a study's trials by state, those that nobody has begun last. */
export function parts(study: Study): { state: Part; count: number }[] {
  const progress = study.progress ?? {}
  const list: { state: Part; count: number }[] = states.map((state) => ({
    state, count: Number(progress[`trials_${state}`] ?? 0),
  }))
  const rest = Number(progress.trials ?? 0) - list.reduce((sum, part) => sum + part.count, 0)
  return [...list, { state: 'pending' as const, count: Math.max(0, rest) }].filter((part) => part.count > 0)
}
