// Where learning curves are in their plot, and the picture of all of them: the browser draws it before somebody looks, if it has time.
import { kept } from '../api'
import { once } from '../polled.svelte'
import { curveLevels, questions } from '../questions'
import type { Curves, Study } from '../types'
import { curvesOf, ways, type LevelledCurves } from './curves'
import { cover, Density, shade } from './density'
import { colours, scale, type Frame, type Scale } from './draw'
import { lastOf, next } from './picture'

export const height = 460
/** A value that no line leads to is a dot: so far it goes to each side. There is room for it in all places. */
export const dot = 3

export const decode = (answer: Curves): LevelledCurves => curvesOf(answer, curveLevels)

export interface Plot {
  frame: Frame
  x: Scale
  y: Scale
  /** Where levels begin and end. */
  bottom: number
  top: number
  /** yOf is the middle of a level. What is out of range is in the first or last of them. */
  yOf: (level: number) => number
  xOf: (point: number) => number
}

/** epochs is a scale without ticks between epochs. */
const epochs = (x: Scale): Scale => Object.assign(x, { ticks: x.ticks.filter(Number.isInteger) })

/** plotOf is the plot of curves from a low to a high value. Its logarithmic axes are those that log names: x, y. */
export function plotOf(curves: LevelledCurves, width: number, log: string, low = curves.low, high = curves.high): Plot {
  const frame = { left: 64, top: 10, right: width - 12, bottom: height - 44 }
  const x = epochs(scale(curves.each, curves.longest * curves.each, frame.left + dot, frame.right - dot, log.includes('x')))
  const y = scale(low, high, frame.bottom - dot, frame.top + dot, log.includes('y'))
  const range = curves.high > curves.low
  const [bottom, top] = range ? [y(curves.low), y(curves.high)] : [frame.bottom - dot, frame.top + dot]
  return {
    frame, x, y, bottom, top,
    yOf: (level) => (range ? bottom - ((level - 0.5) / curves.most) * (bottom - top) : (frame.top + frame.bottom) / 2),
    xOf: (point) => x((point + 1) * curves.each),
  }
}

/** sizeOf is the size of a plot's frame in the screen's pixels, and how many of them one is. */
function sizeOf({ frame }: Plot): [wide: number, high: number, ratio: number] {
  const ratio = devicePixelRatio || 1
  return [Math.round((frame.right - frame.left) * ratio), Math.round((frame.bottom - frame.top) * ratio), ratio]
}

/** lines adds curves to a density, in the screen's pixels from the corner of the frame on. */
function lines(density: Density, curves: LevelledCurves, { frame, xOf, yOf }: Plot, ratio: number, of: number[]): void {
  const xs = Float64Array.from({ length: curves.longest }, (_, i) => (xOf(i) - frame.left) * ratio)
  const ys = Float64Array.from({ length: curves.most + 1 }, (_, level) => (yOf(level) - frame.top) * ratio)
  ways(curves, of, (point, found, alone) => {
    if (point > 0) density.lines(xs[point - 1]!, xs[point]!, ys, found, ratio)
    if (alone.length > 0) density.dots(xs[point]!, ys, alone, 2 * dot * ratio)
  })
}

/** some is the picture of some of the curves. It is good until the next one. */
export function some(curves: LevelledCurves, plot: Plot, of: number[], colour: string, opacity: number): HTMLCanvasElement {
  const [wide, high, ratio] = sizeOf(plot)
  const density = Density.sized(wide, high)
  lines(density, curves, plot, ratio, of)
  return density.picture(colour, opacity)
}

const running = 2 // TRIAL_STATE_RUNNING

/** areRunning tells the curves that go on from the others. */
export function areRunning(curves: LevelledCurves): { going: number[]; others: number[] } {
  const [going, others]: [number[], number[]] = [[], []]
  for (let i = 0; i < curves.count; i++) (curves.states[i] === running ? going : others).push(i)
  return { going, others }
}

/** all is the picture of all curves that don't go on. One that was made before is not made again. */
export function all(curves: LevelledCurves, plot: Plot, colour: string): HTMLCanvasElement {
  const [wide, high, ratio] = sizeOf(plot)
  const what = [wide, high, ratio, colour, plot.xOf(0), plot.xOf(1), plot.xOf(curves.longest - 1), plot.yOf(1), plot.yOf(curves.most)].join()
  const made = lastOf(curves, what)
  if (made) return made
  const density = Density.sized(wide, high)
  lines(density, curves, plot, ratio, areRunning(curves).others)
  return next(curves, what, (canvas) => density.picture(colour, Math.max(0.05, Math.min(0.5, 120 / curves.count)), canvas))
}

/** ready draws the curves of an answer that was prepared, for a plot that is so wide. */
export function ready(study: Study, query: URLSearchParams, width: number): void {
  const answer = kept<Curves>(...questions.curves(study, query))
  if (!answer || width < 100) return
  const curves = once(answer, decode)
  all(curves, plotOf(curves, width, ''), colours(document.body)('muted'))
  Density.drop() // The view may never be looked at.
}

/**
 * rehearse reads and draws a few made-up curves that do all that curves can: they have gaps, jump, leave the range and the picture, end early,
 * go the same way. Browsers make code fast for what they have seen it do, and begin anew where it does something else: they would some thirty
 * times while thousands of curves are drawn first.
 */
function rehearse(): void {
  const most = 100
  const bytes: number[] = []
  const lengths = Array.from({ length: 16 }, (_, curve) => 12 - (curve % 4))
  for (const [curve, length] of lengths.entries()) {
    let before = 0
    for (let point = 0; point < length; point++) {
      const level = (curve + point) % 7 === 6 ? 0 : 1 + (point % 3 === 2 ? 99 * (curve % 2) : (curve >> 2) * 9 + point)
      const by = level < before ? 2 * (before - level) - 1 : 2 * (level - before)
      if (by > 127) bytes.push((by & 127) | 128, by >> 7)
      else bytes.push(by)
      before = level
    }
  }
  const answer: Curves = { trials: lengths.map(String), epochs: lengths, levels: btoa(String.fromCharCode(...bytes)), low: 0, high: 1 }
  const [width, height] = [20, 16]
  const ys = Float64Array.from({ length: most + 1 }, (_, level) => height + 2.5 - level / 5)
  const of = lengths.map((_, curve) => curve)
  const counts = new Float32Array(width * height)
  const [pixels, shades] = [new Uint32Array(counts.length), new Uint32Array(8)]
  for (let i = 0; i < rehearsals; i++) {
    ways(curvesOf(answer, most), of, (point, found) => cover(counts, width, height, 1.9 * Math.max(0, point - 1), 1.9 * point, ys, found, 0.5))
    shade(counts, pixels, shades, 0.9)
  }
}

// Browsers don't look at what is done once. Many more times, and all other views would wait for it too.
const rehearsals = 20
rehearse()
