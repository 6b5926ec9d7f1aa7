// Numbers for people.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { load } from './module.mjs'

const { enumerate, told } = await load('number')
const { textsOf } = await load('study')

test('numbers beside each other are short, and as long as it takes to tell them apart', () => {
  for (const [values, texts] of [
    [[0.11, 0.12, 0.13], ['0.11', '0.12', '0.13']],
    [[0.12, 0.1205, 0.121], ['0.12', '0.1205', '0.121']],
    [[0.000215443469, 0.000464158883], ['0.000215', '0.000464']],
    [[1000, 1000.001], ['1000', '1000.001']],
    [[5, 5], ['5', '5']],
    [[0.5, 1024, 4096], ['0.5', '1024', '4096']],
    [[0.18225, 0.182, 0.18175], ['0.18225', '0.182', '0.18175']],
    [[1048576, 2097152, -2048], ['1048576', '2097152', '−2048']],
    [[0.1, 1 / 3, 2 / 3], ['0.1', '0.333', '0.667']],
    [[10, 10 + 1 / 30, 10 + 2 / 30], ['10', '10.0333', '10.0667']],
    [[Math.PI], ['3.14']],
    [[1e15, 1e15 + 1], ['1e15', '1e15']],
    [[], []],
  ]) assert.deepEqual(told(values), texts)
})

test('the values of an axis are what they are', () => {
  assert.deepEqual(textsOf([1024, 2048, 4096].map((number) => ({ number }))), ['1024', '2048', '4096'])
  assert.deepEqual(textsOf([{ number: 0.000215443469 }, { integer: '12345678' }, { text: 'a' }]), ['0.000215', '12345678', 'a'])
})

test('parts are enumerated as people do', () => {
  assert.deepEqual([[], ['a'], ['a', 'b'], ['a', 'b', 'c']].map(enumerate), ['', 'a', 'a and b', 'a, b and c'])
})
