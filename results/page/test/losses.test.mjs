// What losses are, and whether values of them can be compared: said only where it is so.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from './module.mjs'

const { different, propertiesOf } = await load('comparable')
const { lossesAmong, whyApart } = await load('losses')
const { hasContour } = await load('study')

const model = 'conv-autoencoder'
const loss = (...texts) => ({ loss: { texts } })

test('training losses are compared with those of the same loss', () => {
  const of = (axes, metric = 'train_loss', more = {}) => ({ name: 'a', spec: { model, grid: [{ axes }], objective: { metric }, ...more } })
  const apart = (...studies) => different(propertiesOf(studies))
  assert.deepEqual(apart(of(loss('mse')), of(loss('bce'))), ['objective'])
  assert.deepEqual(apart(of({}), of({}, 'train_loss', { fixed: { loss: { text: 'bce' } } })), ['objective'])
  assert.deepEqual(apart(of({ divergence_weight: { numbers: [1] } }), of({ divergence_weight: { numbers: [4] } })), ['objective'])
  assert.deepEqual(apart(of(loss('mse')), of({})), [])
  assert.deepEqual(apart(of(loss('bce')), of(loss('mse', 'bce'), 'train_loss', { where: 'loss == "bce"' })), [])
  assert.deepEqual(apart(of(loss('mse'), 'validation_loss'), of(loss('bce'), 'validation_loss')), [])
})

test('data sets are the same if their contents are', () => {
  const of = (data, digest) => ({ name: 'a', spec: { model, data, split: { train: 2, validation: 1 } }, data_set: digest && { digest } })
  const apart = (...studies) => different(propertiesOf(studies))
  assert.deepEqual(apart(of('one', 'd1'), of('twin', 'd1')), [])
  assert.deepEqual(apart(of('one', 'd1'), of('one', 'd2')), ['data set'])
  assert.deepEqual(apart(of('one'), of('twin')), ['data set'])
  assert.deepEqual(apart(of('one'), of('one', 'd1')), [])
})

test('curves of several losses are said to be so, unless a condition surely leaves one', () => {
  const of = (where) => ({ spec: { model, where, grid: [{ axes: loss('mse', 'bce') }], objective: { metric: 'train_loss' } } })
  const values = (spec, filter) => lossesAmong(of(spec), 'train_loss', filter)?.values
  for (const [spec, filter, left] of [
    [undefined, '', ['mse', 'bce']],
    [undefined, 'loss == "bce"', []],
    [undefined, "loss in ['bce'] && epochs > 2", []],
    ['loss != "mse"', '', []],
    [undefined, 'loss == "mse"', undefined],
    [undefined, 'loss == "mse" || loss == "bce"', ['mse', 'bce']],
    [undefined, 'loss in ["mse", "bce"]', ['mse', 'bce']],
    [undefined, 'loss == "bce" || epochs > 2', ['mse', 'bce']],
  ]) assert.deepEqual(values(spec, filter), left, `${spec} and ${filter}`)
  const { text } = lossesAmong(of('loss == "bce"'), 'train_loss', '')
  assert.equal(text, 'These training losses are the binary cross-entropy. Validation losses are the mean squared error.')
  assert.doesNotMatch(whyApart({ model }, { values: { loss: { text: 'bce' } } }), /ranked/)
})

test('a contour needs three values of a parameter, of whichever grids', () => {
  const union = (...dims) => hasContour({ grid: dims.map((dim) => ({ axes: { latent_dim: { integers: [String(dim)] }, learning_rate: { log10: { from: 1e-3, to: 1e-2, count: 2 } } } })) })
  assert.equal(union(4, 8, 16), true)
  assert.equal(union(4, 8), false)
})
