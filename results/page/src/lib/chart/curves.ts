// Learning curves as the API sends them for a screen: levels between a low and a high value.
import { bytes } from './draw'
import type { Curves } from '../types'

export interface LevelledCurves {
  answer: Curves
  count: number
  /** The levels of curve i are at starts[i] and after it, before starts[i + 1]: from 1, or 0 where there is no value. */
  levels: Uint16Array
  starts: Uint32Array
  trials: string[]
  objectives: Float64Array
  states: Uint8Array
  /** How many levels there are, and which of them has what is out of range. */
  most: number
  beyond: number
  /** The curves that have values out of range. */
  cut: Set<number>
  low: number
  high: number
  /** How many points the longest curve has, and how many epochs a point stands for. */
  longest: number
  each: number
}

/** curvesOf decodes the curves of an answer with so many levels. */
export function curvesOf(answer: Curves, most: number): LevelledCurves {
  const trials = answer.trials ?? []
  const [low, high] = [Number(answer.low ?? 0), Number(answer.high ?? 0)]
  const each = answer.epochs_per_point ?? 1
  const starts = new Uint32Array(trials.length + 1)
  let longest = 1
  for (let i = 0; i < trials.length; i++) {
    const points = Math.ceil((answer.epochs?.[i] ?? 0) / each)
    starts[i + 1] = starts[i]! + points
    if (points > longest) longest = points
  }
  const levels = new Uint16Array(starts[trials.length]!)
  const beyond = high > low ? (answer.keep === 'KEEP_HIGHEST' ? 1 : most) : -1
  const cut = read(new Uint8Array(bytes(answer.levels)), starts, levels, beyond)
  return {
    answer, count: trials.length, levels, starts, trials, longest, each, most,
    objectives: new Float64Array(bytes(answer.objectives)), states: new Uint8Array(bytes(answer.states)),
    beyond, cut, low, high,
  }
}

/** read reads levels, and returns the curves that have one that is out of range. It is short: so the browser soon makes it fast. */
function read(data: Uint8Array, starts: Uint32Array, levels: Uint16Array, beyond: number): Set<number> {
  const cut = new Set<number>()
  let at = 0
  let i = 0
  for (let curve = 0; curve + 1 < starts.length; curve++) {
    const end = starts[curve + 1]!
    let level = 0
    let out = 0
    for (; i < end; i++) {
      // Differences, in groups of seven bits: nearly all have one.
      let value = data[at++]!
      if (value > 127) {
        value &= 127
        let byte = 128
        for (let shift = 7; byte > 127; shift += 7) {
          byte = data[at++]!
          value |= (byte & 127) << shift
        }
      }
      level += (value >>> 1) ^ -(value & 1)
      levels[i] = level
      if (level === beyond) out = 1
    }
    if (out) cut.add(curve)
  }
  return cut
}

/** Ways are those that curves go from a point to the next one: n of them, from which level to which, and how many curves go there. */
export interface Ways { n: number; from: ArrayLike<number>; to: ArrayLike<number>; curves: ArrayLike<number> }

/**
 * ways tells of the ways to each point, from the second one on. Of many curves, most go a way that others go too. To a value without one
 * before and after it there is no way: alone are the levels of such values at the point, of which the first one has no ways.
 */
export function ways(its: LevelledCurves, of: number[], each: (point: number, ways: Ways, alone: number[]) => void): void {
  const { starts, levels, most } = its
  const bits = 32 - Math.clz32(most)
  const places = new Uint16Array((most + 1) << bits)
  const at = Uint32Array.from(of, (curve) => starts[curve]!)
  const ends = Uint32Array.from(of, (curve) => starts[curve + 1]!)
  const before = Uint16Array.from(at, (i, k) => (i < ends[k]! ? levels[i]! : 0))
  const found = { n: 0, from: new Uint16Array(of.length), to: new Uint16Array(of.length), curves: new Uint16Array(of.length) }
  for (let point = 0; point < its.longest; point++) {
    const alone: number[] = []
    if (point === 0) before.forEach((level, k) => { if (level !== 0 && isLast(levels, at[k]!, ends[k]!)) alone.push(level) })
    else step(point, levels, bits, places, at, ends, before, found, alone)
    each(point, found, alone)
  }
}

/** isLast says that a curve, which ends before end, has no value after place i. */
const isLast = (levels: Uint16Array, i: number, end: number) => i + 1 >= end || levels[i + 1] === 0

function step(
  point: number, levels: Uint16Array, bits: number, places: Uint16Array, starts: Uint32Array, ends: Uint32Array, before: Uint16Array,
  found: { n: number; from: Uint16Array; to: Uint16Array; curves: Uint16Array }, alone: number[],
): void {
  const { from, to, curves } = found
  let n = 0
  for (let k = 0; k < starts.length; k++) {
    const i = starts[k]! + point
    if (i >= ends[k]!) continue
    const a = before[k]!
    const b = levels[i]!
    before[k] = b
    if (a === 0 || b === 0) {
      if (b !== 0 && isLast(levels, i, ends[k]!)) alone.push(b)
      continue
    }
    const way = (a << bits) | b
    const place = places[way]!
    if (place > 0) {
      curves[place - 1]!++
      continue
    }
    from[n] = a
    to[n] = b
    curves[n] = 1
    places[way] = ++n
  }
  for (let k = 0; k < n; k++) places[(from[k]! << bits) | to[k]!] = 0
  found.n = n
}

/** Box chooses curves: from one point to another, from one level to another. */
export interface Box { first: number; last: number; lowest: number; highest: number }

/** within are the curves of which a value is in a box: exactly, as its sides are where levels meet. */
export function within(its: LevelledCurves, box: Box): number[] {
  const found: number[] = []
  for (let curve = 0; curve < its.count; curve++) {
    const from = its.starts[curve]! + box.first
    const to = Math.min(its.starts[curve + 1]! - 1, its.starts[curve]! + box.last)
    for (let i = from; i <= to; i++) {
      const level = its.levels[i]!
      if (level >= box.lowest && level <= box.highest && level !== its.beyond) { found.push(curve); break }
    }
  }
  return found
}
