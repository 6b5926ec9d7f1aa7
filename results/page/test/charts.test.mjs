// What charts say must be so: curves are not cut off unsaid, few trials are seen, the keyboard reaches what the mouse does.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { launch, placeOf, show, until, untilEqual } from './browser.mjs'
import { run, serve } from './coordinator.mjs'

// The best curve begins far above all others.
const steep = `
name: steep
program:
  command: [sh, -c, 'for e in 1 2 3 4 5 6 7 8 9 10; do case {lr}:$e in 1:1) v=500;; 1:*) v=0.1;; 2:1) v=300;; *) v=1.{lr};; esac; echo "{{\\"epoch\\": $e, \\"loss\\": $v, \\"other\\": $e}}" >> $TRELLIS_REPORTS; done']
objective: {metric: loss, direction: minimize}
grid: {lr: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], max_epochs: 10}
`
// Of a large grid, few trials are trained.
const sparse = `
name: sparse
model: synthetic
synthetic: {epoch_time: 1ms}
grid: {latent_dim: {linear: {from: 1, to: 100, count: 100}}, learning_rate: {log10: {from: 1e-4, to: 1e-1, count: 100}}, max_epochs: 3}
budget: {trials: 12}
order: random
`

let coordinator, browser
before(async () => {
  coordinator = await serve()
  await coordinator.submit(steep, '--watch')
  await coordinator.submit(sparse, '--watch')
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await coordinator?.close()
})

const open = (t, path, options) => show(browser, t, path, { at: coordinator.page, ...options })
const api = async (path) => (await fetch(coordinator.page + '/api/v1' + path)).json()

/** coloured are the pixels of a canvas in a colour of the style sheet, within a box in CSS pixels from its corner. */
const coloured = (canvas, name, box) => canvas.evaluate((canvas, { name, box }) => {
  const before = canvas.style.color
  canvas.style.color = `var(--${name})`
  const [r, g, b] = getComputedStyle(canvas).color.match(/\d+/g).map(Number)
  canvas.style.color = before
  const { left = 0, top = 0, right = canvas.clientWidth, bottom = canvas.clientHeight } = box ?? {}
  const { data } = canvas.getContext('2d').getImageData(left, top, right - left, bottom - top)
  const found = []
  for (let i = 0; i < data.length; i += 4) {
    if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 24 && data[i + 3] > 200) {
      found.push([left + (i / 4) % (right - left), top + Math.floor(i / 4 / (right - left))])
    }
  }
  return found
}, { name, box })

test('the best curve is shown whole, and how many are cut is said', async (t) => {
  const page = await open(t, '/studies/steep/curves')
  await page.getByText(/^20 curves; the best one is highlighted\. 2 of them reach the top edge or go beyond it/).waitFor()
  const canvas = page.getByRole('img', { name: '20 learning curves' })
  // It begins at the top left, which is 500 in this range.
  const drawn = async (box) => (await coloured(canvas, 'best', box)).length
  await until(() => drawn({ left: 64, right: 70, top: 8, bottom: 20 }), 'the beginning of the best curve is not in the frame')
  // From its second epoch on, it is the lowest, and as thick as elsewhere.
  const { height } = await canvas.boundingBox()
  assert.ok(await drawn({ left: 500, right: 501, top: height - 60, bottom: height - 44 }) >= 2, 'the best curve is cut at the edge')
  await page.getByRole('heading', { name: 'The best by loss, one trial for each run' }).waitFor()
  // Keys go through the curves, the best first, and open one.
  await page.getByRole('button', { name: /^Curves/ }).focus()
  await page.keyboard.press('ArrowDown')
  await page.getByText(/^trial 0, 0\.1: click/).waitFor()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  await page.waitForURL(/trials\/\d+$/)
})

