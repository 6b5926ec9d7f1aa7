// What charts say must be so: curves are not cut off unsaid, few trials are seen, the keyboard reaches what the mouse does.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { launch, placeOf, show, until } from './browser.mjs'
import { serve } from './coordinator.mjs'

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
  await page.getByText(/^20 curves; the best one is highlighted\. 2 of them reach the top of what is shown/).waitFor()
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
  await page.getByText(/ bars, workers: 1/).waitFor()
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
  await page.getByText(/^2 bars, workers: 1/).waitFor()
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
