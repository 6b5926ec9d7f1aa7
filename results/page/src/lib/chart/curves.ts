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
  let [at, curve, level] = [0, 0, 0]
  for (let i = 0; i < levels.length; i++) {
    // Differences, in groups of seven bits.
    while (i === starts[curve]) { curve++; level = 0 }
    let [value, shift, byte] = [0, 0, 0]
    do {
      byte = data[at++]!
      value |= (byte & 127) << shift
      shift += 7
    } while (byte & 128)
    level += (value >>> 1) ^ -(value & 1)
    levels[i] = level
  }
  return {
    answer, count: trials.length, levels, starts, trials, longest, each, most,
    objectives: new Float64Array(bytes(answer.objectives)), states: new Uint8Array(bytes(answer.states)),
    beyond: high > low ? (answer.keep === 'KEEP_HIGHEST' ? 1 : most) : -1, low, high,
  }
}

/** cut are the curves that have values out of range. */
export function cut(its: LevelledCurves): Set<number> {
  const found = new Set<number>()
  if (its.beyond < 0) return found
  for (let curve = 0; curve < its.count; curve++) {
    for (let i = its.starts[curve]!; i < its.starts[curve + 1]!; i++) {
      if (its.levels[i] === its.beyond) { found.add(curve); break }
    }
  }
  return found
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
