// What studies must have in common for their values to be compared.
import { trainedOnly } from './losses'
import { grouped } from './number'
import { maximized, objectiveName } from './study'
import type { Study, StudySpec } from './types'

export interface Property {
  name: string
  /** One for each study, as people read it. */
  texts: string[]
  /** keys differ where values can't be compared. */
  keys: string[]
}

/** objectiveOf: lowest validation loss, highest val acc (mean of the last 5), lowest train loss (last), binary cross-entropy. */
function objectiveOf(spec: StudySpec): string {
  const { of, epochs } = spec.objective ?? {}
  const counts = of === 'SUMMARY_LAST' ? ' (last)' : of === 'SUMMARY_MEAN' ? ` (mean of the last ${epochs})` : ''
  // Training losses are of what a model is trained on.
  const kind = spec.objective?.metric === 'train_loss' ? trainedOnly(spec) : ''
  return (maximized(spec) ? 'highest ' : 'lowest ') + objectiveName(spec) + counts + (kind && `, ${kind}`)
}

const none = 'none'

const shortened = (text: string): string => (text.length > 60 ? text.slice(0, 59) + '…' : text)

/** splitOf is how a study's images are divided. By default, the last sixth is for validation. */
function splitOf({ spec, data_set: set }: Study): { train: number; validation: number } | undefined {
  if (spec.split) return spec.split
  const images = set?.train_images ?? 0
  if (images === 0) return undefined
  const validation = Math.max(1, Math.floor(images / 6))
  return { train: images - validation, validation }
}

/** propertiesOf are what values depend on besides the axes. Those of data are left out where no study has any. */
export function propertiesOf(studies: Study[]): Property[] {
  const objectives = studies.map((study) => objectiveOf(study.spec))
  const names = studies.map((study) => study.spec.data ?? none)
  const digests = studies.map((study) => (study.spec.data ? study.data_set?.digest ?? '' : ''))
  // A data set may have been changed under its name, and may have several.
  const changed = names.map((name) => new Set(digests.filter((digest, j) => digest && names[j] === name)).size > 1)
  const sets = names.map((name, i) => (changed[i] && digests[i] ? `${name}, ${digests[i].slice(0, 8)}` : name))
  const known = names.every((name, i) => name === none || digests[i])
  const splits = studies.map(splitOf)
  const models = studies.map((study) => study.spec.model ?? shortened((study.spec.program?.command ?? []).join(' ')))
  const all: Property[] = [
    { name: 'objective', texts: objectives, keys: objectives },
    { name: 'data set', texts: sets, keys: known ? digests : sets },
    // Values are of the validation images, which are the last ones.
    { name: 'split', texts: splits.map((one) => (one ? `${grouped(one.train)} to train, ${grouped(one.validation)} to validate` : none)), keys: splits.map((one) => String(one?.validation)) },
    // What two programs report under one name is for who has written them to know.
    { name: 'model', texts: models, keys: studies.map((study) => study.spec.model ?? 'program') },
  ]
  return all.filter(({ texts }) => texts.some((text) => text !== none))
}

/** different are the names of those for which values can't be compared. */
export const different = (properties: Property[]): string[] => properties.filter(({ keys }) => new Set(keys).size > 1).map(({ name }) => name)