test('views are there without formatters of the browser, which take long, and the icon is asked for once', async (t) => {
  const page = await open(t, '/nowhere')
  await page.addInitScript(() => {
    globalThis.made = []
    for (const name of ['NumberFormat', 'DateTimeFormat']) {
      Intl[name] = new Proxy(Intl[name], { construct: (its, given) => { globalThis.made.push(name); return new its(...given) } })
    }
  })
  for (const [path, shown] of [['', '.u-over'], ['/curves', 'canvas.overlay'], ['/parameters', 'canvas'], ['/coverage', 'canvas'], ['/trials', 'tbody a']]) {
    await page.goto(`${coordinator.page}/studies/steep${path}`)
    await page.locator(shown).first().waitFor()
    assert.deepEqual(await page.evaluate(() => globalThis.made), [], path)
  }
  const icons = () => page.evaluate(() => performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/icon.svg')).map((one) => one.initiatorType))
  await until(async () => (await icons()).length > 0, 'there is no icon')
  assert.equal((await icons()).includes('img'), false)
})

test('a filter that is wrong leaves the choice of metrics, and draws nothing', async (t) => {
  const page = await open(t, '/studies/steep/curves?metric=other')
  await page.getByText(/^20 curves/).waitFor()
  await page.getByLabel('Filter', { exact: true }).fill('lrr == 1')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByRole('alert').waitFor()
  const metric = page.getByLabel('Metric')
  assert.equal(await metric.inputValue(), 'other')
  assert.ok(await metric.locator('option').count() >= 2)
  assert.equal(await page.getByText('No run has reported').count(), 0)
  // Neither curves nor axes of nothing.
  assert.equal(await page.locator('.canvases canvas').first().evaluate((canvas) =>
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one > 0)), false)
})

test('the few trials of a large grid are seen, read and opened, by mouse and keys', async (t) => {
  const page = await open(t, '/studies/sparse/coverage?x=latent_dim&y=learning_rate')
  const map = page.getByRole('img', { name: /^Map of the grid: .*12 succeeded/ })
  await placeOf(map)
  const found = await coloured(map, 'succeeded')
  assert.ok(found.length >= 12 * 20, `${found.length} pixels are of trials that succeeded`)
  const [x, y] = found[0]
  await map.hover({ position: { x: x + 2, y: y + 1 } })
  await page.getByText(/^latent dim \d+( to \d+)?, learning rate .*: .*[1-9]\d* succeeded/).waitFor()
  await map.click({ position: { x: x + 2, y: y + 1 } })
  await page.waitForURL(/\/trials\?where=/)
  const where = new URL(page.url()).searchParams.get('where')
  assert.match(where, /latent_dim/)
  assert.match(where, /learning_rate/)
  const { total } = await api('/studies/sparse/trials?filter=' + encodeURIComponent(where))
  assert.ok(Number(total) >= 1 && Number(total) < 12, `${where}: ${total}`)
  await page.getByText(new RegExp(`^${total} trials?`)).waitFor()
  // In the order of the grid, by keys.
  await page.goto(coordinator.page + '/studies/sparse/coverage')
  await map.waitFor()
  await map.focus()
  await page.keyboard.press('ArrowRight')
  await page.getByText(/^trials 0 to \d+: /).waitFor()
  await page.keyboard.press('Enter')
  await page.waitForURL(/where=index/)
})

test('the heat map is reached by keys', async (t) => {
  const page = await open(t, '/studies/sparse/parameters')
  await page.getByRole('img', { name: /^Contour/ }).waitFor() // It has the same answer.
  const map = page.getByRole('img', { name: /^Heat map/ })
  await map.focus()
  await page.keyboard.press('ArrowUp')
  await page.getByText(/^latent dim .*, learning rate .*: /).first().waitFor()
})

test('the time line of a study that has ended ends with its last attempt', async (t) => {
  const { study } = await api('/studies/sparse')
  await new Promise((done) => setTimeout(done, Math.max(0, Date.parse(study.end_time) + 3000 - Date.now())))
  const page = await open(t, '/studies/sparse/timeline')
  await page.getByText(/ attempts on 1 worker/).waitFor()
  const canvas = page.getByRole('img', { name: /^Time line/ })
  const { width } = await placeOf(canvas)
  assert.ok(Math.max(...(await coloured(canvas, 'succeeded')).map(([x]) => x)) > width - 12, 'the last attempt is not at the end')
})

test('of attempts that are drawn together, as much is failed as have', async (t) => {
  const page = await open(t, '/')
  // 2,000 attempts take long: this is what the API says of so many.
  const [from, middle, to] = ['2026-11-29T10:00:00Z', '2026-11-29T10:00:50Z', '2026-11-29T10:01:40Z']
  await page.route('**/time-line?*', (route) => route.fulfill({ json: {
    workers: ['w'], workers_total: 1, from, to,
    bars: [
      { from, to: middle, attempt: '1', attempts: 8, failed: 2, seconds: 50 },
      { from: middle, to, attempt: '9', attempts: 1, failed: 1, end: 'ATTEMPT_END_FAILED', seconds: 50 },
    ],
  } }))
  await page.goto(coordinator.page + '/studies/sparse/timeline')
  await page.getByText(/^9 attempts on 1 worker, drawn as 2 bars\./).waitFor()
  const canvas = page.getByRole('img', { name: /^Time line/ })
  const of = async (name) => (await coloured(canvas, name)).length
  await until(() => of('succeeded'), 'nothing is drawn')
  // A quarter of the first half, and all of the second one.
  const [failed, succeeded] = [await of('failed'), await of('succeeded')]
  assert.ok(failed / succeeded > 1.4 && failed / succeeded < 2, `${failed} pixels are of failed attempts, ${succeeded} of others`)
})

