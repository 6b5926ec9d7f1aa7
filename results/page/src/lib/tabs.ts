// The views of a study: their code, and what they ask for. So a view's answers can be there before somebody goes to it.
import { prepare, want } from './api'
import { early, questions, type Question } from './questions'
import { axes } from './study'
import type { Study } from './types'

export interface Tab {
  name: string
  path: string
  /** selects: the view shows the trials that meet the selection. */
  selects?: boolean
  code?: () => unknown
  asks: (study: Study, query: URLSearchParams) => Question[]
  /** ready does with the answers what can be done before somebody goes to the view, which is so wide. */
  ready?: (study: Study, query: URLSearchParams, width: number) => Promise<void>
}

/** once loads code. Once that is there, it is no promise: the browser would show it a frame later. */
function once<Code>(load: () => Promise<Code>): () => Code | Promise<Code> {
  let there: Code | undefined
  return () => there ?? load().then((its) => (there = its))
}

/** code loads the views that are not there from the beginning. */
export const code = {
  curves: once(() => import('../views/Curves.svelte')),
  parameters: once(() => import('../views/ParametersView.svelte')),
  coverage: once(() => import('../views/Coverage.svelte')),
  timeline: once(() => import('../views/TimeLine.svelte')),
  trials: once(() => import('../views/Trials.svelte')),
}

/** codeOf is when a view's code is there, or can't be had. */
async function codeOf(tab: Tab | undefined): Promise<void> {
  try {
    await tab?.code?.()
  } catch {
    // Whoever goes there sees it.
  }
}

/** loadCode loads the code of all views. */
export function loadCode(): void { for (const tab of tabs) void codeOf(tab) }

export const tabs: Tab[] = [
  { name: 'Overview', path: '', asks: (study) => (Number(study.progress?.trials_succeeded ?? 0) > 1 ? [questions.best(study), questions.importance(study), questions.report(study)] : [questions.report(study)]) },
  {
    name: 'Curves', path: 'curves', selects: true, code: code.curves,
    asks: (study, query) => [questions.curves(study, query)],
    ready: async (study, query, width) => (await import('./chart/plot')).ready(study, query, width - 18), // Without its edges.
  },
  {
    name: 'Parameters', path: 'parameters', selects: true, code: code.parameters,
    asks: (study, query) => [questions.points(study, query), ...(axes(study.spec).varied.length > 1 ? [questions.heatMap(study, query)] : [])],
  },
  { name: 'Coverage', path: 'coverage', selects: true, code: code.coverage, asks: (study, query) => [questions.coverage(study, query)] },
  { name: 'Time line', path: 'timeline', code: code.timeline, asks: (study, query) => [questions.timeLine(study, query)] },
  { name: 'Trials', path: 'trials', selects: true, code: code.trials, asks: (study, query) => [questions.trials(study, query)] },
]

/** likely are the views in the order in which they are prepared: that of trials asks for least. */
export const likely: Tab[] = [...tabs].sort((a, b) => Number(b.path === 'trials') - Number(a.path === 'trials'))

/** prepareEarly asks for the code and answers of the view that a link leads to, with the study itself. The signal ends it. */
export function prepareEarly(study: string, path: string, query: URLSearchParams, signal: AbortSignal): void {
  const tab = tabs.find((one) => one.path === path)
  void codeOf(tab)
  const asked = Object.hasOwn(early, path) ? early[path]!(study, query) : [] // Anything may stand in an address.
  for (const [call, asks] of asked) void want(prepare(call, asks, signal))
}

/**
 * prepareTab loads a view's code and answers before it is shown, if they can be had. query is that of the address that leads to it. The
 * signal ends it.
 */
export async function prepareTab(tab: Tab, study: Study, query: URLSearchParams, signal?: AbortSignal): Promise<void> {
  await Promise.all([codeOf(tab), ...tab.asks(study, query).map(([path, asks]) => prepare(path, asks, signal))])
}
