// Many lines at once: for each pixel, how many pass there. It takes a fraction of the time of as many strokes, and what lies upon
// each other gets darker as if each were a stroke of its own.

import type { Ways } from './curves'

export class Density {
  readonly counts: Float32Array
  #canvas = document.createElement('canvas')
  #image: ImageData

  /** width and height are in pixels of the screen. */
  constructor(readonly width: number, readonly height: number) {
    this.#image = new ImageData(width, height)
    this.counts = new Float32Array(this.#image.data.buffer) // A count has its pixel's place: neither is needed with the other.
  }

  static #last: Density | undefined

  /** sized is an empty density of a size. There is one at a time: it takes 8 bytes for each pixel. */
  static sized(width: number, height: number): Density {
    const last = Density.#last
    if (last?.width !== width || last.height !== height) return (Density.#last = new Density(width, height))
    last.counts.fill(0)
    return last
  }

  /** drop gives back what the last one takes. */
  static drop(): void {
    if (Density.#last) Density.#last.#canvas.width = 0
    Density.#last = undefined
  }

  /** lines adds lines of a thickness between two places, of which the second is not to the left. ys are the heights of levels. */
  lines(x0: number, x1: number, ys: Float64Array, ways: Ways, thickness: number): void {
    cover(this.counts, this.width, this.height, x0, x1, ys, ways, thickness / 2)
  }

  /** dots adds squares of a size around a place, at levels of which ys are the heights. */
  dots(x: number, ys: Float64Array, levels: number[], size: number): void {
    const ways = { n: levels.length, from: levels, to: levels, curves: levels.map(() => 1) }
    cover(this.counts, this.width, this.height, x - size / 2, x + size / 2, ys, ways, size / 2)
  }

  /** picture has the lines in a colour, each of so much of it. It is good until the next one, unless it gets a canvas of its own. */
  picture(colour: string, opacity: number, canvas = this.#canvas): HTMLCanvasElement {
    if (canvas.width !== this.width) canvas.width = this.width
    if (canvas.height !== this.height) canvas.height = this.height
    const context = canvas.getContext('2d')!
    const image = this.#image
    const [r = 0, g = 0, b = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number)
    const pixels = new Uint32Array(image.data.buffer)
    const plain = (b << 16) | (g << 8) | r // Pixels are r, g, b, a in memory.
    const rate = Math.log(1 - Math.min(opacity, 0.999))
    // From the last step on, what is behind can't be seen any more.
    const steps = 4096
    const each = Math.log(1 / 512) / rate / (steps - 1)
    const shades = Uint32Array.from({ length: steps }, (_, i) => (Math.round(255 * (1 - Math.exp((i + 0.5) * each * rate))) << 24) | plain)
    shade(this.counts, pixels, shades, each)
    context.putImageData(image, 0, 0)
    return canvas
  }
}

/** cover adds to the counts of pixels what lines cover of them: see Density.lines. half is a half of their thickness. */
export function cover(
  counts: Float32Array, width: number, height: number, x0: number, x1: number, ys: Float64Array, ways: Ways, half: number,
): void {
  const { n, from, to, curves } = ways
  const first = Math.max(0, Math.floor(x0))
  const last = Math.min(width - 1, Math.ceil(x1) - 1)
  for (let k = 0; k < n; k++) {
    const y0 = ys[from[k]!]!
    const slope = x1 > x0 ? (ys[to[k]!]! - y0) / (x1 - x0) : 0
    const lines = curves[k]!
    for (let column = first; column <= last; column++) {
      // The part of the line in the column, and how much of each pixel it covers there.
      const left = column > x0 ? column : x0
      const right = column + 1 < x1 ? column + 1 : x1
      const a = y0 + (left - x0) * slope
      const b = y0 + (right - x0) * slope
      let top = (a < b ? a : b) - half
      let bottom = (a < b ? b : a) + half
      if (top < 0) top = 0
      if (bottom > height) bottom = height
      if (top >= bottom) continue
      const share = (right - left) * lines
      let row = top | 0
      const end = bottom < height ? bottom | 0 : height - 1
      let at = row * width + column
      if (row === end) {
        counts[at]! += (bottom - top) * share
        continue
      }
      counts[at]! += (row + 1 - top) * share
      for (row++, at += width; row < end; row++, at += width) counts[at]! += share
      counts[at]! += (bottom - end) * share
    }
  }
}

/** shade puts the shade of each count into its pixel's place. A shade stands for so many of it. */
export function shade(counts: Float32Array, pixels: Uint32Array, shades: Uint32Array, each: number): void {
  const last = shades.length - 1
  for (let i = 0; i < counts.length; i++) {
    const count = counts[i]!
    if (count !== 0) pixels[i] = shades[Math.min(last, (count / each) | 0)]!
  }
}
