// What audits have refuted of what a study's spec declares of its program, in the words of `trellis study` and `trellis report`.
import type { Refutation, Retraining, Study } from './types'

/** refuted are a sentence or two for each declaration. */
export function refuted(study: Study): string[] {
  return (study.refuted ?? []).map((refutation) => {
    const [first, other] = contrast(refutation.trainings ?? [])
    if (!first || !other) return ''
    const name = metricOf(study, first, other)
    const place = `in epoch ${refutation.epoch ?? 0} of trial ${refutation.trial ?? 0}`
    const others = refutation.studies?.length ? ` Other studies shared its runs: ${refutation.studies.join(', ')}.` : ''
    if (refutation.declaration === 'DECLARATION_PREFIX') {
      return `The program's results depend on max_epochs: ${place}, ${reported(name, first)} with max_epochs ${first.max_epochs ?? 0} and ` +
        `${reported(name, other, first)} with max_epochs ${other.max_epochs ?? 0}. Trials with a smaller max_epochs do not have the results that it ` +
        `would give. To get them, submit the spec under another name with prefix: false.${others}`
    }
    const again = other.after ? ` after it resumed from a checkpoint of epoch ${other.after}` : ''
    const where = workerOn(first) === workerOn(other) ? ` and then ${reported(name, other, first)} on ${workerOn(other)}`
      : ` on ${workerOn(first)} and ${reported(name, other, first)} on ${workerOn(other)}`
    return `The program is not deterministic: ${place}, ${reported(name, first)}${where}${again}. The study keeps the first results, and ` +
      `audits no more. Set deterministic: false in specs of this program.${others}`
  }).filter(Boolean)
}

/** notReproducible says why training a study again may give other results, or nothing. */
export function notReproducible(study: Study): string {
  if (!study.spec.program) return ''
  if (!study.spec.program.deterministic) return 'the program is not declared deterministic'
  return study.refuted?.some((one) => one.declaration === 'DECLARATION_DETERMINISTIC') ? 'the program is not deterministic' : ''
}

/** contrast is the training that is recorded, and the last one that reported something else. */
function contrast(trainings: Retraining[]): (Retraining | undefined)[] {
  const first = trainings[0]
  return [first, first && (trainings.findLast((one) => differs(first, one)) ?? trainings.at(-1))]
}

function differs(a: Retraining, b: Retraining): boolean {
  return !!a.ended !== !!b.ended || namesOf(a, b).some((name) => a.values?.[name] !== b.values?.[name])
}

const namesOf = (...trainings: Retraining[]): string[] => [...new Set(trainings.flatMap((one) => Object.keys(one.values ?? {})))].sort()

/** metricOf is a metric in which trainings differ: that of the objective, if it is one. */
function metricOf(study: Study, first: Retraining, other: Retraining): string {
  const names = namesOf(first, other).filter((name) => first.values?.[name] !== other.values?.[name])
  const ranked = study.spec.objective?.metric ?? ''
  return names.length === 0 || names.includes(ranked) ? ranked : names[0]!
}

/** reported says what a training reported of a metric, after what another one did, if that is given. */
function reported(name: string, training: Retraining, after?: Retraining): string {
  const value = training.values?.[name]
  if (training.ended) return 'the program had ended'
  if (value === undefined) return `${name} was not reported`
  return after && !after.ended && after.values?.[name] !== undefined ? String(value) : `${name} was ${value}`
}

function workerOn({ worker = '', machine }: Retraining): string {
  return machine && machine !== worker ? `worker ${worker} on ${machine}` : `worker ${worker}`
}
