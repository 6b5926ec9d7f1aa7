// Selections as text: conditions are replaced and joined so that they mean what they say.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import ts from 'typescript'

const source = await readFile(new URL('../src/lib/selection.ts', import.meta.url), 'utf8')
const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } })
const { constrained, joined, partsOf } = await import('data:text/javascript,' + encodeURIComponent(outputText))

test('conditions that bind less than && stay whole', () => {
  for (const [where, parts] of [
    ['a == 1 && b == "x && y"', ['a == 1', 'b == "x && y"']],
    ['(a == 1) || (a == 2)', ['(a == 1) || (a == 2)']],
    ['(a == 1 || a == 2) && b < 3', ['(a == 1 || a == 2)', 'b < 3']],
    ['a in [1, 2] && b == "?"', ['a in [1, 2]', 'b == "?"']],
    ['', []],
  ]) assert.deepEqual(partsOf(where), parts)
  assert.equal(joined(['(a == 1) || (a == 2)', 'b < 3']), '((a == 1) || (a == 2)) && b < 3')
  assert.equal(joined(['((a == 1) || (a == 2))', 'b < 3']), '((a == 1) || (a == 2)) && b < 3')
  assert.equal(joined(['b == "?"', 'c == "a||b"']), 'b == "?" && c == "a||b"')
})

test('a condition on a field replaces those on this field alone', () => {
  assert.equal(constrained('a > 1 && b < 2', 'a', ['a == 3']), 'b < 2 && a == 3')
  assert.equal(constrained('a == 4 || objective < 0.1', 'a', ['a >= 2']), '(a == 4 || objective < 0.1) && a >= 2')
  assert.equal(constrained('opt.lr == 4', 'opt.lr', []), '')
  assert.equal(constrained('optxlr == 4', 'opt.lr', []), 'optxlr == 4')
})
