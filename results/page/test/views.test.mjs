// The page in Chromium, on a coordinator with a worker: npm test, after make trellis.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { accessible, launch, placeOf, show, until, untilEqual } from './browser.mjs'
import { run, serve, serveSecured } from './coordinator.mjs'

const small = `
name: small
model: synthetic
synthetic: {epoch_time: 2ms}
grid: {latent_dim: [4, 8, 16], learning_rate: [1e-3, 1e-2], max_epochs: [5, 10]}
seeds: [1, 2]
`
const long = `
name: long
model: synthetic
synthetic: {epoch_time: 100ms}
grid: {latent_dim: [4, 8, 16, 32], learning_rate: {log10: {from: 1e-4, to: 1e-1, count: 7}}, max_epochs: 5000}
`

// Most of it is never trained.
const large = `
name: large
model: synthetic
synthetic: {epoch_time: 1s}
grid: {latent_dim: {linear: {from: 1, to: 200, count: 200}}, learning_rate: {log10: {from: 1e-4, to: 1e-1, count: 1000}}, weight_decay: [0, 1e-4], max_epochs: 5000}
`

let coordinator, browser
before(async () => {
  coordinator = await serve()
  await coordinator.submit(small, '--watch')
  await coordinator.submit(large)
  await run('pause', '--coordinator', coordinator.address, 'large')
  await coordinator.submit(long)
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await coordinator?.close()
})

const open = (t, path, options) => show(browser, t, path, { at: coordinator.page, ...options })

const api = async (path) => (await fetch(coordinator.page + '/api/v1' + path)).json()

test('the studies, and the way to one', async (t) => {
  const page = await open(t, '/')
  await page.getByRole('row', { name: /small/ }).getByText('completed').waitFor()
  await page.getByRole('row', { name: /long/ }).getByText('running').waitFor()
  await page.getByLabel('State').selectOption('completed')
  await page.getByRole('link', { name: 'long' }).waitFor({ state: 'detached' })
  assert.match(page.url(), /state=completed/)
  await page.getByRole('link', { name: 'small' }).click()
  await page.getByRole('heading', { level: 1, name: /small/ }).waitFor()
  await page.goBack()
  await page.getByRole('heading', { level: 1, name: 'Studies' }).waitFor()
})

test('the answer of a study is the API\'s', async (t) => {
  const page = await open(t, '/studies/small')
  const best = await api('/studies/small/best')
  const value = String(Number(best.verdict.best.mean.toPrecision(6)))
  await page.getByText(value, { exact: true }).waitFor()
  const { report } = await api('/studies/small/report')
  await page.getByText(report.digest).waitFor()
  await page.getByRole('heading', { name: 'What matters' }).waitFor()
  await page.locator('.u-over').waitFor()
})

test('trials are sorted, filtered and linked', async (t) => {
  const page = await open(t, '/studies/small/trials')
  const first = () => page.locator('tbody tr:not(.space)').first().locator('td').first().innerText()
  const [best] = (await api('/studies/small/trials?page_size=1&order_by=objective')).trials
  await page.getByText('24 trials;').waitFor()
  await untilEqual(first, best.index ?? '0')
  await page.getByRole('button', { name: 'latent dim' }).click()
  await page.waitForURL(/order=latent_dim/)
  await page.getByLabel('Filter', { exact: true }).fill('latent_dim == 16 && max_epochs == 10')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByText('4 trials match').waitFor()
  await page.getByLabel('Filter', { exact: true }).fill('latent_dimm == 16')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByRole('alert').getByText('did you mean "latent_dim"?').waitFor()
  await page.getByRole('button', { name: 'Clear' }).click()
  await page.getByText('24 trials;').waitFor()
  await page.locator('tbody a').first().click()
  await page.getByRole('heading', { name: 'Attempts' }).waitFor()
  await page.getByText(/^w-/).waitFor()
})

test('curves: metrics, a rectangle, the way to a trial', async (t) => {
  const page = await open(t, '/studies/small/curves?log=y')
  await page.getByText('12 curves; the best one').waitFor()
  const canvas = page.locator('canvas.overlay')
  const box = await placeOf(canvas)
  await page.mouse.move(box.x + box.width / 2, box.y + 20)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width / 2 + 200, box.y + box.height - 60)
  await page.mouse.up()
  await page.getByText(/of 12 curves chosen/).waitFor()
  await page.getByRole('button', { name: 'Show all' }).click()
  await page.getByLabel('Metric').selectOption('train_loss')
  await page.waitForURL(/metric=train_loss/)
  await page.getByText('12 curves; the best one').waitFor()
  await page.getByRole('link', { name: /^Trial \d/ }).first().click()
  await page.getByRole('heading', { name: 'Attempts' }).waitFor()
})

test('parameters: filter, heat map, slices', async (t) => {
  const page = await open(t, '/studies/small/parameters')
  await page.getByRole('img', { name: /^Parallel coordinates of 24 trials/ }).waitFor()
  await page.getByLabel('Columns').selectOption('seed')
  await page.getByLabel('Rows').selectOption('latent_dim')
  await page.waitForURL(/x=seed&y=latent_dim|y=latent_dim&x=seed/)
  const map = page.getByRole('img', { name: /^Heat map .* over seed and/ })
  await page.getByRole('img', { name: /^Contour .* over seed and/ }).waitFor() // It has the same answer.
  const box = await placeOf(map)
  await map.hover({ position: { x: box.width - 60, y: 10 } })
  await page.getByText(/^seed 2, .* trials/).waitFor()
  await page.getByLabel('Filter', { exact: true }).fill('latent_dim == 16')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByRole('img', { name: /^Parallel coordinates of 8 trials/ }).waitFor()
  const parallel = page.getByRole('img', { name: /^Parallel/ })
  const frame = await placeOf(parallel)
  await page.mouse.move(frame.x + frame.width - 80, frame.y + 50)
  await page.mouse.down()
  await page.mouse.move(frame.x + frame.width - 80, frame.y + 120)
  await page.getByText(/ of 8 trials pass/).waitFor()
  await page.mouse.up()
  await page.waitForURL(/objective/)
})

