// What keeps a study from being trained, in the words of `trellis study`.
import { bytes, count } from './number'
import type { Study, StudySpec, WaitingFor } from './types'

const short = (message: string | undefined): string => (message ?? '').slice(0, 500)

/** needs says what each run of a study needs. */
function needs(spec: StudySpec): string {
  const { cpus, memory, gpus, time } = spec.resources ?? {}
  const parts = [
    cpus && cpus !== 1 ? `${cpus} cores` : '1 core', Number(memory ?? 0) > 0 ? bytes(Number(memory)) + ' of memory' : '', gpus ? count(gpus, 'GPU') : '',
  ]
  return parts.filter(Boolean).join(', ') + (time ? `; at most ${time}` : '')
}

/** largest says what the largest worker has, where that is known. */
function largest(why: WaitingFor): string {
  const [needed, most] = [Number(why.memory ?? 0), Number(why.largest_memory ?? 0)]
  if (most === 0) return ''
  return `; the largest worker that may train it has ${bytes(most) === bytes(needed) ? 'a little less' : bytes(most)}`
}

/** missing says what is missing to train a study that has this spec, and what to do about it. */
export function missing(spec: StudySpec, why: WaitingFor, study = ''): string {
  const data = spec.data ?? ''
  switch (why.reason) {
    case 'WAITING_REASON_DATA_CHANGED':
      return `its data set: ${data} has changed since the study was created. Restore its files, or cancel the study and submit it under another name`
    case 'WAITING_REASON_WEIGHTS_MISSING':
      return `its pretrained weights: ${short(why.message)}. Start the coordinator with the artifacts (--artifacts) that have them`
    case 'WAITING_REASON_FILES_MISSING':
      return `its program's files: ${short(why.message)}. Start the coordinator with the artifacts (--artifacts) that have them`
    case 'WAITING_REASON_NO_PROGRAMS':
      return 'a worker that runs programs: start one with trellis worker --programs'
    case 'WAITING_REASON_TOO_LARGE':
      if (!spec.program) return `a worker with ${bytes(Number(why.memory ?? 0))} of memory, for a run of the largest network and its data${largest(why)}. See Workers for what there is`
      return `a worker that has what a run needs: ${needs(spec)}. See Workers for what there is`
    case 'WAITING_REASON_LABELS_MISSING': {
      const labels = Object.entries(spec.workers ?? {}).sort().map(([name, value]) => `${name}=${value}`)
      if (labels.length === 0) return 'a worker: those that are connected are for other studies alone (--study). Start one without that: trellis worker'
      return `a worker with the labels ${labels.join(' ')}: start one with trellis worker ${labels.map(label => `--label ${label}`).join(' ')}`
    }
    case 'WAITING_REASON_ANOTHER_MACHINE':
      return 'a worker on another machine: workers reported different losses for the same epoch, and a third training must decide. ' +
        `Start a worker on another machine, or drop the epochs and train them again: trellis retry ${study}`
    default:
      return `its data set: the coordinator can't use ${data}: ${short(why.message)}. Restore its files, or start the coordinator with ` +
        'the --data-sets folder that has them'
  }
}

/** waitsFor follows "Waits for". It is empty where a study is being trained, or has ended. */
export function waitsFor(study: Study): string {
  const progress = study.progress ?? {}
  const slots = study.forecast?.slots ?? 0
  if (study.state !== 'STUDY_STATE_RUNNING' || Number(progress.runs_running ?? 0) > 0) return ''
  if (study.waiting_for) return missing(study.spec, study.waiting_for, study.name)
  if (Number(progress.audits_due ?? 0) > 0 && Number(progress.epochs_left ?? 0) === 0 && slots > 0) return ''
  if (slots === 0) return 'a worker: start one with trellis worker'
  return study.forecast?.basis?.after_others ? 'older studies, which come first' : 'a free slot'
}
