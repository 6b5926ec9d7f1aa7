// What a map of the grid leaves blank, and why, where that is known.
import { count } from './number'
import { levelsOf } from './study'
import type { Coverage, Study } from './types'

/** blankOf says how many cells, or numbers in the order of the grid, have no trial. totals are the trials of each cell. */
export function blankOf(study: Study, answer: Coverage, totals: number[], two: boolean): string {
  if (!answer.basis?.exact) return '' // A sample may leave out trials.
  const where = study.spec.where ? 'where leaves them out' : ''
  if (two) {
    const n = totals.filter((total) => total === 0).length
    const several = (answer.x && levelsOf(answer.x) > (answer.columns ?? 1)) || (answer.y && levelsOf(answer.y) > (answer.rows ?? 1))
    const none = (study.spec.grid?.length ?? 0) > 1 || !where ? 'no grid of the study has them' : ''
    const what = several ? count(n, 'cell of several combinations has', 'cells of several combinations have') : count(n, 'combination has', 'combinations have')
    return n === 0 ? '' : `${what} no trial: ${[where, none].filter(Boolean).join(', or ')}`
  }
  const n = Math.round(Number(answer.indices ?? 0) - totals.reduce((sum, total) => sum + total, 0))
  if (n <= 0) return ''
  const extended = study.extensions?.length || study.earlier_specs?.length || study.spec_history
  const again = extended ? 'an extension numbers its whole grid, and trials from before keep their numbers' : ''
  const why = [where, again].filter(Boolean).join(', or ')
  return `${count(n, 'number has', 'numbers have')} no trial${why && ': ' + why}`
}
