// What the page says of studies: as much as the command line, and nothing that misleads.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { accessible, launch, show, until, untilEqual } from './browser.mjs'
import { run, serve } from './coordinator.mjs'

const study = (name, grid, more = '', time = '1ms') => `name: ${name}\nmodel: synthetic\nsynthetic: {epoch_time: ${time}}\ngrid: ${grid}\n${more}`
const program = (name, command, metric, grid) => `name: ${name}\nprogram: {command: [sh, -c, '${command}']}\nobjective: ${metric}\ngrid: ${grid}\n`

let coordinator, browser
before(async () => {
  coordinator = await serve()
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await coordinator?.close()
})
const open = (t, path, options) => show(browser, t, path, { at: coordinator.page, refused: false, ...options })
const cli = (...args) => run(...args, '--coordinator', coordinator.address)
/** said is what a command says, with single spaces. */
const said = async (...args) => (await cli(...args)).replace(/\s+/g, ' ')
const words = async (page, selector) => (await page.locator(selector).allInnerTexts()).join('\n').replace(/\s+/g, ' ')

test('a failed run says why once, with its lines, and its attempts have room', async (t) => {
  await coordinator.submit(program('broken', 'echo first >&2; echo second >&2; exit 3', '{metric: loss, direction: minimize}', '{lr: [0.1, 0.2], max_epochs: 3}'), '--watch').catch(() => {})
  const page = await open(t, '/studies/broken')
  await page.getByText('There is no best configuration: all trials failed.').waitFor()
  await page.locator('.head').getByText('completed, all failed').waitFor()
  await page.getByRole('heading', { name: 'Failed runs' }).waitFor()
  assert.match(await words(page, '.counts'), /2 trials in 2 runs/)
  assert.match(await words(page, 'section[aria-labelledby=failures]'), /2 runs: [^:]*: it exited with code 3; its last output: second/)
  await page.goto(coordinator.page + '/studies/broken/trials/0')
  await page.getByRole('heading', { name: 'Why it failed' }).waitFor()
  assert.match(await page.locator('.failure pre').innerText(), /first\nsecond/)
  assert.equal(await page.getByText('first').filter({ visible: true }).count(), 1)
  assert.equal(await page.getByText('Nothing was reported yet').count(), 0)
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 800 })
    const attempts = page.locator('section[aria-labelledby=attempts] li')
    await attempts.first().waitFor()
    assert.equal(await attempts.count(), 3)
    for (const span of await attempts.locator('span').all()) await until(async () => (await span.boundingBox())?.height < 50, () => span.innerText())
    await accessible(page, `a failed run at ${width} pixels`)
    await page.goto(coordinator.page + '/studies/broken')
    await page.getByRole('heading', { name: 'Failed runs' }).waitFor()
    await accessible(page, `failed runs at ${width} pixels`)
    await page.goto(coordinator.page + '/studies/broken/trials/0')
  }
})

test('what others change is seen at once', async (t) => {
  await coordinator.submit(study('changed', '{latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 5000}', '', '100ms'))
  const page = await open(t, '/studies/changed', { refused: true })
  const head = page.locator('.head')
  await head.getByText('running').waitFor()
  await page.goto(coordinator.page + '/studies/changed/trials/0')
  const attempts = page.locator('section[aria-labelledby=attempts] li')
  await attempts.getByText('running').waitFor()
  assert.equal(await attempts.count(), 1)
  await page.locator('h2').getByText('running').waitFor()
  await cli('pause', 'changed')
  await head.getByText('paused').waitFor()
  await page.getByText(/ left$/).waitFor({ state: 'detached' })
  await cli('resume', 'changed')
  await head.getByText('running').waitFor()
  await head.getByRole('button', { name: 'Resume' }).waitFor({ state: 'detached' })
  await cli('cancel', 'changed')
  await head.getByText('canceled').waitFor()
  await cli('delete', '--yes', 'changed')
  await page.getByText('The study was deleted.').waitFor()
  await page.getByRole('button', { name: 'Delete' }).waitFor({ state: 'detached' })
})

