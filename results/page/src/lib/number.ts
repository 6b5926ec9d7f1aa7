// Numbers for people.

/** integer is a whole number of the API, which JSON has as a string where it is of 64 bits. */
export const integer = (value: string | number | undefined): number => Number(value ?? 0)

/** grouped: 12,345. Not by Intl: the first formatter of a tab takes 50 to 100 ms, before the page asks for anything. */
export const grouped = (value: number): string => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ',')

/** significant: as many digits as tell values apart, without an exponent where that is short. */
export function significant(value: number | undefined, digits = 5): string {
  if (value === undefined) return ''
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '∞' : '−∞'
  if (value === 0) return '0'
  const size = Math.abs(value)
  const text = size >= 1e-4 && size < 1e7 ? String(Number(value.toPrecision(digits))) : shortExponent(value, digits)
  return text.replace('-', '−')
}

/** whole is a number with up to six digits, and of a whole number seven: what somebody has written is mostly that. */
export const whole = (value: number): string => significant(value, Number.isInteger(value) ? 7 : 6)

/**
 * told are numbers beside each other with as few digits as tell each from the others. What whole writes exactly is written so, and of
 * others each is as far from its value as one percent of the way to the next number, at most.
 */
export function told(values: number[], least = 3): string[] {
  const sorted = [...new Set(values)].sort((a, b) => a - b)
  const off = new Map(sorted.map((value, i) => [value, Math.min(value - (sorted[i - 1] ?? -Infinity), (sorted[i + 1] ?? Infinity) - value) / 100]))
  return values.map((value) => {
    if (Number(value.toPrecision(Number.isInteger(value) ? 7 : 6)) === value) return whole(value)
    let digits = least
    while (digits < 12 && !(Math.abs(Number(value.toPrecision(digits)) - value) <= off.get(value)!)) digits++
    return significant(value, digits)
  })
}

function shortExponent(value: number, digits: number): string {
  const [mantissa, exponent] = value.toExponential(digits - 1).split('e') as [string, string]
  return Number(mantissa) + 'e' + Number(exponent)
}

/** minus writes a number that is text already with minus signs. */
export const minus = (number: string): string => (number === '' || Number.isNaN(Number(number)) ? number : number.replaceAll('-', '−'))

/** count: 1 trial, 12,345 trials. */
export const count = (n: number, thing: string, things = thing + 's'): string => `${grouped(n)} ${n === 1 ? thing : things}`

/** enumerate: a, b and c. */
export const enumerate = (parts: string[]): string =>
  (parts.length > 1 ? parts.slice(0, -1).join(', ') + ' and ' : '') + (parts.at(-1) ?? '')

/** duration has two units at most: 3 d 4 h, 2 h 5 min, 1 min 31 s, 1.5 s, 80 ms. */
export function duration(seconds: number): string {
  if (seconds < 0.9995) return Math.round(seconds * 1000) + ' ms'
  if (seconds < 9.95) return Number(seconds.toFixed(1)) + ' s'
  if (seconds < 59.5) return Math.round(seconds) + ' s'
  if (seconds < 3599.5) return units(Math.round(seconds), 60, 'min', 's')
  const minutes = Math.round(seconds / 60)
  return minutes < 24 * 60 ? units(minutes, 60, 'h', 'min') : units(Math.round(seconds / 3600), 24, 'd', 'h')
}

function units(n: number, each: number, large: string, small: string): string {
  return `${Math.floor(n / each)} ${large}` + (n % each ? ` ${n % each} ${small}` : '')
}

/** forecast is duration for what is only expected: fractions of a second would say more than is known. */
export const forecast = (seconds: number): string => (seconds < 1 ? 'less than 1 s' : duration(Math.round(seconds)))

/** bytes: 24 GiB. */
export function bytes(n: number): string {
  let unit = 0
  for (; n >= 1024 && unit < 4; unit++) n /= 1024
  return `${unit > 0 && n < 9.95 ? n.toFixed(1) : Math.round(n)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`
}

/** share: 12%. */
export const share = (part: number, whole: number): string => (whole === 0 ? '0%' : Math.floor((100 * part) / whole) + '%')
