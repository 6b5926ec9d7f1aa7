// Sentences with numbers that agree with their nouns and verbs: of one thing as of many.
import { count, duration, enumerate, grouped } from './number'

/** curvesSaid says how many curves are drawn, and how many of them are cut at an edge of the chart. */
export function curvesSaid(curves: number, cut: number, edge: 'top' | 'bottom'): string {
  const all = count(curves, 'curve') + (curves > 1 ? '; the best one is highlighted.' : '.')
  if (cut === 0) return all
  const which = curves === 1 ? 'It' : cut === 1 ? 'One of them' : `${grouped(cut)} of them`
  return `${all} ${which} ${cut === 1 ? 'reaches' : 'reach'} the ${edge} edge or ${cut === 1 ? 'goes' : 'go'} beyond it.`
}

/** noCurves says why there are none: of which metric is not said, as it is chosen above. */
export const noCurves = (metrics: boolean, selected: boolean): string =>
  `${selected ? 'None of the selected runs' : 'No run'} has ${metrics ? 'reported this metric' : 'ended an epoch'} yet.`

/** trialsSaid says how many trials a table has, and which of its rows are in sight. */
export function trialsSaid(trials: number, filtered: boolean, first: number, last: number): string {
  if (trials === 0) return filtered ? 'No trial matches the filter.' : 'There is no trial.'
  const all = count(trials, 'trial') + (filtered ? (trials === 1 ? ' matches' : ' match') : '')
  return `${all}; ${first === last ? `row ${grouped(first)}` : `rows ${grouped(first)} to ${grouped(last)}`} in sight`
}

/** someOf: 1 of 3 trials, 1 of 1 trial. */
export const someOf = (some: number, all: number, thing: string): string => `${grouped(some)} of ${count(all, thing)}`

/** epochsBetween: epoch 3, epochs 1 to 3. */
export const epochsBetween = (first: number, last: number): string => (first === last ? `epoch ${first}` : `epochs ${first} to ${last}`)

/**
 * underWay says which epoch a run is in, for how many seconds at least, and how many one takes. Short ones need no time: the next is there
 * before anybody asks.
 */
export function underWay(epoch: number, most: number, seconds: number, each: number): string {
  const long = (time: number) => time >= 5
  return `in epoch ${grouped(epoch)} of ${grouped(most)}${long(seconds) ? ` for at least ${duration(seconds)}` : ''}${long(each) ? `; one takes about ${duration(each)}` : ''}`
}

/** noStudies says that there are none with these names. */
export const noStudies = (names: string[]): string => `There ${names.length === 1 ? 'is no study' : 'are no studies'} ${enumerate(names)}.`