test('a run whose epochs take long says which one it is in, and for how long', async (t) => {
  await coordinator.submit(study('slow', '{latent_dim: 4, learning_rate: 1e-3, max_epochs: 3}', '', '10m'))
  const page = await open(t, '/studies/slow/trials/0', { refused: true })
  const attempt = page.locator('section[aria-labelledby=attempts] li')
  await attempt.getByText(/^in epoch 1 of 3 for at least \d/).waitFor()
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 800 })
    await accessible(page, `a slow run at ${width} pixels`)
  }
  await cli('cancel', 'slow')
  await attempt.getByText(/^in epoch/).waitFor({ state: 'detached' })
})

test('the overview of a sample says so, and offers only what works', async (t) => {
  await coordinator.submit(study('sampled', '{latent_dim: {step: {from: 2, to: 64, by: 2}}, learning_rate: {log10: {from: 1e-4, to: 1e-1, count: 101}}, max_epochs: 12}',
    'order: random\nbudget: {trials: 30}\npruning: {asha: {}}\n'), '--watch')
  const page = await open(t, '/studies/sampled')
  const best = await said('best', 'sampled')
  await page.getByText('The study is a sample: ').waitFor()
  let answer
  for (const pattern of [/With one seed, [^:]*: put seeds: \[1, 2, 3, 4, 5\] into the spec/, /\d+ trials were left out: .* --pruned/, /The study is a sample: [^.]*\. A better one may be among the others\./]) {
    const [sentence] = pattern.exec(best) ?? assert.fail(`${pattern} isn't in ${best}`)
    await until(async () => (answer = await words(page, '.answer')).includes(sentence), () => `${sentence}\nisn't in\n${answer}`)
  }
  assert.ok(!answer.includes('trellis extend'), answer)
  await page.getByRole('link', { name: 'Submit one with them' }).click()
  await page.getByRole('button', { name: 'Submit sampled-2' }).waitFor()
  assert.match(await page.getByRole('textbox', { name: 'Spec' }).inputValue(), /^seeds: \[1, 2, 3, 4, 5\]$/m)
})

test('equal trials, and those that diverge later, are described as on the command line', async (t) => {
  await coordinator.submit(program('ties', 'for e in 1 2 3; do echo "{{\\"epoch\\": $e, \\"acc\\": 0.5}}" >> $TRELLIS_REPORTS; done',
    '{metric: acc, direction: maximize}', '{lr: [0.1, 0.2, 0.3], max_epochs: [2, 3]}'), '--watch')
  const page = await open(t, '/studies/ties')
  const why = /ranked lower because it is longer or stands later in the grid/
  assert.match(await said('best', 'ties'), why)
  await page.getByText(/has the same acc, and ranks lower because it is longer or stands later in the grid/).waitFor()
  await page.getByText('was first reached by').waitFor()
  assert.match(await words(page, 'section[aria-labelledby=history] p'), /The best acc, 0.5, was first reached by trial \d, when \d trials? had (its result|results)\./)
  assert.equal((await (await fetch(coordinator.page + '/api/v1/studies/ties/history')).json()).steps_total, '1')

  // The synthetic model's losses are finite until epoch 4.
  await coordinator.submit(study('late', '{latent_dim: [4, 8], learning_rate: 0.25, max_epochs: 9}'), '--watch')
  await page.goto(coordinator.page + '/studies/late')
  const later = 'result of the epochs before one whose validation loss was no finite number'
  assert.match(await said('report', 'late'), new RegExp(`diverged later 2 ${later}`))
  await page.getByText(later).waitFor()
  assert.equal(await page.getByText('stopped early').count(), 0)
  await page.goto(coordinator.page + '/studies/late/trials/0')
  await page.getByText('it diverged: epoch 5 had no finite loss').waitFor()
  await page.getByText('epochs 1 to 5').waitFor()
})

