// Conditions on trials, as the API's filters have them: https://cel.dev.
import type { Value } from './types'

/**
 * read splits a condition at && outside of brackets and texts. loose: it has an operator there that binds less than &&, and is one
 * part.
 */
function read(where: string): { parts: string[]; loose: boolean } {
  const parts: string[] = []
  let loose = false
  let [depth, from, quote] = [0, 0, '']
  for (let i = 0; i < where.length; i++) {
    const c = where[i]!
    if (quote) {
      if (c === '\\') i++
      else if (c === quote) quote = ''
    } else if (c === '"' || c === "'") quote = c
    else if ('([{'.includes(c)) depth++
    else if (')]}'.includes(c)) depth--
    else if (depth === 0 && (where.startsWith('||', i) || c === '?')) loose = true
    else if (depth === 0 && where.startsWith('&&', i)) {
      parts.push(where.slice(from, i))
      from = i + 2
      i++
    }
  }
  const all = loose ? [where] : [...parts, where.slice(from)]
  return { parts: all.map((one) => one.trim()).filter(Boolean), loose }
}

/** partsOf are the conditions that must all be met. */
export const partsOf = (where: string): string[] => read(where).parts

/** joined are conditions that must all be met. */
export const joined = (parts: string[]): string =>
  parts.map((one) => (parts.length > 1 && read(one).loose ? `(${one})` : one)).join(' && ')

/** constrained is a selection with other conditions on a field: those that it had on this field alone are replaced. */
export function constrained(where: string, field: string, conditions: string[]): string {
  const of = new RegExp(`^${field.replace(/[^\w]/g, '\\$&')}( in |\\s*[<>=!]=?)`)
  return joined([...partsOf(where).filter((one) => read(one).loose || !of.test(one)), ...conditions])
}

/**
 * conditionsOf are the conditions on a field alone that each of some selections surely has: whether a value, as text, meets them. There
 * may be more, which can't be told without a trial.
 */
export function conditionsOf(selections: string[], field: string): ((value: string) => boolean)[] {
  const form = new RegExp(`^${field.replace(/[^\w]/g, '\\$&')}\\s*(?:([=!]=)\\s*("[^"]*"|'[^']*'|[\\w.+-]+)|in\\s*\\[([^\\]]*)\\])$`)
  return selections.flatMap(partsOf).flatMap((part) => {
    const [, operator, one, list] = form.exec(part) ?? []
    if (one === undefined && list === undefined) return []
    const texts = (one ?? list!).split(',').map((text) => text.trim().replace(/^(["'])(.*)\1$/, '$2'))
    const named = (value: string) => texts.some((text) => text === value || (text !== '' && Number(text) === Number(value)))
    return [operator === '!=' ? (value: string) => !named(value) : named]
  })
}

const literal = (value: Value, real: boolean): string => {
  if (value.text !== undefined) return JSON.stringify(value.text)
  if (value.boolean !== undefined) return String(value.boolean)
  const text = value.integer ?? String(value.number ?? 0)
  return real && /^-?\d+$/.test(text) ? text + '.0' : text
}

/** among are the conditions that a field has one of some values, which follow each other on its axis. */
export function among(field: string, values: Value[], all: Value[]): string[] {
  if (values.length === all.length) return []
  const real = all.some((one) => one.number !== undefined)
  const texts = values.map((one) => literal(one, real))
  if (texts.length === 1) return [`${field} == ${texts[0]}`]
  if (values.some((one) => one.text !== undefined || one.boolean !== undefined)) return [`${field} in [${texts.join(', ')}]`]
  return [`${field} >= ${texts[0]}`, `${field} <= ${texts.at(-1)}`]
}

/** among levels of an axis from one value on, and below another if there is one. */
export const from = (field: string, low: Value, below: Value | undefined, all: Value[]): string[] => {
  const real = all.some((one) => one.number !== undefined)
  return [`${field} >= ${literal(low, real)}`, ...(below ? [`${field} < ${literal(below, real)}`] : [])]
}

/** between are the conditions that a field has a number from one to another. */
export function between(field: string, low: number, high: number): string[] {
  const real = (value: number) => (Number.isInteger(value) ? value.toFixed(1) : String(value))
  return [...(Number.isFinite(low) ? [`${field} >= ${real(low)}`] : []), ...(Number.isFinite(high) ? [`${field} <= ${real(high)}`] : [])]
}
