// What a map of the grid leaves blank: a reason is given only where it is one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from './module.mjs'

const { blankOf } = await load('blank')

test('what is left blank has a reason that is true', () => {
  const exact = { basis: { exact: true }, indices: '5' }
  const map = { ...exact, columns: 2, rows: 1, x: { name: 'a', values: [{}, {}] }, y: { name: 'b', values: [{}] } }
  const spec = (where, grids = 1) => ({ where, grid: Array(grids).fill({}) })
  const again = 'an extension numbers its whole grid, and trials from before keep their numbers'
  for (const [study, answer, totals, two, text] of [
    [{ spec: spec('a > 1', 2) }, map, [1, 0], true, '1 combination has no trial: where leaves them out, or no grid of the study has them'],
    [{ spec: spec('a > 1') }, map, [1, 0], true, '1 combination has no trial: where leaves them out'],
    [{ spec: spec('', 2) }, map, [0, 0], true, '2 combinations have no trial: no grid of the study has them'],
    [{ spec: spec('', 2) }, { ...map, x: { name: 'a', levels: 9 } }, [1, 0], true, '1 cell of several combinations has no trial: no grid of the study has them'],
    [{ spec: spec('', 2) }, { ...map, basis: {} }, [1, 0], true, ''],
    [{ spec: spec('') }, exact, [1, 2], false, '2 numbers have no trial'],
    [{ spec: spec(''), earlier_specs: [{}] }, exact, [1, 2], false, '2 numbers have no trial: ' + again],
    [{ spec: spec('a > 1'), extensions: [{}] }, exact, [4], false, '1 number has no trial: where leaves them out, or ' + again],
  ]) assert.equal(blankOf(study, answer, totals, two), text)
})