test('what is selected in one view is selected in all, and is in the address', async (t) => {
  const page = await open(t, '/studies/small/parameters')
  const parallel = page.getByRole('img', { name: /^Parallel coordinates of 24 trials over latent dim/ })
  const frame = await placeOf(parallel)
  // The upper half of the first axis has the highest two of three values.
  await page.mouse.move(frame.x + 40, frame.y + 40)
  await page.mouse.down()
  await page.mouse.move(frame.x + 40, frame.y + frame.height * 0.7)
  await page.mouse.up()
  const chips = page.getByRole('list', { name: /^Selection/ }).getByRole('listitem')
  const wanted = async (view, where) => {
    const { total } = await api('/studies/small/trials?filter=' + encodeURIComponent(where))
    const runs = new Set((await api('/studies/small/trials?filter=' + encodeURIComponent(where))).trials.map((one) => one.run)).size
    const says = {
      Parameters: page.getByRole('img', { name: new RegExp(`^Parallel coordinates of ${total} trials`) }),
      Trials: page.getByText(new RegExp(`^${total} trials`)), Curves: page.getByText(`${runs} curves; the best one`),
      Coverage: page.getByRole('img', { name: `Map of the grid: ${total} succeeded` }),
    }
    await page.waitForURL((url) => (url.searchParams.get('where') ?? '') === where)
    await says[view].waitFor()
    await untilEqual(() => chips.locator('code').allInnerTexts(), where ? where.split(' && ') : [])
  }
  const where = 'latent_dim >= 8 && latent_dim <= 16'
  await page.waitForURL(/where=/)
  await wanted('Parameters', where)
  for (const view of ['Trials', 'Curves', 'Coverage', 'Parameters']) {
    await page.getByRole('link', { name: view, exact: true }).click()
    await wanted(view, where)
  }
  // A link shows the same, without the conditions that are removed.
  await page.reload()
  await wanted('Parameters', where)
  await page.getByRole('link', { name: 'Coverage', exact: true }).click()
  await page.getByRole('button', { name: 'Remove latent_dim >= 8' }).click()
  await wanted('Coverage', 'latent_dim <= 16')
  await page.getByRole('button', { name: 'Remove latent_dim <= 16' }).click()
  await wanted('Coverage', '')
  // Curves that are chosen are selected by their trials.
  await page.getByRole('link', { name: 'Curves', exact: true }).click()
  await wanted('Curves', '')
  const plot = await placeOf(page.locator('canvas.overlay'))
  await page.mouse.move(plot.x + 65, plot.y + plot.height - 200)
  await page.mouse.down()
  await page.mouse.move(plot.x + plot.width - 20, plot.y + plot.height - 46)
  await page.mouse.up()
  await page.waitForURL(/box=/)
  const [chosen] = (await page.getByText(/of 12 curves chosen/).innerText()).split(' ')
  await page.reload()
  await page.getByText(`${chosen} of 12 curves chosen`).waitFor()
  await page.getByRole('button', { name: 'Select these in all views' }).click()
  await page.getByText(`${chosen} curves; the best one`).waitFor()
  await page.waitForURL((url) => /^index in \[\d+(, \d+)*\]$/.test(url.searchParams.get('where') ?? ''))
})

test('curves that are chosen are those that pass the rectangle', async (t) => {
  const page = await open(t, '/studies/small/curves?metric=train_loss')
  await page.getByText('12 curves; the best one').waitFor()
  const plot = await placeOf(page.locator('canvas.overlay'))
  await page.mouse.move(plot.x + plot.width * 0.92, plot.y + plot.height - 90)
  await page.mouse.down()
  await page.mouse.move(plot.x + plot.width - 13, plot.y + plot.height - 46)
  await page.mouse.up()
  await page.waitForURL(/box=/)
  const [first, last, low, high] = new URL(page.url()).searchParams.get('box').split(',').map(Number)
  // The same by the values of all runs.
  const { trials } = await api('/studies/small/trials?losses=true&filter=' + encodeURIComponent('max_epochs == 10'))
  const passing = trials.filter((trial) => trial.train_loss.slice(first - 1, last).some((loss) => loss >= low * (1 - 1e-10) && loss < high * (1 - 1e-10)))
  assert.ok(first <= last && passing.length > 0 && passing.length < 12, `${first}-${last}, ${low}-${high}: ${passing.length}`)
  await page.getByText(`${passing.length} of 12 curves chosen`).waitFor()
})