test('the studies are sorted by their best values', async (t) => {
  const page = await open(t, '/')
  const values = []
  for (const name of ['steep', 'sparse']) values.push([name, (await api(`/studies/${name}/best`)).trial.objective])
  const wanted = values.sort(([, a], [, b]) => a - b).map(([name]) => name)
  const shown = (names) => page.waitForFunction((names) =>
    [...document.querySelectorAll('tbody tr')].map((row) => row.cells[1].textContent.trim()).join() === names, names.join())
  await page.getByRole('button', { name: 'Best' }).click()
  await page.waitForURL(/order=best/)
  await shown(wanted)
  await page.getByRole('button', { name: 'Best' }).click()
  await page.waitForURL(/order=-best/)
  await shown(wanted.reverse())
})

test('best values are asked for a few at a time, until there is an answer', async (t) => {
  const page = await open(t, '/workers') // Nothing there asks for best values.
  const names = ['steep', ...Array.from({ length: 12 }, (_, i) => `copy-${i}`)]
  const { studies } = await api('/studies')
  const copied = { studies: names.map((name) => ({ ...studies.find((study) => study.name === 'steep'), name })) }
  await page.route(/\/api\/v1\/studies(\?|$)/, (route) => route.fulfill({ json: copied }))
  const best = await api('/studies/steep/best')
  const [waiting, asked] = [[], []]
  await page.route('**/studies/*/best', (route) => {
    asked.push(route.request().url())
    waiting.push(route)
  })
  await page.goto(coordinator.page + '/?order=best')
  await until(() => waiting.length === 4, 'four are not asked for')
  // An answer lets the next be asked for, and no more.
  await waiting.shift().fulfill({ json: best })
  await until(() => waiting.length === 4, 'no other is asked for')
  assert.equal(asked.length, 5)
  // One that fails is asked for again, and has no value meanwhile.
  const failing = waiting.shift()
  await failing.abort('connectionreset')
  const filled = () => page.locator('tbody tr').evaluateAll((rows) => rows.filter((row) => /\d/.test(row.cells[5].textContent)).length)
  await until(async () => {
    await Promise.all(waiting.splice(0).map((route) => route.fulfill({ json: best })))
    return await filled() === names.length
  }, 'a study lacks its best value')
  assert.equal(asked.filter((url) => url === failing.request().url()).length, 2)
  assert.equal(await page.locator('tbody').getByText('none').count(), 0)
})

test('what is asked for ends with the view', async (t) => {
  const page = await open(t, '/workers') // Nothing there asks for best values.
  const [begun, ended] = [[], []]
  page.on('requestfailed', (request) => { if (request.url().endsWith('/best')) ended.push(request.url()) })
  await page.route('**/studies/*/best', (route) => { begun.push(route.request().url()) })
  await page.goto(coordinator.page + '/?order=best')
  await until(() => begun.length >= 2, 'no best value is asked for')
  await page.getByRole('link', { name: 'Workers' }).click()
  await until(() => ended.length >= 2, 'the requests go on after the view')
})

test('a distribution has few bins for few trials, and the studies are sorted by progress', async (t) => {
  const page = await open(t, '/studies/sparse')
  await page.getByRole('img', { name: /^How many trials have which validation loss, in [4-8] bins/ }).waitFor()
  await page.goto(coordinator.page + '/')
  await page.getByRole('button', { name: 'Progress' }).click()
  await page.waitForURL(/order=progress/)
  await page.getByRole('button', { name: 'Remaining' }).click()
  await page.waitForURL(/order=remaining/)
  await page.locator('th[aria-sort=ascending]').getByText('Remaining').waitFor()
})

test('quartiles are said where they differ as shown', async (t) => {
  const page = await open(t, '/studies/sparse')
  const said = page.getByText(/Half of the trials lie between/)
  await said.waitFor()
  await page.route(/\/distribution/, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, json: { ...(await response.json()), quartiles: [0.1, 0.47058821, 0.47058823, 0.47058824, 0.9], diverged: '2' } })
  })
  await page.reload()
  await page.getByText(/^2 trials diverged\.$/).waitFor()
  assert.equal(await said.count(), 0)
})

