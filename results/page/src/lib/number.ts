// Numbers for people.

/** integer is a whole number of the API, which JSON has as a string where it is of 64 bits. */
export const integer = (value: string | number | undefined): number => Number(value ?? 0)

const grouping = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

/** grouped: 12,345. */
export const grouped = (value: number): string => grouping.format(value)

/** significant: as many digits as tell values apart, without an exponent where that is short. */
export function significant(value: number | undefined, digits = 5): string {
  if (value === undefined) return ''
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '∞' : '−∞'
  if (value === 0) return '0'
  const size = Math.abs(value)
  const text = size >= 1e-4 && size < 1e7 ? String(Number(value.toPrecision(digits))) : shortExponent(value, digits)
  return text.replace('-', '−')
}

function shortExponent(value: number, digits: number): string {
  const [mantissa, exponent] = value.toExponential(digits - 1).split('e') as [string, string]
  return Number(mantissa) + 'e' + Number(exponent)
}

/** duration: 1 h 5 min. */
export function duration(seconds: number): string {
  if (seconds < 1) return Math.round(seconds * 1000) + ' ms'
  if (seconds < 60) return significant(seconds, 3) + ' s'
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return minutes + ' min'
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return hours + ' h' + (minutes % 60 ? ` ${minutes % 60} min` : '')
  const days = Math.floor(hours / 24)
  return days + ' d' + (hours % 24 ? ` ${hours % 24} h` : '')
}

/** share: 12%. */
export const share = (part: number, whole: number): string => (whole === 0 ? '0%' : Math.floor((100 * part) / whole) + '%')