test('the table of trials goes to any place, by the scroll bar and by keys', async (t) => {
  const page = await open(t, '/studies/large/trials?order=learning_rate')
  const total = 400_000
  const table = page.getByRole('region', { name: 'Trials' })
  // The first row in sight is that of the API at its place.
  const inSight = async (place) => {
    const { trials } = await api(`/studies/large/trials?order_by=learning_rate&page_size=1&offset=${place}`)
    await until(() => page.evaluate(({ place, index }) => {
      const row = document.querySelector(`tr[aria-rowindex="${place + 2}"]`)
      if (row?.querySelector('a')?.textContent !== index) return false
      const [its, box] = [row.getBoundingClientRect(), row.closest('.table').getBoundingClientRect()]
      return its.top >= box.top - its.height && its.bottom <= box.bottom + its.height
    }, { place, index: trials[0].index ?? '0' }), `row ${place} is not in sight, or is not trial ${trials[0].index ?? 0}`)
  }
  const firstSaid = async () => Number(/rows ([\d,]+) to/.exec(await page.getByText(/ in sight$/).innerText())[1].replaceAll(',', '')) - 1
  await page.getByText(/^400,000 trials; rows 1 to/).waitFor()
  await inSight(0)
  await table.evaluate((box) => { box.scrollTop = (box.scrollHeight - box.clientHeight) / 2 })
  await page.getByText(/rows (19|20)\d,\d{3} to/).waitFor()
  const middle = await firstSaid()
  assert.ok(Math.abs(middle - total / 2) < total / 50, `the middle is ${middle}`)
  await inSight(middle)
  // What is scrolled by little moves by little.
  await table.evaluate((box) => { box.scrollTop += 300 })
  await page.waitForFunction((before) => !document.body.innerText.includes(before), `rows ${(middle + 1).toLocaleString('en')} to`)
  assert.ok(Math.abs(await firstSaid() - middle - 10) <= 1, `${await firstSaid()} after ${middle}`)
  await table.focus()
  await page.keyboard.press('End')
  await page.getByText(/to 400,000 in sight/).waitFor()
  await inSight(total - 1)
  await page.keyboard.press('Home')
  await page.getByText(/rows 1 to/).waitFor()
  await inSight(0)
  // A page is scrolled by and by.
  await page.keyboard.press('PageDown')
  await page.getByText(/rows (1\d|2\d) to/).waitFor()
  // It may still be on its way then: the row that is said to be the first one is in sight in the end.
  let place
  await until(async () => {
    const before = place
    place = await firstSaid()
    return place === before
  })
  await inSight(place)
})

test('a link of the table that has the focus never becomes another trial\'s', async (t) => {
  const page = await open(t, '/studies/large/trials?order=learning_rate')
  const table = page.getByRole('region', { name: 'Trials' })
  const focus = () => page.evaluate(() => [document.activeElement.tagName, document.activeElement.closest('a')?.textContent])
  const link = page.locator('tr[aria-rowindex="4"] a')
  await link.focus()
  const before = await focus()
  assert.equal(before[0], 'A')
  // It is still there, and has the focus.
  await table.evaluate((box) => { box.scrollTop = 150 })
  await page.getByText(/rows 6 to/).waitFor()
  assert.deepEqual(await focus(), before)
  // Its row shows another trial. Keys still scroll the table.
  await table.evaluate((box) => { box.scrollTop = 900 })
  await page.getByText(/rows 31 to/).waitFor()
  assert.deepEqual(await focus(), ['DIV', undefined])
  await page.keyboard.press('Home')
  await page.getByText(/rows 1 to/).waitFor()
  assert.deepEqual(await focus(), ['DIV', undefined])
})

test('what a view has shown is shown again at once', async (t) => {
  const page = await open(t, '/studies/small/coverage')
  const map = page.getByRole('img', { name: 'Map of the grid: 24 succeeded' })
  await map.waitFor()
  await page.getByRole('link', { name: 'Trials', exact: true }).click()
  await page.getByText(/^24 trials/).waitFor()
  // Nothing is answered any more: what is known is there nevertheless.
  await page.route('**/api/**', () => {})
  await page.getByRole('link', { name: 'Coverage', exact: true }).click()
  await map.waitFor()
  await page.getByRole('link', { name: 'Trials', exact: true }).click()
  await page.locator('tbody a').first().waitFor()
  // Views that nobody has looked at were made ready meanwhile, the time line last.
  await page.unroute('**/api/**')
  const other = await open(t, '/studies/small')
  await other.waitForFunction(() => performance.getEntriesByType('resource').some(({ name }) => new URL(name).pathname.endsWith('/time-line')))
  await other.route('**/api/**', () => {})
  for (const [view, said] of [['Curves', /^12 curves; the best one/], ['Time line', / attempts on 1 worker/], ['Trials', /^24 trials/]]) {
    await other.getByRole('link', { name: view, exact: true }).click()
    await other.getByText(said).waitFor()
  }
})

/** countPictures counts those that the page makes of many curves, from the next navigation on, and has their canvases. */
const countPictures = (page) => page.addInitScript(() => {
  globalThis.pictures = 0
  globalThis.canvases = new Set()
  const put = CanvasRenderingContext2D.prototype.putImageData
  CanvasRenderingContext2D.prototype.putImageData = function (...of) {
    globalThis.pictures++
    globalThis.canvases.add(this.canvas)
    return put.apply(this, of)
  }
})

