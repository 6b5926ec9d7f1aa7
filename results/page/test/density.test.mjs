// Thousands of curves are drawn as pixels that count them: each pixel against a sum over all curves, one by one.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import ts from 'typescript'

/** load is a module of the page without what it imports. */
async function load(path) {
  const source = (await readFile(new URL('../src/lib/chart/' + path, import.meta.url), 'utf8')).replace(/^import .*$/gm, '')
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } })
  return import('data:text/javascript,' + encodeURIComponent(outputText))
}
globalThis.bytes = (text) => new Uint8Array(Buffer.from(text ?? '', 'base64')).buffer
globalThis.document = { createElement: () => ({}) }
globalThis.ImageData = class {
  constructor(width, height) { this.data = new Uint8ClampedArray(4 * width * height) }
}
const { curvesOf, ways } = await load('curves.ts')
const { Density } = await load('density.ts')

const most = 1000
let seed = 1
/** random is a whole number below n, the same in each run. */
const random = (n) => (seed = (seed * 48271) % 2147483647) % n

/** answerOf has the levels of curves as the API sends them: see GetCurvesResponse.levels. */
function answerOf(curves) {
  const data = []
  for (const curve of curves) {
    let before = 0
    for (const level of curve) {
      let value = (level - before) * 2
      if (value < 0) value = -value - 1
      for (; value > 127; value >>= 7) data.push((value & 127) | 128)
      data.push(value)
      before = level
    }
  }
  return { trials: curves.map((_, i) => String(i)), epochs: curves.map((curve) => curve.length), levels: Buffer.from(data).toString('base64'), low: 0, high: 1, keep: 'KEEP_LOWEST' }
}

// Of all lengths, with gaps, jumps over all levels, and values that are out of range.
const curves = Array.from({ length: 300 }, (_, i) => {
  let level = 1 + random(most)
  return Array.from({ length: i % 7 === 0 ? random(3) : 20 + random(10) }, () => {
    level = random(5) === 0 ? 1 + random(most) : Math.max(1, Math.min(most, level + random(9) - 4))
    return random(12) === 0 ? 0 : i % 3 === 0 ? Math.min(level, most - 1) : level
  })
})
curves.push(...curves.slice(0, 50)) // Some go the same way.

test('curves have the levels that were sent', () => {
  const its = curvesOf(answerOf(curves), most)
  assert.equal(its.count, curves.length)
  for (const [i, curve] of curves.entries()) assert.deepEqual([...its.levels.slice(its.starts[i], its.starts[i + 1])], curve)
  assert.deepEqual([...its.cut], curves.flatMap((curve, i) => (curve.includes(most) ? [i] : [])))
})

test('each pixel counts the curves that cover it', () => {
  const its = curvesOf(answerOf(curves), most)
  for (const [width, height, each, thickness] of [[300, 97, 10.3, 1], [40, 200, 1.25, 2], [11, 30, 0.4, 1]]) {
    const of = curves.map((_, i) => i).filter((i) => i % 5 !== 0)
    const x = (point) => point * each
    const ys = Float64Array.from({ length: most + 1 }, (_, level) => height - 1 - ((level - 0.5) / most) * (height - 2))
    const density = new Density(width, height)
    ways(its, of, (point, found) => density.lines(x(point - 1), x(point), ys, found, thickness))
    const wanted = new Float64Array(width * height)
    for (const i of of) {
      for (let point = 1; point < curves[i].length; point++) {
        const [from, to] = [curves[i][point - 1], curves[i][point]]
        if (from === 0 || to === 0) continue
        for (let column = Math.floor(x(point - 1)); column < Math.min(width, x(point)); column++) {
          const [left, right] = [Math.max(column, x(point - 1)), Math.min(column + 1, x(point))]
          const y = (at) => ys[from] + ((at - x(point - 1)) / each) * (ys[to] - ys[from])
          const [top, bottom] = [Math.min(y(left), y(right)) - thickness / 2, Math.max(y(left), y(right)) + thickness / 2]
          for (let row = 0; row < height; row++) {
            wanted[row * width + column] += (right - left) * Math.max(0, Math.min(row + 1, bottom) - Math.max(row, top))
          }
        }
      }
    }
    assert.ok(wanted.some((count) => count > 3))
    for (const [i, count] of wanted.entries()) {
      assert.ok(Math.abs(density.counts[i] - count) < 1e-3, `${width} by ${height}: ${density.counts[i]} at ${i % width}, ${Math.floor(i / width)}, not ${count}`)
    }
  }
})

test('a value without one before and after it is a dot', () => {
  const its = curvesOf(answerOf(curves), most)
  const of = curves.map((_, i) => i).filter((i) => i % 5 !== 0)
  const wanted = Array.from({ length: its.longest }, (_, point) =>
    of.map((i) => curves[i]).filter((curve) => curve[point] > 0 && !curve[point - 1] && !curve[point + 1]).map((curve) => curve[point]))
  assert.ok(wanted[0].length > 0 && wanted.slice(1).some((levels) => levels.length > 1))
  const found = []
  ways(its, of, (point, _, alone) => (found[point] = [...alone]))
  assert.deepEqual(found, wanted)

  const [width, height] = [20, 10]
  const density = new Density(width, height)
  density.dots(0, [0, 3, 7], [1, 2, 2], 4) // Half of it is outside.
  density.dots(10, [0, 3, 7], [1], 4)
  const rows = Array.from({ length: height }, (_, row) => density.counts.slice(row * width, (row + 1) * width).join(''))
  const [none, one, two] = ['0'.repeat(20), '11000000111100000000', '22' + '0'.repeat(18)]
  assert.deepEqual(rows, [none, one, one, one, one, two, two, two, two, none])
})