test('epochs are counted as on the command line, and what a study waits for is said', async (t) => {
  await coordinator.submit(study('first', '{latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 5}'), '--watch')
  await coordinator.submit(study('second', '{latent_dim: [4, 8, 16], learning_rate: 1e-3, max_epochs: 7}'), '--watch')
  const page = await open(t, '/studies/second')
  const [, epochs] = /epochs (\d+ trained, \d+ from other studies)/.exec(await said('study', 'second'))
  await page.locator('.counts').getByText(epochs.replace(' trained', ' epochs trained')).waitFor()
  await page.locator('section[aria-labelledby=sources]').getByText(epochs.replace(' trained', ' epochs trained')).first().waitFor()
  await coordinator.submit(study('third', '{latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 5}'), '--watch')
  await page.goto(coordinator.page + '/compare?study=second&study=third')
  await untilEqual(() => page.getByRole('row', { name: /^epochs/ }).locator('td').allInnerTexts(), ['21, 10 from other studies', '10, all from other studies'])
  await coordinator.submit(`name: large\nprogram: {command: ["true"]}\nresources: {memory: 900TiB}\nobjective: {metric: loss, direction: minimize}\ngrid: {lr: 0.1}\n`)
  await page.goto(coordinator.page + '/studies/large')
  const [, why] = /waiting for (a worker that has what a run needs: [^.]*)\./.exec(await said('study', 'large'))
  await page.getByText(`Waits for ${why}`).waitFor()
  await page.locator('.head').getByText('running, waits').waitFor()
  assert.match(await words(page, '.counts'), /1 trial in 1 run · 0 epochs trained, at most 1 left$/)
})

test('axes that begin or end with 0 are varied, and say so', async (t) => {
  await coordinator.submit(study('linear', '{latent_dim: 4, learning_rate: 1e-3, weight_decay: {linear: {from: 0, to: 0.01, count: 3}}, max_epochs: 1}'), '--watch')
  await coordinator.submit(study('stepped', '{latent_dim: 4, learning_rate: 1e-3, weight_decay: {step: {from: 0, to: 0.01, by: 0.005}}, max_epochs: 1}'), '--watch')
  const page = await open(t, '/compare?study=linear&study=stepped')
  const decays = page.getByRole('row', { name: /^weight decay/ }).last().locator('td')
  await untilEqual(() => decays.allInnerTexts(), ['3 from 0 to 0.01', 'from 0 to 0.01 by 0.005'])
  // What neither has varied is said once, and has no rows.
  await page.getByText(/^Rows in bold differ between the studies\. The same in all: latent dim 4, learning rate 0\.001, .*max epochs 1\.$/).waitFor()
  assert.equal(await page.getByRole('row', { name: /^(latent dim|learning rate|max epochs)/ }).count(), 0)
  await page.goto(coordinator.page + '/studies/stepped')
  await page.locator('.answer dl > div:not(.muted)').filter({ hasText: 'weight decay' }).waitFor()
})

test('a chart of some of the trials says how many they are, and of how many', async (t) => {
  await coordinator.submit(study('some', '{latent_dim: [4, 8, 16], learning_rate: 1e-3, max_epochs: 1}'), '--watch')
  for (const [view, basis, text] of [
    ['parameters', { read: '46000', total: '46000', met: '46000' }, 'Shown: 3 of 46,000 trials with results, evenly over their ranks.'],
    ['parameters', { read: '2000', total: '46000', met: '1000' }, 'A sample: 2,000 of 46,000 trials with results.'],
    ['curves', { read: '46000', total: '46000', met: '46000' }, 'Shown: 1,000 of 46,000 trials with results, the best ones and others evenly over their ranks, with one curve for each run.'],
  ]) {
    const page = await open(t, '/studies/some')
    await page.route(/api\/v1\/studies\/some\/(points|curves)/, async (route) => {
      const response = await route.fetch()
      const answer = await response.json()
      await route.fulfill({ response, json: { ...answer, basis: { ...answer.basis, exact: false, ...basis } } })
    })
    await page.goto(`${coordinator.page}/studies/some/${view}`)
    await page.getByText(text).waitFor()
  }
})

test('what is submitted has a name that is free', async (t) => {
  await coordinator.submit(study('quick', '{latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}'))
  const page = await open(t, '/submit', { refused: true }) // The tests' coordinator may have no MNIST.
  const spec = page.getByRole('textbox', { name: 'Spec' })
  await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('name: quick-2'))
  assert.match(await spec.inputValue(), /^name: quick-2$/m)
  assert.equal(await page.getByText('already exists').count(), 0)
})