/** written are the texts on a view's canvases, with their places, each canvas by its label. */
async function written(page, path) {
  await page.addInitScript(() => {
    globalThis.texts = new Map()
    const { clearRect, fillText } = CanvasRenderingContext2D.prototype
    CanvasRenderingContext2D.prototype.clearRect = function (...place) {
      globalThis.texts.set(this.canvas, [])
      return clearRect.apply(this, place)
    }
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
      const all = globalThis.texts.get(this.canvas) ?? []
      globalThis.texts.set(this.canvas, [...all, { text, x: Math.round(x), y: Math.round(y) }])
      return fillText.call(this, text, x, y)
    }
  })
  await page.goto(coordinator.page + path)
  return (label) => page.evaluate((label) => [...globalThis.texts].filter(([canvas]) => canvas.isConnected &&
    (canvas.getAttribute('aria-label') ?? canvas.closest('[role=img]')?.getAttribute('aria-label') ?? '').startsWith(label)).flatMap(([, texts]) => texts), label)
}

test('the best curve is the lowest, also before a trial has a result', async (t) => {
  const page = await open(t, '/')
  const base64 = (array) => Buffer.from(array.buffer).toString('base64')
  // Two runs in their first epoch, of which the second is better: level 1, after level 20.
  await page.route('**/curves?*', (route) => route.fulfill({ json: {
    basis: { trials: '2', total: '2' }, metric: 'loss', metrics: ['loss'], keep: 'KEEP_LOWEST', epochs_per_point: 1,
    trials: ['0', '2'], epochs: [1, 1], levels: base64(Uint8Array.of(40, 2)), objectives: base64(Float64Array.of(0.068, 0.062)),
    states: base64(Uint8Array.of(2, 2)), low: 0.062, high: 0.5,
  } }))
  await page.goto(coordinator.page + '/studies/steep/curves')
  await page.getByText(/^2 curves; the best one is highlighted/).waitFor()
  const canvas = page.getByRole('img', { name: '2 learning curves' })
  let best
  await until(async () => (best = await coloured(canvas, 'best')).length > 8, 'the best value is not drawn')
  const { height } = await placeOf(canvas)
  // The axis of epochs takes 44 pixels. The dot is 5 pixels wide or more, all of it.
  const [ys, xs] = [best.map(([, y]) => y), best.map(([x]) => x)]
  assert.ok(Math.min(...ys) > height - 44 - 9 && Math.max(...ys) < height - 44 + 3, ys.join())
  assert.ok(Math.max(...xs) - Math.min(...xs) >= 4, xs.join())
})

test('labels of axes are short, and no two are the same', async (t) => {
  await coordinator.submit(`name: close\nprogram:\n  command: [sh, -c, 'echo "{{\\"epoch\\": 1, \\"loss\\": 0.12{lr}}}" >> $TRELLIS_REPORTS']
objective: {metric: loss, direction: minimize}\ngrid: {lr: [0, 1, 2, 3], decay: {log10: {from: 1e-4, to: 1e-3, count: 4}}, max_epochs: 1}\n`, '--watch')
  const page = await open(t, '/', { width: 390 })
  const texts = await written(page, '/studies/close/parameters')
  // The objectives are 0.12 to 0.123, on the left of each slice.
  await until(async () => (await texts('loss of trials by decay')).length > 4, 'no slice is drawn')
  const left = (await texts('loss of trials by decay')).filter(({ x }) => x < 60).map(({ text }) => text)
  assert.ok(left.length > 2 && new Set(left).size === left.length, left.join())
  assert.ok((await texts('loss of trials by decay')).some(({ text }) => text === '0.000215'))
  await until(async () => (await texts('Heat map of loss over decay and lr')).some(({ text }) => text === '0.000464'), 'no row of the heat map has its name')
  // A trial of one epoch: its axis has no epochs before and after it.
  const curve = await written(page, '/studies/close')
  await until(async () => (await curve('Learning curve of trial')).some(({ text }) => text === 'epoch'), 'no curve is drawn')
  const along = (await curve('Learning curve of trial')).filter(({ text, x }) => /^[\d.]+$/.test(text) && x > 64).map(({ text }) => text)
  assert.deepEqual([...new Set(along)], ['1'])
  await untilEqual(() => page.locator('.u-legend .u-series').allInnerTexts().then((all) => all.map((one) => one.replace(/\s+/g, ' ').trim())), ['epoch1', 'loss0.12'])
  // And a dot among the curves.
  await page.goto(coordinator.page + '/studies/close/curves')
  await page.getByText(/^16 curves/).waitFor()
  const canvas = page.getByRole('img', { name: '16 learning curves' })
  await until(async () => (await coloured(canvas, 'best')).length > 8, 'the best value is not drawn')
})

