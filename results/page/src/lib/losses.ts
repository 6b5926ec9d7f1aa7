// What the losses of a study's trials are: a model may be trained on something else than what its trials are ranked by.
import { conditionsOf } from './selection'
import { axes, eachOf, numberOf, textOf } from './study'
import type { Parameters, Study, StudySpec, Trial } from './types'

const names: Record<string, string> = { mse: 'mean squared error', bce: 'binary cross-entropy' }

/** lossesOf says what a trial's training and validation losses are, if its model has a choice and the trial says which. */
export function lossesOf(spec: StudySpec, parameters: Parameters | undefined): { training: string; validation: string } | undefined {
  if (!spec.model) return undefined // A program's parameters mean what it says.
  const { loss, divergence_weight: weight } = parameters?.values ?? {}
  if (loss?.text !== undefined) return { training: names[loss.text] ?? loss.text, validation: names.mse! }
  if (weight) return { training: `divergence weight ${textOf(weight)}`, validation: 'divergence weight 1' }
  return undefined
}

const defaults: Record<string, string> = { loss: 'mse', divergence_weight: '1' }

/**
 * trainedOn is the parameter that says what a model's training losses are, if its spec names one, and its values: those that its
 * condition and another don't surely leave out.
 */
export function trainedOn(spec: StudySpec, where = ''): { axis: string; values: string[] } | undefined {
  const grids = spec.grid ?? []
  const axis = Object.keys(defaults).find((name) => spec.fixed?.[name] || grids.some((grid) => grid.axes?.[name]))
  if (!spec.model || axis === undefined) return undefined
  const other = spec.fixed?.[axis] ? textOf(spec.fixed[axis]) : defaults[axis]!
  const all = new Set(grids.flatMap((grid) => (grid.axes?.[axis] ? eachOf(grid.axes[axis]) : [other])))
  return { axis, values: conditionsOf([spec.where ?? '', where], axis).reduce((values, meets) => values.filter(meets), [...all]) }
}

/** trainedOnly says what the training losses of a study are, if they are not what they are by default. */
export function trainedOnly(spec: StudySpec): string {
  const { axis = '', values = [] } = trainedOn(spec) ?? {}
  if (values.length === 0 || (values.length === 1 && values[0] === defaults[axis])) return ''
  return axis === 'loss' ? values.map((one) => names[one] ?? one).join(' or ') : 'divergence weight ' + values.join(', ')
}

/** Line is a curve. */
export interface Line { name: string; values: (number | null)[]; colour: string; width?: number }
export interface Chart { name: string; x: number[]; lines: Line[] }

export const finite = (list: (number | string)[] | undefined): (number | null)[] =>
  (list ?? []).map((one) => { const value = numberOf(one); return value !== undefined && Number.isFinite(value) ? value : null })

/** lossCharts are the curves of a trial's losses: on one axis if they are the same quantity, and else on one each. */
export function lossCharts(spec: StudySpec, trial: Trial): Chart[] {
  const validation = finite(trial.validation_loss)
  if (validation.length === 0) return []
  const x = validation.map((_, i) => i + 1)
  const what = lossesOf(spec, trial.parameters)
  // Most studies have one loss, which is no news.
  const choice = axes(spec).varied.some((axis) => axis === 'loss' || axis === 'divergence_weight') || what?.training !== what?.validation
  const named = (name: string, is: string | undefined) => (is && choice ? `${name}, ${is}` : name)
  const trained: Line = { name: named('training loss', what?.training), values: finite(trial.train_loss), colour: 'muted', width: 1 }
  const validated: Line = { name: named('validation loss', what?.validation), values: validation, colour: 'best', width: 2 }
  if (what?.training === what?.validation) return [{ name: 'loss', x, lines: [trained, validated] }]
  return [validated, { ...trained, width: 2 }].map((line) => ({ name: line.name, x, lines: [line] }))
}

/** whyApart says why a trial's losses have a chart each; nothing if they have one. */
export function whyApart(spec: StudySpec, parameters: Parameters | undefined): string {
  const what = lossesOf(spec, parameters)
  if (!what || what.training === what.validation) return ''
  return `The training loss (${what.training}) and the validation loss (${what.validation}) are different quantities, which can't be compared: each has its own chart.`
}

/** lossesAmong says what the curves of a metric are in a study whose model has a choice. values are those to choose from, if they differ. */
export function lossesAmong(study: Study, metric: string, where: string): { text: string; axis: string; values: string[] } | undefined {
  const { axis, values = [] } = trainedOn(study.spec, where) ?? {}
  if (!axis || values.length === 0 || !/^(train|validation)_loss$/.test(metric)) return undefined
  const differ = values.length > 1
  if (!differ && values[0] === defaults[axis]) return undefined
  const say = (text: string, values: string[] = []) => ({ text, axis, values })
  if (axis === 'loss') {
    if (metric === 'validation_loss') return say('All validation losses are the mean squared error, whatever a trial is trained on.')
    if (!differ) return say(`These training losses are the ${names[values[0]!] ?? values[0]}. Validation losses are the mean squared error.`)
    const kinds = values.map((one) => `the ${names[one] ?? one} where loss is ${one}`).join(', ')
    return say(`These training losses are different quantities, which can't be compared: ${kinds}.`, values)
  }
  if (metric === 'validation_loss') return say('All validation losses have divergence weight 1, whatever a trial is trained with.')
  if (!differ) return say(`These training losses have divergence weight ${values[0]}. Validation losses have divergence weight 1.`)
  return say('Each of these training losses has the divergence weight of its trial: those of different weights can\'t be compared.')
}
