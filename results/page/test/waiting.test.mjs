// What a study waits for, in words.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from './module.mjs'

const { missing } = await load('waiting')

test('a study that waits for memory says what the largest worker has, if there is one', () => {
  const needs = 'a worker with 5.0 GiB of memory, for a run of the largest network and its data'
  const giga = 2 ** 30
  for (const [largest, said] of [
    [undefined, ''],
    [String(2 * giga), '; the largest worker that may train it has 2.0 GiB'],
    [String(5 * giga - 1), '; the largest worker that may train it has a little less'],
  ]) {
    const why = { reason: 'WAITING_REASON_TOO_LARGE', memory: String(5 * giga), largest_memory: largest }
    assert.equal(missing({ model: 'conv-autoencoder' }, why), `${needs}${said}. See Workers for what there is`)
  }
})