test('losses that can\'t be compared have no axis in common, or it is said', async (t) => {
  const spec = (name, more) => `name: ${name}\ndata: mnist\nmodel: conv-autoencoder\nsplit: {train: 256, validation: 128}\ngrid: {latent_dim: 4, filters: 2, learning_rate: 1e-3, max_epochs: 2${more}}\n`
  await coordinator.submit(spec('lossy', ', loss: [mse, bce]'), '--watch')
  await coordinator.submit(spec('plain', ''), '--watch')
  const { trials } = await api('/studies/lossy/trials')
  const of = (loss) => trials.find((trial) => trial.parameters.values.loss.text === loss).index ?? '0'
  const page = await open(t, `/studies/lossy/trials/${of('bce')}`)
  const legends = () => page.locator('.u-legend').evaluateAll((all) => all.map((one) => [...one.querySelectorAll('.u-label')].map((label) => label.textContent)))
  const [training, validation] = ['training loss, binary cross-entropy', 'validation loss, mean squared error']
  await untilEqual(legends, [['epoch', validation], ['epoch', training]])
  await page.getByText('The training loss (binary cross-entropy) and the validation loss (mean squared error) are different quantities').waitFor()
  await page.goto(`${coordinator.page}/studies/lossy/trials/${of('mse')}`)
  await untilEqual(legends, [['epoch', 'training loss, mean squared error', validation]])
  await page.goto(`${coordinator.page}/studies/plain/trials/0`)
  await untilEqual(legends, [['epoch', 'training loss', 'validation loss']])
  // Of many curves, one kind can be chosen.
  await page.goto(`${coordinator.page}/studies/lossy/curves`)
  await page.getByText('All validation losses are the mean squared error, whatever a trial is trained on.').waitFor()
  await page.getByLabel('Metric').selectOption('train_loss')
  const mixed = page.getByText(/^These training losses are different quantities, which can't be compared: the mean squared error where loss is mse, the binary cross-entropy where loss is bce\./)
  await mixed.waitFor()
  await page.getByRole('button', { name: 'Only bce' }).click()
  await page.getByText(/^1 curve\./).waitFor()
  await mixed.waitFor({ state: 'detached' })
  assert.equal(new URL(page.url()).searchParams.get('where'), 'loss == "bce"')
  await page.goto(`${coordinator.page}/studies/plain/curves?metric=train_loss`)
  await page.getByText(/^1 curve\./).waitFor()
  assert.equal(await page.getByRole('note').count(), 0)
})

test('values that can\'t be compared are not ranked, and why is said', async (t) => {
  const spec = (name, model, split, more = '') => `name: ${name}\ndata: mnist\nmodel: ${model}\nsplit: ${split}\ngrid: {latent_dim: 4, filters: 2, learning_rate: 1e-3, max_epochs: 1}\n${more}`
  const small = '{train: 256, validation: 128}'
  for (const [name, ...more] of [
    ['first', 'conv-autoencoder', small], ['again', 'conv-autoencoder', '{train: 128, validation: 128}'], ['split', 'conv-autoencoder', '{train: 256, validation: 64}'],
    ['noisy', 'denoising-autoencoder', small, 'fixed: {noise: 0.5}\n'], ['last', 'conv-autoencoder', small, 'objective: {of: last}\nearly_stopping: {patience: 3}\n'],
  ]) await coordinator.submit(spec(name, ...more), '--watch')
  const page = await open(t, '/')
  const cells = (name) => page.getByRole('row', { name: new RegExp('^' + name) }).first().locator('td').allInnerTexts()
  for (const [other, row, texts, differ] of [
    ['split', 'split', ['256 to train, 128 to validate', '256 to train, 64 to validate'], 'split differs'],
    ['noisy', 'model', ['conv-autoencoder', 'denoising-autoencoder'], 'model differs'],
    ['last', 'objective', ['lowest validation loss', 'lowest validation loss (last)'], 'objective differs'],
    // The values are of the same images.
    ['again', 'split', ['256 to train, 128 to validate', '128 to train, 128 to validate'], ''],
  ]) {
    await page.goto(`${coordinator.page}/compare?study=first&study=${other}`)
    await untilEqual(() => cells(row), texts)
    await untilEqual(() => cells('data set'), ['mnist', 'mnist'])
    assert.equal(await page.title(), `Compare first, ${other} · Trellis`)
    const said = page.getByText(`The values of these studies can't be compared, and none is called the best: ${differ}.`)
    assert.equal(await said.count(), differ ? 1 : 0, other)
    assert.equal(await page.locator('.values td').filter({ hasText: '(best)' }).count(), differ ? 0 : 1, other)
  }
  // On a telephone, both are in sight.
  await page.setViewportSize({ width: 390, height: 800 })
  await until(() => page.locator('.values td').evaluateAll((all) => all.every((one) => one.getBoundingClientRect().right <= innerWidth)), 'a value is out of sight')
})

test('what a map of the grid leaves blank is said', async (t) => {
  const spec = (name, grid) => `name: ${name}\nmodel: synthetic\nsynthetic: {epoch_time: 1ms}\n${grid}\n`
  await coordinator.submit(spec('grown', 'grid: {latent_dim: [4, 8], learning_rate: [1e-3, 1e-2], max_epochs: 3}'), '--watch')
  await run('extend', '--coordinator', coordinator.address, 'grown', '--add', 'latent_dim=16')
  const page = await open(t, '/studies/grown/coverage')
  await page.getByText('4 numbers have no trial: an extension numbers its whole grid, and trials from before keep their numbers').waitFor()
  await page.goto(coordinator.page + '/studies/grown/coverage?x=latent_dim&y=learning_rate')
  await page.getByRole('img', { name: /^Map of the grid: 6 succeeded/ }).waitFor()
  assert.equal(await page.getByText('no trial').count(), 0)
  await coordinator.submit(spec('union', 'grid:\n  - {latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 3}\n  - {latent_dim: 16, learning_rate: 1e-2, max_epochs: 3}'), '--watch')
  await page.goto(coordinator.page + '/studies/union/coverage?x=latent_dim&y=learning_rate')
  await page.getByText('3 combinations have no trial: no grid of the study has them').waitFor()
  await coordinator.submit(spec('without', 'grid: {latent_dim: [4, 8], learning_rate: [1e-3, 1e-2], max_epochs: 3}\nwhere: latent_dim == 4 || learning_rate < 5e-3'), '--watch')
  await page.goto(coordinator.page + '/studies/without/coverage?x=latent_dim&y=learning_rate')
  await page.getByText('1 combination has no trial: where leaves them out').waitFor()
  // Of two values by two, there is a heat map and no contour.
  await page.goto(coordinator.page + '/studies/without/parameters')
  await page.getByRole('heading', { name: 'Heat map', exact: true }).waitFor()
  await page.getByRole('img', { name: /^Heat map/ }).waitFor()
  assert.equal(await page.getByText('Contour').count(), 0)
})

test('the slice of a long axis is the best of neighboring values', async (t) => {
  const page = await open(t, '/studies/sparse')
  const base64 = (array) => Buffer.from(array.buffer).toString('base64')
  const n = 400
  // Every other value is good: a line through the best of each would go up and down everywhere.
  await page.route('**/studies/sparse/points?*', (route) => route.fulfill({ json: {
    basis: { exact: true }, axes: [{ name: 'latent_dim', levels: n, values: Array.from({ length: n }, (_, i) => ({ integer: String(i + 1) })) }],
    levels: [base64(Uint32Array.from({ length: n }, (_, i) => i))], objectives: base64(Float64Array.from({ length: n }, (_, i) => (i % 2 ? 1 : 2))),
    trials: Array.from({ length: n }, (_, i) => String(i)), ranks: [],
  } }))
  await page.goto(coordinator.page + '/studies/sparse/parameters')
  await page.getByText('a line joins the best at each value, or, where these are too many, is the best of neighboring ones').waitFor()
  const slice = page.getByRole('img', { name: /^validation loss of trials by latent dim/ })
  const { width } = await placeOf(slice)
  await until(async () => (await coloured(slice, 'best')).length > 0, 'no line is drawn')
  const line = await coloured(slice, 'best')
  const [low, high] = [Math.min(...line.map(([, y]) => y)), Math.max(...line.map(([, y]) => y))]
  assert.ok(high - low <= 3, `the line goes up and down between ${low} and ${high}`)
  assert.ok(new Set(line.map(([x]) => x)).size > (width - 68) * 0.9, 'the line does not go all along the axis')
})
