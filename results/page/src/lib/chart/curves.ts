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
  const data = new Uint8Array(bytes(answer.levels))
  const levels = new Uint16Array(starts[trials.length]!)
  const beyond = high > low ? (answer.keep === 'KEEP_HIGHEST' ? 1 : most) : -1
  const cut = new Set<number>()
  let at = 0
  for (let curve = 0; curve < trials.length; curve++) {
    let [level, out] = [0, false]
    for (let i = starts[curve]!; i < starts[curve + 1]!; i++) {
      // Differences, in groups of seven bits: nearly all have one.
      let value = data[at++]!
      if (value > 127) {
        value &= 127
        for (let [shift, byte] = [7, 128]; byte > 127; shift += 7) {
          byte = data[at++]!
          value |= (byte & 127) << shift
        }
      }
      level += (value >>> 1) ^ -(value & 1)
      levels[i] = level
      if (level === beyond) out = true
    }
    if (out) cut.add(curve)
  }
  return {
    answer, count: trials.length, levels, starts, trials, longest, each, most,
    objectives: new Float64Array(bytes(answer.objectives)), states: new Uint8Array(bytes(answer.states)),
    beyond, cut, low, high,
  }
}

/**
 * ways tells of every two neighboring points of curves: the second one, both levels, and how many of the curves go this way. Of many
 * curves, most go a way that others go too.
 */
export function ways(its: LevelledCurves, of: number[], each: (point: number, from: number, to: number, curves: number) => void): void {
  const { starts, levels, most } = its
  const counts = new Uint16Array((most + 1) ** 2)
  const found = new Uint32Array(of.length)
  for (let point = 1; point < its.longest; point++) {
    let n = 0
    for (let k = 0; k < of.length; k++) {
      const curve = of[k]!
      const i = starts[curve]! + point
      if (i >= starts[curve + 1]!) continue
      const from = levels[i - 1]!
      const to = levels[i]!
      if (from === 0 || to === 0) continue
      const way = from * (most + 1) + to
      if (counts[way]!++ === 0) found[n++] = way
    }
    for (let k = 0; k < n; k++) {
      const way = found[k]!
      each(point, Math.floor(way / (most + 1)), way % (most + 1), counts[way]!)
      counts[way] = 0
    }
  }
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