test('a view that is ready is there with the next frame', async (t) => {
  const page = await open(t, '/')
  await countPictures(page)
  await page.goto(coordinator.page + '/studies/small')
  await page.waitForFunction(() => globalThis.pictures > 0) // The curves have been drawn.
  const shown = await page.evaluate(async () => {
    [...document.querySelectorAll('.tabs a')].find((one) => one.textContent === 'Curves').click()
    for (let i = 0; i < 100; i++) await null // Whatever takes the browser another turn is not there yet.
    return document.querySelector('figcaption')?.textContent.trim()
  })
  assert.match(shown ?? 'nothing', /^12 curves; the best one/)
  await page.getByText(/^12 curves; the best one/).waitFor()
  assert.equal(await page.evaluate(() => globalThis.pictures), 1, 'the curves are drawn again')
  await page.getByLabel('logarithmic epochs').click()
  await page.waitForFunction(() => globalThis.pictures === 2)
  await page.getByLabel('logarithmic epochs').click()
  await page.waitForFunction(() => globalThis.pictures === 3)
  assert.equal(await page.evaluate(() => globalThis.canvases.size), 1, 'each picture takes a canvas of its own')
  await page.getByRole('link', { name: 'Studies' }).first().click()
  await page.waitForFunction(() => [...globalThis.canvases][0].width === 0) // It is given back.
})

test('who signs out leaves no picture of curves behind', async (t) => {
  const page = await open(t, '/')
  await countPictures(page)
  let known = true
  await page.route('**/whoami', (route) => route.fulfill(known ? { json: { principal: { name: 'vic', role: 'ROLE_VIEWER' } } } : { status: 401, json: {} }))
  await page.route('**/session', (route) => {
    known = false
    return route.fulfill({ json: {} })
  })
  await page.goto(coordinator.page + '/studies/small/curves')
  await page.getByText(/^12 curves; the best one/).waitFor()
  await page.waitForFunction(() => globalThis.pictures > 0)
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Token').waitFor()
  await page.waitForFunction(() => [...globalThis.canvases].every((canvas) => canvas.width === 0))
})

test('other views are prepared once nobody has gone elsewhere for 400 ms', async (t) => {
  const page = await open(t, '/')
  const asked = []
  page.on('request', (request) => { if (/\/studies\/small\/(curves|points|coverage)/.test(request.url())) asked.push(request.url()) })
  // From here on, time passes in steps.
  await page.clock.install()
  await page.clock.pauseAt(Date.now() + 3_600_000)
  await page.getByRole('link', { name: 'small' }).evaluate((link) => link.click())
  await page.getByRole('link', { name: 'Trials', exact: true }).evaluate((link) => link.click())
  await page.getByText(/^24 trials/).waitFor()
  for (let passed = 0; passed < 350; passed += 25) {
    await page.clock.runFor(25)
    await page.evaluate(() => fetch('/icon.svg')) // What the page has asked for before is known after this.
    assert.deepEqual(asked, [])
  }
  await until(async () => { await page.clock.runFor(100); return asked.length > 0 }, 'no other view is prepared')
})

test('what is prepared waits while somebody goes elsewhere, and is prepared afterwards', async (t) => {
  const page = await open(t, '/')
  const curves = { asked: 0, canceled: 0, answered: 0 }
  const ofCurves = (request) => new URL(request.url()).pathname.endsWith('/curves')
  page.on('request', (request) => { if (ofCurves(request)) curves.asked++ })
  page.on('requestfailed', (request) => { if (ofCurves(request)) curves.canceled++ })
  page.on('requestfinished', (request) => { if (ofCurves(request)) curves.answered++ })
  const is = (want) => untilEqual(() => curves, want)
  // The first is never answered, the second later.
  let release
  const released = new Promise((resolve) => { release = resolve })
  await page.route('**/curves*', async (route) => { await released; await route.continue() }, { times: 1 })
  await page.route('**/curves*', () => {}, { times: 1 })
  await page.getByRole('link', { name: 'small' }).click()
  await is({ asked: 1, canceled: 0, answered: 0 })
  // A pointer on its way would prepare what it passes.
  await page.getByRole('link', { name: 'Trials', exact: true }).evaluate((link) => link.click())
  await page.getByText(/^24 trials/).waitFor()
  await is({ asked: 2, canceled: 1, answered: 0 })
  // Whoever goes to the view that is being prepared waits for what was asked already.
  await page.getByRole('link', { name: 'Curves', exact: true }).click()
  await page.locator('[aria-current=page]').getByText('Curves').waitFor()
  await page.waitForTimeout(500)
  assert.deepEqual(curves, { asked: 2, canceled: 1, answered: 0 })
  release()
  await page.getByText(/^12 curves; the best one/).waitFor()
  await is({ asked: 2, canceled: 1, answered: 1 })
})

test('others are prepared once somebody has the answers of a view that they point at', async (t) => {
  const page = await open(t, '/')
  let [answerBest, answerPointed] = [() => {}, () => {}]
  const [best, pointed] = [new Promise((done) => { answerBest = done }), new Promise((done) => { answerPointed = done })]
  const asked = []
  page.on('request', (request) => {
    const found = /\/studies\/small\/(trials|curves|points|coverage|time-line)/.exec(request.url())
    if (found) asked.push(found[1])
  })
  await page.route('**/importance?*', async (route) => { await best; await route.continue() })
  await page.route('**/coverage*', async (route) => { await pointed; await route.continue() })
  // A pointer on its way would prepare what it passes.
  await page.getByRole('link', { name: 'small' }).evaluate((link) => link.click())
  await page.getByRole('link', { name: 'Coverage', exact: true }).focus()
  await untilEqual(() => asked, ['coverage'])
  answerBest()
  await page.waitForTimeout(700)
  assert.deepEqual(asked, ['coverage'])
  answerPointed()
  await until(() => asked.includes('time-line'), 'the other views are not prepared')
})

