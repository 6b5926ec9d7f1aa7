// The views of a study: their code, and what they ask for. So a view's answers can be there before somebody goes to it.
import { prepare } from './api'
import type { Question } from './polled.svelte'
import { axes } from './study'
import type { Study } from './types'

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

/** heatMapAxes are those that the heat map is over. */
export function heatMapAxes(study: Study, query: URLSearchParams): { x: string; y: string; fold: string } {
  const { varied } = axes(study.spec)
  const x = query.get('x') ?? varied.find((name) => name !== 'seed') ?? varied[0]!
  const y = query.get('y') ?? varied.find((name) => name !== 'seed' && name !== x) ?? varied.find((name) => name !== x)!
  return { x, y, fold: query.get('fold') ?? 'FOLD_BEST' }
}

export interface Tab {
  name: string
  path: string
  /** selects: the view shows the trials that meet the selection. */
  selects?: boolean
  code?: () => Promise<unknown>
  asks: (study: Study, query: URLSearchParams) => Question[]
  /** early is what it asks for whatever the study is like. */
  early?: (study: string, query: URLSearchParams) => Question[]
}

/** code loads the views that are not there from the beginning. */
export const code = {
  curves: () => import('../views/Curves.svelte'),
  parameters: () => import('../views/ParametersView.svelte'),
  coverage: () => import('../views/Coverage.svelte'),
  timeline: () => import('../views/TimeLine.svelte'),
  trials: () => import('../views/Trials.svelte'),
}

export const tabs: Tab[] = [
  { name: 'Overview', path: '', asks: (study) => (Number(study.progress?.trials_succeeded ?? 0) > 1 ? [questions.best(study), questions.importance(study), questions.report(study)] : [questions.report(study)]) },
  { name: 'Curves', path: 'curves', selects: true, code: code.curves, asks: (study, query) => [questions.curves(study, query)], early: (study, query) => [questions.curves(study, query)] },
  {
    name: 'Parameters', path: 'parameters', selects: true, code: code.parameters,
    asks: (study, query) => [questions.points(study, query), ...(axes(study.spec).varied.length > 1 ? [questions.heatMap(study, query)] : [])],
    early: (study, query) => [questions.points(study, query)],
  },
  { name: 'Coverage', path: 'coverage', selects: true, code: code.coverage, asks: (study, query) => [questions.coverage(study, query)], early: (study, query) => [questions.coverage(study, query)] },
  { name: 'Time line', path: 'timeline', code: code.timeline, asks: (study, query) => [questions.timeLine(study, query)] },
  { name: 'Trials', path: 'trials', selects: true, code: code.trials, asks: (study, query) => [questions.trials(study, query)], early: (study, query) => [questions.trials(study, query)] },
]

/** prepareEarly asks for the code and answers of the view that a link leads to, with the study itself. The signal ends it. */
export function prepareEarly(study: string, path: string, query: URLSearchParams, signal: AbortSignal): void {
  const tab = tabs.find((one) => one.path === path)
  void tab?.code?.().catch(() => {})
  for (const [path, asks] of tab?.early?.(study, query) ?? []) void prepare(path, asks, signal)
}

/**
 * prepareTab loads a view's code and answers before it is shown, if they can be had. query is that of the address that leads to it. The
 * signal ends it.
 */
export async function prepareTab(tab: Tab, study: Study, query: URLSearchParams, signal?: AbortSignal): Promise<void> {
  await Promise.all([tab.code?.().catch(() => {}), ...tab.asks(study, query).map(([path, asks]) => prepare(path, asks, signal))])
}