test('on a telephone, the current tab and what matters of lists are in sight', async (t) => {
  await coordinator.submit(study('narrow', '{latent_dim: [4, 8], learning_rate: [1e-3, 3e-3], max_epochs: 2}'), '--watch')
  const page = await open(t, '/studies/narrow/trials', { width: 390 })
  const inside = async (locator) => {
    let place
    await until(async () => (place = await locator.boundingBox()) && place.x >= 0 && place.x + place.width <= 390,
      () => `${place?.x} to ${place?.x + place?.width}`)
  }
  await page.getByText('4 trials;').waitFor()
  await inside(page.locator('.tabs a[aria-current]'))
  await inside(page.getByRole('columnheader', { name: /^validation loss/ }))
  await page.goto(coordinator.page + '/')
  await inside(page.getByRole('row', { name: /narrow/ }).getByText(/^0\.\d+$/))
  await page.goto(coordinator.page + '/events')
  await inside(page.getByRole('link', { name: 'narrow' }).first())
})

test('what an audit has refuted is said, and what a digest covers', async (t) => {
  // Its second epoch has the number of its process.
  const random = 'echo "{\\"epoch\\": 1, \\"val_acc\\": 0.5}" >> $TRELLIS_REPORTS; echo "{\\"epoch\\": 2, \\"val_acc\\": 0.1$$}" >> $TRELLIS_REPORTS'
  const declared = (spec) => spec.replace(']}', '], deterministic: true}')
  await coordinator.submit(declared(program('random', random.replaceAll('{', '{{').replaceAll('}', '}}'), '{metric: val_acc, direction: maximize}', '{lr: [1, 2], max_epochs: 2}')) + 'audit: 1\n', '--watch')
  const page = await open(t, '/studies/random')
  const [text] = /The program is not deterministic: in epoch 2 of trial .*? specs of this program\./.exec(await said('study', 'random')) ?? []
  assert.ok(text, 'the command line does not say it')
  await page.getByText(text, { exact: true }).waitFor()
  await page.locator('.digest').getByText('(not reproducible: the program is not deterministic)', { exact: true }).waitFor()
  await coordinator.submit(study('unfinished', '{latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 10000}', '', '1s'))
  await page.goto(coordinator.page + '/studies/unfinished')
  await page.locator('.digest').getByText('(of the results so far)', { exact: true }).waitFor()
  await cli('cancel', 'unfinished')
  await page.locator('.digest').getByText('of the results so far').waitFor({ state: 'detached' })
})

test('a trial has its own epochs, whatever its run serves', async (t) => {
  await coordinator.submit(study('lengths', '{latent_dim: 5, learning_rate: 3e-3, max_epochs: [2, 5]}'), '--watch')
  const page = await open(t, '/studies/lengths/trials/0')
  const terms = async () => words(page, 'section[aria-labelledby=parameters]')
  await page.getByText('its run serves trials of').waitFor()
  assert.match(await terms(), /max epochs 2 .*\bepochs 2\b/)
  assert.doesNotMatch(await terms(), /ended by/) // That of its run.
  await page.goto(coordinator.page + '/studies/lengths/trials/1')
  await page.getByText('ended by').waitFor()
  assert.match(await terms(), /max epochs 5 .*\bepochs 5\b.*ended by max epochs/)
})

test('a trial that has ended says so while its run goes on', async (t) => {
  await coordinator.submit(study('onward', '{latent_dim: 6, learning_rate: 3e-3, max_epochs: [1, 5000]}', '', '100ms'))
  const page = await open(t, '/studies/onward/trials/0')
  const heading = page.locator('h2').filter({ hasText: 'Trial 0' })
  await heading.getByText('succeeded').waitFor()
  await heading.getByText('running').waitFor()
  assert.match((await heading.innerText()).replace(/\s+/g, ' '), /^Trial 0 succeeded, its run [0-9a-f]{8} running$/)
  await cli('cancel', 'onward')
})