test('a view is asked for before the page is there, and others once it has its answers', async (t) => {
  const page = await open(t, '/nowhere')
  let [polls, release] = [0, () => {}]
  const held = new Promise((done) => { release = done })
  const prepared = []
  page.on('request', (request) => {
    if (request.url().endsWith('/studies/small')) polls++
    if (/\/(curves|points|coverage)\?/.test(request.url())) prepared.push(request.url())
  })
  const begun = page.waitForRequest('**/api/v1/studies/small')
  await page.route('**/assets/index-*.js', async (route) => { await begun; await route.continue() })
  await page.route('**/importance?*', async (route) => { await held; await route.continue() })
  await page.goto(coordinator.page + '/studies/small')
  await until(() => polls >= 3, 'the study is not asked for again')
  assert.deepEqual(prepared, [])
  release()
  await until(() => prepared.length >= 3, 'the other views are not prepared')
})

test('the code of the view that a link leads to is asked for before the page is there', async (t) => {
  const page = await open(t, '/nowhere')
  const code = page.waitForRequest('**/assets/views-*.js')
  await page.route('**/assets/index-*.js', async (route) => { await code; await route.continue() })
  await page.goto(coordinator.page + '/studies/small/curves')
  await page.getByText(/^12 curves; the best one/).waitFor()
})

test('who leaves the view that a link led to waits no longer for its answer', async (t) => {
  const page = await open(t, '/')
  let canceled = 0
  page.on('requestfailed', (request) => { if (new URL(request.url()).pathname.endsWith('/curves')) canceled++ })
  await page.route('**/api/**/curves*', () => {})
  const asked = page.waitForRequest('**/api/**/curves*')
  await page.goto(coordinator.page + '/studies/small/curves')
  await asked
  await page.getByRole('link', { name: 'Trials', exact: true }).evaluate((link) => link.click())
  await page.getByText(/^24 trials/).waitFor()
  await untilEqual(() => canceled, 1)
})

test('a contour is drawn between measured points only', async (t) => {
  const page = await open(t, '/studies/small/parameters')
  const contour = page.getByRole('img', { name: /^Contour of validation loss over latent dim and learning rate/ })
  await placeOf(contour)
  await contour.hover({ position: { x: 80, y: 328 } })
  await page.getByText(/^latent dim 4, learning rate 0.001: .* 4 trials/).waitFor()
  /** drawn says which share of the points of a small square in the middle of two columns is drawn. */
  const drawn = () => contour.evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(canvas.width * 0.35, canvas.height * 0.5 - 5, 10, 10)
    return data.filter((_, i) => i % 4 === 3).reduce((sum, alpha) => sum + alpha, 0) / 255 / 100
  })
  assert.equal(await drawn(), 1)
  await page.getByLabel('Filter').fill('latent_dim != 8')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByRole('img', { name: /^Parallel coordinates of 16 trials/ }).waitFor()
  await page.waitForFunction(() => document.querySelector('canvas[aria-label^=Contour]') !== null)
  await until(async () => (await drawn()) === 0, 'a contour is drawn where nothing was measured')
})

test('coverage and the time line', async (t) => {
  const page = await open(t, '/studies/small/coverage')
  await page.getByRole('img', { name: 'Map of the grid: 24 succeeded' }).waitFor()
  await page.getByLabel('Columns').selectOption('latent_dim')
  await page.waitForURL(/x=latent_dim&y=/)
  await page.getByRole('img', { name: 'Map of the grid: 24 succeeded' }).waitFor()
  await page.getByRole('link', { name: 'Time line' }).click()
  await page.getByText(/^12 attempts on 1 worker/).waitFor()
})

test('a run is followed while it is trained', async (t) => {
  const trials = await until(async () => (await api('/studies/long/trials?filter=' + encodeURIComponent('state == "running"'))).trials)
  const page = await open(t, `/studies/long/trials/${trials[0].index ?? 0}`)
  const epochs = () => page.locator('dt', { hasText: /^epochs$/ }).locator('+ dd').innerText()
  await page.locator('.u-over').waitFor()
  const before = Number(await epochs())
  await page.waitForFunction((before) => {
    const term = [...document.querySelectorAll('dt')].find((one) => one.textContent === 'epochs')
    return Number(term?.nextElementSibling?.textContent) > before
  }, before)
})

test('workers and events', async (t) => {
  const page = await open(t, '/workers')
  await page.getByText('1 connected, 4 of 4 slots busy').waitFor()
  await page.getByText('(leads)').waitFor()
  await page.getByRole('link', { name: 'Events' }).click()
  await page.getByRole('row', { name: /create study small/ }).waitFor()
})

test('events appear as they happen, also those of the time without a connection', async (t) => {
  const page = await open(t, '/workers')
  let reachable = false
  await page.route('**/events:watch*', (route) => (reachable ? route.continue() : route.abort()))
  await page.getByRole('link', { name: 'Events' }).click()
  await page.getByRole('row', { name: /create study small/ }).waitFor()
  await page.getByRole('alert').waitFor()
  const change = async (name) => {
    await coordinator.submit(`{name: ${name}, model: synthetic, grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}}`)
    await run('delete', '--coordinator', coordinator.address, '--yes', name)
  }
  await change('missed')
  reachable = true
  await page.getByRole('row', { name: /delete study missed/ }).waitFor()
  await page.getByRole('alert').waitFor({ state: 'detached' })
  await change('seen')
  await page.getByRole('row', { name: /delete study seen/ }).waitFor()
  assert.match(await page.getByRole('row').nth(1).innerText(), /delete study\s+seen/)
  assert.equal(await page.getByRole('row', { name: /create study (seen|missed)/ }).count(), 2)
})

