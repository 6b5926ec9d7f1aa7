// Sentences agree with their numbers: of one thing as of many.
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { load } from './module.mjs'

const { curvesSaid, epochsBetween, noCurves, noStudies, someOf, trialsSaid, underWay } = await load('sentences')
const { extensionRows, planRows } = await load('plan')

test('what is said of one thing is not said as of many', () => {
  for (const [said, text] of [
    [curvesSaid(1, 0, 'top'), '1 curve.'],
    [curvesSaid(1, 1, 'top'), '1 curve. It reaches the top edge or goes beyond it.'],
    [curvesSaid(20, 0, 'top'), '20 curves; the best one is highlighted.'],
    [curvesSaid(20, 1, 'bottom'), '20 curves; the best one is highlighted. One of them reaches the bottom edge or goes beyond it.'],
    [curvesSaid(2000, 1200, 'top'), '2,000 curves; the best one is highlighted. 1,200 of them reach the top edge or go beyond it.'],
    [noCurves(true, false), 'No run has reported this metric yet.'],
    [noCurves(false, true), 'None of the selected runs has ended an epoch yet.'],
    [trialsSaid(0, false, 0, 0), 'There is no trial.'],
    [trialsSaid(0, true, 0, 0), 'No trial matches the filter.'],
    [trialsSaid(1, false, 1, 1), '1 trial; row 1 in sight'],
    [trialsSaid(1, true, 1, 1), '1 trial matches; row 1 in sight'],
    [trialsSaid(4000, true, 1001, 1020), '4,000 trials match; rows 1,001 to 1,020 in sight'],
    [someOf(1, 1, 'slot'), '1 of 1 slot'],
    [someOf(1, 12, 'curve'), '1 of 12 curves'],
    [epochsBetween(3, 3), 'epoch 3'],
    [epochsBetween(1, 3), 'epochs 1 to 3'],
    [underWay(4, 50, 4.9, 0.2), 'in epoch 4 of 50'],
    [underWay(1, 5000, 40.2, 0), 'in epoch 1 of 5,000 for at least 40 s'],
    [underWay(2, 3, 3, 95), 'in epoch 2 of 3; one takes about 1 min 35 s'],
    [noStudies(['a']), 'There is no study a.'],
    [noStudies(['a', 'b', 'c']), 'There are no studies a, b and c.'],
  ]) assert.equal(said, text)
})

test('a plan of one epoch is not one of several', () => {
  const epochs = (n) => ({ expected: n, low: n, high: n })
  const row = (rows, name) => rows.find((one) => one.name === name)?.text
  for (const [n, already, train] of [[1, '1 epoch, which took 2 s; 0 of 1 run complete; 1 epoch trained again: no checkpoint has it', 'at most 1 epoch'],
    [2, '2 epochs, which took 2 s; 0 of 1 run complete; 2 epochs trained again: no checkpoint has them', 'at most 2 epochs']]) {
    const shared = { epochs_shared: String(n), epochs_again: String(n), seconds_shared: 2 }
    const rows = planRows({}, { trials: '1', runs: '1', epochs: '9', ...shared, forecast: { epochs: epochs(n) } })
    assert.equal(row(rows, 'already trained'), already)
    assert.equal(row(rows, 'to train'), train)
  }
  for (const [n, of] of [[1, '1 is left to train anyway; 1 is trained again: no checkpoint has it'], [2, '2 are left to train anyway; 2 are trained again: no checkpoint has them']]) {
    const plan = { trials: '1', runs: '1', epochs: '1', epochs_before: String(n), epochs_again: String(n), forecast: { epochs: epochs(5) } }
    assert.equal(row(extensionRows({}, plan), 'of these'), of)
  }
})

// Where a number stands before the word for several things, count or someOf says "1 trial" as well. These are never of one.
const several = new Set([
  '{names.length} studies', '{chosen.length} studies', '{seedsOf(one)} seeds', '{near.attempts} attempts', "{run.milestones.join(', ')} epochs",
  '{grouped(results.length + tabled.length)} numbers', '{grouped(grid)} trials', '{advice?.seeds_needed ?? 0} seeds', '{grouped(configurations)} configurations',
  '{cpus} cores',
])

test('numbers before things are counted', async () => {
  const things = 'trials|runs|epochs|curves|studies|attempts|workers|bars|slots|seeds|configurations|points|numbers|bytes|cores|rows|bins|problems|images|machines|columns'
  const before = new RegExp(`\\{[^{}\\n]*(?:\\{[^{}\\n]*\\}[^{}\\n]*)*\\} (?:(?:more|other|earlier|further) )?(?:${things})\\b(?!=)`, 'g')
  const source = new URL('../src/', import.meta.url)
  const unseen = new Set(several)
  for (const file of await readdir(source, { recursive: true })) {
    if (!/\.(ts|svelte)$/.test(file)) continue
    for (const [said] of (await readFile(new URL(file, source), 'utf8')).matchAll(before)) {
      assert.ok(several.has(said), `${file}: ${said}: of one thing this is wrong`)
      unseen.delete(said)
    }
  }
  assert.deepEqual([...unseen], [], 'these are not there any more')
})
