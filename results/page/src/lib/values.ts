// Values of axes as people write them: with commas between them, as in `trellis extend --add`.
import { whole } from './number'
import type { Axis, Value } from './types'

/** valuesOf are the values of an axis as texts; a long axis, or one that is a range, is shortened. */
export function valuesOf(axis: Axis | undefined, most = 12): string {
  if (!axis) return ''
  for (const kind of ['linear', 'log10', 'log2'] as const) {
    const range = axis[kind]
    if (range) return `${range.count} from ${whole(range.from ?? 0)} to ${whole(range.to ?? 0)}${kind === 'linear' ? '' : `, ${kind}`}`
  }
  const step = axis.step
  if (step) return `from ${whole(step.from ?? 0)} to ${whole(step.to ?? 0)} by ${whole(step.by)}`
  const list = axis.numbers?.map(whole) ?? axis.integers ?? axis.texts ?? axis.booleans?.map(String) ?? []
  const shown = list.slice(0, most).join(', ')
  return list.length > most ? `${shown} and ${list.length - most} more` : shown
}

function valueOf(text: string): Value {
  if (/^[+-]?\d+$/.test(text)) return { integer: text }
  if (text !== '' && Number.isFinite(Number(text))) return { number: Number(text) }
  if (text === 'true' || text === 'false') return { boolean: text === 'true' }
  return { text: /^".*"$/.test(text) ? text.slice(1, -1) : text }
}

/** axisFrom reads values, or returns undefined if there are none. */
export function axisFrom(text: string): Axis | undefined {
  const values = text.split(',').map((one) => one.trim()).filter(Boolean).map(valueOf)
  if (values.length === 0) return undefined
  if (values.every((one) => one.integer !== undefined)) return { integers: values.map((one) => one.integer!) }
  if (values.every((one) => one.integer !== undefined || one.number !== undefined)) {
    return { numbers: values.map((one) => Number(one.integer ?? one.number)) }
  }
  if (values.every((one) => one.boolean !== undefined)) return { booleans: values.map((one) => one.boolean!) }
  return { texts: values.map((one) => one.text ?? one.integer ?? String(one.number ?? one.boolean)) }
}
