// What canvases have in common: their size in pixels, colours from the style sheet, scales and their ticks.

import { told } from '../number'

/** bytes decodes base64. */
export function bytes(text: string | undefined): ArrayBuffer {
  const own = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64
  if (own) return own(text ?? '').buffer
  const binary = atob(text ?? '')
  const data = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) data[i] = binary.charCodeAt(i)
  return data.buffer
}

// Canvases that were drawn on. Browsers keep the pixels of one that is gone until they collect garbage, and they see little of it:
// the pixels are not in their heap.
const drawn = new Set<HTMLCanvasElement>()

function release(): void {
  for (const canvas of drawn) {
    if (canvas.isConnected) continue
    canvas.width = canvas.height = 0
    drawn.delete(canvas)
  }
}

/**
 * later does what is not seen first: one after the other, from the frame after the next one on. What is begun in the next one itself
 * delays its painting. What it returns ends that.
 */
export function later(tasks: (() => void)[]): () => void {
  let ended = false
  const next = () => {
    if (ended) return
    tasks.shift()?.()
    if (tasks.length > 0) setTimeout(next)
  }
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(next)))
  return () => { ended = true }
}

/** fit sizes a canvas for the screen's pixels, clears it, and returns its context in CSS pixels. */
export function fit(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  release()
  drawn.add(canvas)
  const ratio = devicePixelRatio || 1
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)]
  const context = canvas.getContext('2d')!
  if (canvas.width === wide && canvas.height === high && 'reset' in context) context.reset() // It keeps its memory.
  else [canvas.width, canvas.height] = [wide, high]
  canvas.style.width = width + 'px'
  canvas.style.height = height + 'px'
  context.setTransform(ratio, 0, 0, ratio, 0, 0)
  context.clearRect(0, 0, width, height)
  return context
}

/** colours returns a function that gives the value of a variable of the style sheet, as the element's theme has it. */
export function colours(element: HTMLElement): (name: string) => string {
  const known = new Map<string, string>()
  return (name) => {
    let value = known.get(name)
    if (value === undefined) {
      const before = element.style.color
      element.style.color = `var(--${name})`
      value = getComputedStyle(element).color
      element.style.color = before
      known.set(name, value)
    }
    return value
  }
}

export interface Scale {
  (value: number): number
  invert: (position: number) => number
  ticks: number[]
  logarithmic: boolean
}

/**
 * scale maps values to positions. A logarithmic one is for values above 0. A single value is in the middle, with half of it to each side:
 * what is above 0 has no axis below.
 */
export function scale(from: number, to: number, start: number, end: number, logarithmic: boolean, count = 6): Scale {
  const at = logarithmic ? Math.log10 : (value: number) => value
  const back = logarithmic ? (value: number) => 10 ** value : (value: number) => value
  let [a, b] = [at(from), at(to)]
  if (!(b > a)) {
    const around = logarithmic || a === 0 ? 0.5 : Math.abs(a) / 2
    ;[a, b] = [a - around, a + around]
  }
  const map = ((value: number) => start + ((at(value) - a) / (b - a)) * (end - start)) as Scale
  map.invert = (position) => back(a + ((position - start) / (end - start)) * (b - a))
  map.ticks = logarithmic ? logTicks(back(a), back(b), count) : linearTicks(a, b, count)
  map.logarithmic = logarithmic
  return map
}

function linearTicks(from: number, to: number, count: number): number[] {
  const raw = (to - from) / count
  const size = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 5, 10].map((one) => one * size).find((one) => one >= raw)!
  const ticks = []
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)))
  return ticks
}

function logTicks(from: number, to: number, count: number): number[] {
  const decades = Math.log10(to / from)
  if (decades < 1) return linearTicks(from, to, count)
  const of = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5]
  const every = Math.max(1, Math.ceil(decades / 10))
  const ticks = []
  for (let e = Math.floor(Math.log10(from)); e <= Math.log10(to); e += every) {
    for (const one of of) {
      const value = Number((one * 10 ** e).toPrecision(6))
      if (value >= from * 0.999999 && value <= to * 1.000001) ticks.push(value)
    }
  }
  return ticks
}

export interface Frame { left: number; top: number; right: number; bottom: number }

/** axes draws grid lines and labels of two scales. */
export function axes(
  context: CanvasRenderingContext2D, frame: Frame, x: Scale | undefined, y: Scale, colour: (name: string) => string, xLabel = '',
): void {
  context.font = '12px system-ui, sans-serif'
  context.strokeStyle = colour('line')
  context.fillStyle = colour('muted')
  context.lineWidth = 1
  context.textBaseline = 'middle'
  context.textAlign = 'right'
  const texts = told(y.ticks)
  y.ticks.forEach((tick, i) => {
    const at = Math.round(y(tick)) + 0.5
    context.beginPath()
    context.moveTo(frame.left, at)
    context.lineTo(frame.right, at)
    context.stroke()
    context.fillText(texts[i]!, frame.left - 6, at)
  })
  context.textBaseline = 'top'
  context.textAlign = 'center'
  const ticks = x?.ticks ?? []
  below(context, told(ticks).map((text, i) => ({ text, at: x!(ticks[i]!) })), frame.bottom + 6)
  if (xLabel) context.fillText(xLabel, (frame.left + frame.right) / 2, frame.bottom + 24)
}

/**
 * below writes texts beside each other under a chart, each in the middle of its place, and leaves out those that there is no room for.
 * The last one ends where the drawing does, at the latest.
 */
export function below(context: CanvasRenderingContext2D, texts: { text: string; at: number }[], y: number): void {
  context.textAlign = 'center'
  context.textBaseline = 'top'
  const width = context.canvas.width / context.getTransform().a
  let free = -Infinity
  for (const { text, at } of texts) {
    const half = context.measureText(text).width / 2
    const middle = Math.min(at, width - half - 1)
    if (middle - half < free) continue
    context.fillText(text, middle, y)
    free = middle + half + 10
  }
}

/** moved is the cell of a map that an arrow key leads to: rows begin at the bottom. */
export function moved(key: string, cell: number | undefined, columns: number, rows: number): number | undefined {
  const by = ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] } as Record<string, [number, number]>)[key]
  if (!by) return undefined
  if (cell === undefined) return 0
  const [c, r] = [(cell % columns) + by[0], Math.floor(cell / columns) + by[1]]
  return Math.max(0, Math.min(rows - 1, r)) * columns + Math.max(0, Math.min(columns - 1, c))
}

/** extent returns the smallest and largest finite number that a scale can have. */
export function extent(values: Iterable<number>, logarithmic: boolean): [number, number] {
  let [low, high] = [Infinity, -Infinity]
  for (const value of values) {
    if (!Number.isFinite(value) || (logarithmic && value <= 0)) continue
    if (value < low) low = value
    if (value > high) high = value
  }
  return low > high ? [logarithmic ? 0.1 : 0, 1] : [low, high]
}

// Viridis, at 9 places: the better a value, the brighter.
const stops = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
] as const

/** shade is the colour of a share from 0 to 1. */
export function shade(share: number): string {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1)
  const low = Math.min(Math.floor(at), stops.length - 2)
  const [a, b] = [stops[low]!, stops[low + 1]!]
  const mix = (i: 0 | 1 | 2) => Math.round(a[i] + (b[i] - a[i]) * (at - low))
  return `rgb(${mix(0)} ${mix(1)} ${mix(2)})`
}
