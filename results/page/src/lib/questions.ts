// What views ask the API for. See early.ts: it is there before the page, so this imports little.
import { axes, numbersOf } from './study'
import type { Study } from './types'

export type Query = Record<string, string | number | boolean | string[] | undefined>

/** Question is the path and the query of a call. */
export type Question = [path: string, query?: Query]

/** addressOf is that of a call. */
export function addressOf(path: string, query: Query = {}): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === '') continue
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one))
  }
  const text = search.toString()
  return '/api/v1' + path + (text ? '?' + text : '')
}

const of = (study: Study | string, what = '') => '/studies/' + encodeURIComponent(typeof study === 'string' ? study : study.name) + what

/** whereIn is the selection: a condition on trials that views have in common. */
export const whereIn = (query: URLSearchParams): string => query.get('where') ?? query.get('filter') ?? ''

/** curveLevels is how many levels curves have: more than the plot has pixels on most screens. */
export const curveLevels = 1000

/** axisValues is how many values of an axis of numbers are asked for: more than it has pixels. */
const axisValues = 400

/** mapCells is how many columns and rows a heat map has at most. */
const mapCells = 80

/** ended is when a study was over, and a second more, or nothing. */
const ended = (study: Study): string => (study.end_time ? new Date(Date.parse(study.end_time) + 1000).toISOString() : '')

export const questions = {
  studies: (token?: string): Question => ['/studies', { page_size: 1000, page_token: token }],
  study: (name: string): Question => [of(name)],
  best: (study: Study | string): Question => [of(study, '/best')],
  importance: (study: Study | string): Question => [of(study, '/importance'), { without_values: true }],
  report: (study: Study | string): Question => [of(study, '/report')],
  curves(study: Study | string, query: URLSearchParams): Question {
    const count = Number(query.get('count') ?? 1000)
    const best = Math.round(count / 10)
    return [of(study, '/curves'), {
      metric: query.get('metric') ?? '', filter: whereIn(query), best, sample: count - best, points: 300,
      levels: curveLevels, logarithmic: (query.get('log') ?? '').includes('y') || undefined,
    }]
  },
  points: (study: Study | string, query: URLSearchParams): Question => [of(study, '/points'), { filter: whereIn(query), points: 2000, axis_values: axisValues }],
  heatMap(study: Study, query: URLSearchParams): Question {
    const { x, y, fold } = heatMapAxes(study, query)
    return [of(study, '/heat-map'), { x, y, fold, filter: whereIn(query), cells: mapCells, axis_values: 2 * mapCells }]
  },
  coverage(study: Study | string, query: URLSearchParams): Question {
    const [x, y] = [query.get('x') ?? '', query.get('y') ?? '']
    const filter = whereIn(query)
    return [of(study, '/coverage'), x !== '' && y !== '' && x !== y ? { x, y, cells: 60, filter } : { cells: 2400, filter }]
  },
  timeLine: (study: Study, query: URLSearchParams): Question =>
    [of(study, '/time-line'), { from: query.get('from') ?? '', to: query.get('to') ?? ended(study), bars: 2000 }],
  trials: (study: Study | string, query: URLSearchParams, offset = 0): Question => [of(study, '/trials'), {
    page_size: pageSize, order_by: query.get('order') ?? 'objective', filter: whereIn(query), offset: offset || undefined,
  }],
}

/** pageSize is how many rows of trials are asked for at once: a bit more than a screen has. */
export const pageSize = 60

/** heatMapAxes are those that the heat map is over: at first two of which there is a contour too, if any are. */
export function heatMapAxes(study: Study, query: URLSearchParams): { x: string; y: string; fold: string } {
  const { varied } = axes(study.spec)
  const x = query.get('x') ?? varied.find((name) => name !== 'seed') ?? varied[0]!
  const others = varied.filter((name) => name !== x).sort((a, b) => Number(a === 'seed') - Number(b === 'seed'))
  const y = query.get('y') ?? (numbersOf(study.spec, x) === 2 ? others.find((name) => numbersOf(study.spec, name) > 2) : undefined) ?? others[0]!
  return { x, y, fold: query.get('fold') ?? 'FOLD_BEST' }
}

/** early is what the views of a study ask for whatever it is like, by their path. */
export const early: Record<string, (study: string, query: URLSearchParams) => Question[]> = {
  curves: (study, query) => [questions.curves(study, query)],
  parameters: (study, query) => [questions.points(study, query)],
  coverage: (study, query) => [questions.coverage(study, query)],
  trials: (study, query) => [questions.trials(study, query)],
}