test('a study is paused, resumed, canceled and deleted, each after a question', async (t) => {
  const page = await open(t, '/studies/long')
  const act = async (name, state) => {
    await page.locator('.head').getByRole('button', { name }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Keep it as it is' }).click()
    assert.notEqual((await api('/studies/long')).study.state, state)
    await page.locator('.head').getByRole('button', { name }).click()
    await page.getByRole('dialog').getByRole('button', { name }).click()
    await page.getByRole('dialog').waitFor({ state: 'hidden' })
    if (state) assert.equal((await api('/studies/long')).study.state, state)
  }
  await act('Pause', 'STUDY_STATE_PAUSED')
  await act('Resume', 'STUDY_STATE_RUNNING')
  await act('Cancel', 'STUDY_STATE_CANCELED')
  await act('Delete')
  await page.getByRole('heading', { level: 1, name: 'Studies' }).waitFor()
  assert.equal((await fetch(coordinator.page + '/api/v1/studies/long')).status, 404)
})

test('a spec is written, what is wrong is shown at its line, and it is submitted', async (t) => {
  const page = await open(t, '/submit')
  const spec = page.getByRole('textbox', { name: 'Spec' })
  await until(async () => /^name: quick$/m.test(await spec.inputValue()), 'there is no example')
  const broken = 'name: written\nmodle: synthetic\ngrid:\n  latent_dim: [4, many]\n  max_epochs: [3, 6]\n'
  // The command line says the same at the same places.
  const said = await coordinator.submit(broken, '--dry-run').then(() => '', (error) => error.message)
  const wanted = [...said.matchAll(/^(?:trellis: )?\S+spec\.yaml:(\d+):(\d+): (.*)$/gm)].map(([, line, column, what]) => `Line ${line}, column ${column} ${what}`)
  assert.equal(wanted.length, 2, said)
  await spec.fill(broken)
  await page.locator('.problems li').nth(1).waitFor()
  const problems = await page.locator('.problems li').allInnerTexts()
  assert.deepEqual(problems.map((one) => one.replace(/\s+/g, ' ')), wanted)
  assert.equal(await spec.getAttribute('aria-invalid'), 'true')
  assert.equal(await page.locator('.gutter .wrong').allInnerTexts().then((list) => list.join()), '2,4')
  assert.ok(await page.getByRole('button', { name: /^Submit/ }).isDisabled())
  await accessible(page, 'a spec that is wrong')
  // The place of a problem is shown in the text, and Tab leaves it.
  await page.getByRole('button', { name: 'Line 4, column 19' }).click()
  assert.equal(await spec.evaluate((area) => area.value.slice(area.selectionStart, area.selectionStart + 4)), 'many')
  await page.keyboard.press('Tab')
  assert.equal(await spec.evaluate((area) => document.activeElement === area), false)

  const right = 'name: written\nmodel: synthetic\ngrid:\n  latent_dim: [4, 8]\n  learning_rate: 1e-3\n  max_epochs: [3, 6]\n'
  const plan = JSON.parse(await coordinator.submit(right, '--dry-run', '-o', 'json'))
  await spec.fill(right)
  const row = (name) => page.locator('dt', { hasText: new RegExp(`^${name}$`) }).locator('+ dd').innerText()
  await page.getByRole('button', { name: 'Submit written' }).waitFor()
  assert.equal(await row('trials'), String(plan.trials))
  assert.equal(await row('runs'), String(plan.runs))
  assert.match(await row('epochs'), new RegExp(`^at most ${plan.epochs}; ${plan.epochs_alone} without`))
  const networks = 'name: shapes\ndata: mnist\nmodel: conv-autoencoder\ngrid:\n  latent_dim: 16\n  filters: [4, 8]\n  learning_rate: 1e-3\n  weight_decay: 0\n  max_epochs: 3\n'
  const words = /^networks +(.*)$/m.exec(await coordinator.submit(networks, '--dry-run'))?.[1]
  await spec.fill(networks)
  await page.getByRole('button', { name: 'Submit shapes' }).waitFor()
  assert.equal(await row('networks'), words)
  await spec.fill(right)
  await page.getByRole('button', { name: 'Submit written' }).click()
  await page.getByRole('heading', { level: 1, name: /written/ }).waitFor()
  await page.getByText('completed').waitFor()
  // A second one needs another name.
  await page.getByRole('link', { name: 'Submit one like it' }).click()
  await page.getByRole('button', { name: 'Submit written-2' }).waitFor()
  assert.match(await spec.inputValue(), /^name: written-2$/m)
  await page.getByText('nothing: the study would be complete at once').waitFor()
  await spec.fill((await spec.inputValue()).replace('written-2', 'written'))
  await page.getByText(/study "written" already exists/).waitFor()
  // With what else is wrong.
  await spec.fill('name: written\nmodel: conv-autoencoder\ndata: nowhere\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 1}\n')
  await page.locator('.problems li').filter({ hasText: /^Line 3.*nowhere/ }).waitFor()
  await page.locator('.problems li').filter({ hasText: /^Line 1.*already exists/ }).waitFor()
  await page.getByLabel('Begin with').selectOption('after:small')
  await page.getByText(/^small-/).waitFor()
})

test('a study is extended, after its plan and a question', async (t) => {
  const page = await open(t, '/studies/small/extend')
  await page.getByText('Nothing yet').waitFor()
  assert.ok(await page.getByRole('button', { name: 'Extend' }).isDisabled())
  await page.getByLabel('latent dim').fill('32, many')
  await page.getByText(/latent_dim takes whole numbers/).waitFor()
  assert.equal(await page.getByLabel('latent dim').getAttribute('aria-invalid'), 'true')
  await page.getByLabel('latent dim').fill('32')
  await page.getByLabel('max epochs').fill('20')
  const before = (await api('/studies/small')).study.progress
  await page.getByText('24 more').waitFor()
  await page.getByText('4 new, 12 trained for more epochs').waitFor()
  await page.getByText(/^\d+ are trained again: no checkpoint has them$/).waitFor()
  await page.getByRole('button', { name: 'Extend' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Keep it as it is' }).click()
  assert.deepEqual((await api('/studies/small')).study.progress, before)
  await page.getByRole('button', { name: 'Extend' }).click()
  await page.getByRole('dialog').getByText('Add 24 trials').waitFor()
  await page.getByRole('dialog').getByRole('button', { name: 'Extend' }).click()
  await page.getByRole('heading', { name: /^Best/ }).first().waitFor()
  assert.equal((await api('/studies/small')).study.progress.trials, '48')
  await page.getByText('completed').waitFor()
})

test("an extension's plan says how large networks are and what they wait for", async (t) => {
  await coordinator.submit('name: waiting\ndata: mnist\nmodel: conv-autoencoder\nworkers: {zone: nowhere}\ngrid:\n  latent_dim: 16\n  filters: [4, 8]\n  '
    + 'learning_rate: 1e-3\n  weight_decay: 0\n  max_epochs: 3\n')
  const page = await open(t, '/studies/waiting/extend')
  await page.getByLabel('latent dim').fill('64')
  const plan = await run('extend', '--coordinator', coordinator.address, 'waiting', '--latent-dim', '64', '--dry-run')
  for (const name of ['networks', 'waits for']) {
    const words = new RegExp(`^${name} +(.*)$`, 'm').exec(plan)[1].replace('. See trellis workers for what there is', '')
    await page.locator('dt', { hasText: new RegExp(`^${name}$`) }).locator('+ dd').getByText(words).waitFor()
  }
  await run('cancel', '--coordinator', coordinator.address, 'waiting')
  await run('delete', '--coordinator', coordinator.address, 'waiting', '--yes')
})

test('studies are chosen and compared', async (t) => {
  const page = await open(t, '/')
  await page.getByLabel('Compare small').check()
  await page.getByText('Choose another study').waitFor()
  await page.getByLabel('Compare written').check()
  await page.getByRole('link', { name: 'Compare 2 studies' }).click()
  await page.waitForURL('**/compare?study=small&study=written')
  const cells = async (name) => page.getByRole('row', { name: new RegExp('^' + name) }).first().locator('td').allInnerTexts()
  const value = async (study) => {
    const best = await api(`/studies/${study}/best`)
    return String(Number((best.verdict.best.repetitions.length > 1 ? best.verdict.best.mean : best.trial.objective).toPrecision(6)))
  }
  await page.getByRole('heading', { name: 'Best so far' }).waitFor()
  const wanted = [await value('small'), await value('written')]
  let values
  await until(async () => (values = await cells('best value')).length === 2 && values.every((one, i) => one.startsWith(wanted[i])),
    () => `the best values are ${values}, not ${wanted}`)
  await untilEqual(() => page.getByRole('row', { name: /^seeds/ }).locator('td').allInnerTexts(), ['1, 2', '1'])
  for (const name of [/^The best objective of small, written over trials/, /^How the objectives of small, written are spread/]) {
    const canvas = page.getByRole('img', { name })
    await canvas.waitFor()
    // Something is drawn in the colours of both studies.
    await until(() => canvas.evaluate((one) => {
      const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height)
      const seen = new Set()
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 250 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60) seen.add(data[i] > data[i + 2])
      return seen.size === 2
    }), String(name))
  }
  await page.getByLabel('over', { exact: true }).selectOption('time')
  await page.waitForURL(/over=time/)
  await page.getByRole('img', { name: /over time/ }).waitFor()
})

test('failed runs are retried', async (t) => {
  const flag = join(coordinator.folder, 'flag')
  await coordinator.submit(`
name: failing
program:
  command: [sh, -c, 'test -e ${flag} || exit 3; echo "{{\\"epoch\\": 1, \\"loss\\": 0.5}}" >> $TRELLIS_REPORTS']
objective: {metric: loss, direction: minimize}
grid: {lr: [0.1, 0.2]}
`)
  const page = await open(t, '/studies/failing')
  await page.getByRole('heading', { name: 'Failed runs' }).waitFor()
  await page.locator('.head').getByText('completed').waitFor()
  writeFileSync(flag, '')
  await page.locator('.head').getByRole('button', { name: 'Retry' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Retry' }).click()
  await page.getByText('2 succeeded').waitFor()
  const { progress } = (await api('/studies/failing')).study
  assert.equal(progress.trials_succeeded, '2')
  assert.equal(progress.runs_failed, undefined)
  await page.locator('.head').getByRole('button', { name: 'Retry' }).waitFor({ state: 'detached' })
})

test('a token signs in, and a viewer is offered nothing and can do nothing', async (t) => {
  const secured = await serveSecured()
  t.after(() => secured.close())
  await secured.cli('submit', await secured.spec(small))
  const token = (await secured.cli('tokens', 'create', '--role', 'viewer', '--name', 'vic')).trim()
  const page = await open(t, '/', { at: secured.page })
  await page.getByLabel('Token').fill('trellis_wrong')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('alert').waitFor()
  await accessible(page, 'sign-in')
  await page.getByLabel('Token').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('vic, viewer').waitFor()
  await page.getByRole('link', { name: 'small' }).click()
  await page.getByRole('heading', { level: 1, name: /small/ }).waitFor()
  for (const name of ['Pause', 'Cancel', 'Delete', 'Extend', 'Submit one like it', 'Submit']) {
    assert.equal(await page.getByText(name, { exact: true }).count(), 0, name)
  }
  for (const [path, said] of [['/submit', 'not submit any'], ['/studies/small/extend', 'not extend it']]) {
    await page.goto(secured.page + path)
    await page.getByText(said).waitFor()
  }
  const before = await page.evaluate(() => fetch('/api/v1/studies/small').then((answer) => answer.text()))
  const refused = await page.evaluate(() => Promise.all(['studies/small:pause', 'studies/small:extend', 'studies/small:planExtension', 'specs:parse', 'studies'].map(
    (path) => fetch('/api/v1/' + path, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }).then((answer) => answer.status))))
  assert.deepEqual(refused, [403, 403, 403, 403, 403])
  assert.equal(await page.evaluate(() => fetch('/api/v1/studies/small').then((answer) => answer.text())), before)
  // A submitter is offered changes of what is theirs, and of the studies of others a new one like it.
  const own = (await secured.cli('tokens', 'create', '--role', 'submitter', '--name', 'sue')).trim()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Token').fill(own)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('sue, submitter').waitFor()
  const head = (name) => page.locator('.head').getByRole(/^(Pause|Cancel|Delete)$/.test(name) ? 'button' : 'link', { name })
  await page.goto(secured.page + '/studies/small')
  await head('Submit one like it').waitFor()
  for (const name of ['Pause', 'Cancel', 'Delete', 'Extend']) assert.equal(await head(name).count(), 0, name)
  await page.goto(secured.page + '/studies/small/extend')
  await page.getByText('only admin, who submitted it, or an admin may').waitFor()
  const made = await page.evaluate((spec) => fetch('/api/v1/studies', { method: 'POST', body: JSON.stringify({ spec }), headers: { 'content-type': 'application/json' } })
    .then((answer) => answer.status), { name: 'own', model: 'synthetic', grid: [{ axes: { latent_dim: { integers: ['4'] }, learning_rate: { numbers: [1e-3] }, max_epochs: { integers: ['2'] } } }] })
  assert.equal(made, 200)
  await page.goto(secured.page + '/studies/own')
  for (const name of ['Pause', 'Cancel', 'Delete', 'Extend']) await head(name).waitFor()
  // The cookie is none that a script reads, and it ends with the session.
  assert.equal(await page.evaluate(() => document.cookie), '')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Token').waitFor()
  assert.equal(await page.evaluate(() => fetch('/api/v1/studies/small').then((answer) => answer.status)), 401)
})

test('what does not exist is said', async (t) => {
  const page = await open(t, '/nowhere')
  await page.getByText('There is no such view').waitFor()
})

test('every view is accessible and fits: light and dark, at 1280 and 390 pixels', async (t) => {
  const { trial } = await api('/studies/small/best')
  const page = await open(t, '/')
  const image = (name) => page.getByRole('img', { name })
  const titles = []
  // Each with what it shows last.
  for (const [path, ...shown] of [
    ['/', page.getByRole('row', { name: /small/ }).getByText(/^0\.\d+$/)],
    ['/studies/small', page.getByRole('heading', { name: 'What matters' }), page.locator('.digest'), page.locator('.u-over').first(), image(/^How many trials/)],
    ['/studies/small/trials', page.locator('tbody a').first()],
    [`/studies/small/trials/${trial.index ?? 0}`, page.getByRole('heading', { name: 'Attempts' }), page.locator('.u-over').first()],
    ['/studies/small/curves', page.getByText(/curves; the best one/), page.locator('ol a').first()],
    ['/studies/small/parameters', image(/^Parallel/), image(/^Contour/)],
    ['/studies/small/coverage', image(/^Map of the grid: \d/)],
    ['/studies/small/timeline', page.getByText(/ attempts on 1 worker/)],
    ['/workers', page.getByText(/^1 connected/)],
    ['/events', page.getByRole('row', { name: /create study small/ })],
    ['/submit?like=small', page.getByRole('button', { name: /^Submit small-/ })],
    ['/studies/small/extend?max_epochs=30', page.getByText(/^\d+ more$/)],
    ['/compare?study=small&study=written', image(/^The best objective of small, written/), image(/^How the objectives of small, written/)],
  ]) {
    await page.goto(coordinator.page + path)
    for (const one of shown) await one.waitFor()
    await page.getByText('Loading', { exact: true }).waitFor({ state: 'detached' })
    titles.push(await page.title())
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme })
      for (const width of [1280, 390]) {
        await page.setViewportSize({ width, height: 800 })
        // In the dark, only colours are others.
        await accessible(page, `${path}, ${colorScheme}, ${width} pixels`, colorScheme === 'dark' ? ['color-contrast'] : undefined)
      }
    }
  }
  // The browser's tabs and history tell them apart.
  assert.equal(new Set(titles).size, titles.length, titles.join('\n'))
  assert.deepEqual(titles.filter((title) => /^(Overview|Trial \d+|Curves|Extend) · small · Trellis$/.test(title)).length, 4, titles.join('\n'))
})
