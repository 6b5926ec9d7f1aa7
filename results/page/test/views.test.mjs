// The page in Chromium, on a coordinator with a worker: npm test, after make trellis.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { chromium } from 'playwright-core'
import { serve } from './coordinator.mjs'

const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')

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

let coordinator, browser
before(async () => {
  assert.ok(executablePath, 'Chromium is missing: install it, or name it, CHROMIUM=/path/to/chromium')
  coordinator = await serve()
  await coordinator.submit(small, '--watch')
  await coordinator.submit(long)
  browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  })
})
after(async () => {
  await browser?.close()
  await coordinator?.close()
})

/** open shows a view in a tab of its own, and checks afterwards that nothing went wrong in it. */
async function open(t, path, { width = 1280, colorScheme = 'light' } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme })
  const page = await context.newPage()
  const wrong = []
  page.on('console', (message) => {
    if (message.text().startsWith('Failed to load resource')) return // See the responses.
    if (['error', 'warning'].includes(message.type())) wrong.push(message.text())
  })
  page.on('response', (response) => {
    // The API refuses what can't be answered yet, and the page says so.
    const most = response.url().startsWith(coordinator.page + '/api/') ? 499 : 399
    if (response.status() > most) wrong.push(`${response.status()} ${response.url()}`)
  })
  page.on('pageerror', (error) => wrong.push(String(error)))
  page.on('request', (request) => {
    if (!request.url().startsWith(coordinator.page) && !/^(data|blob):/.test(request.url())) wrong.push('asks ' + request.url())
  })
  t.after(async () => {
    await context.close()
    assert.deepEqual(wrong, [], 'errors, or requests to elsewhere')
  })
  await page.goto(coordinator.page + path)
  return page
}

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
  assert.equal(await first(), best.index ?? '0')
  await page.getByRole('button', { name: 'latent dim' }).click()
  await page.waitForURL(/order=latent_dim/)
  await page.getByLabel('Filter').fill('latent_dim == 16 && max_epochs == 10')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByText('4 trials match').waitFor()
  await page.getByLabel('Filter').fill('latent_dimm == 16')
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
  const box = await canvas.boundingBox()
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
  await page.waitForURL(/x=seed/)
  const map = page.getByRole('img', { name: /^Heat map .* over seed and/ })
  const box = await map.boundingBox()
  await map.hover({ position: { x: box.width - 60, y: 10 } })
  await page.getByText(/^seed 2, .* trials/).waitFor()
  await page.getByLabel('Filter').fill('latent_dim == 16')
  await page.getByRole('button', { name: 'Apply' }).click()
  await page.getByRole('img', { name: /^Parallel coordinates of 8 trials/ }).waitFor()
  const parallel = page.getByRole('img', { name: /^Parallel/ })
  const frame = await parallel.boundingBox()
  await page.mouse.move(frame.x + frame.width - 80, frame.y + 50)
  await page.mouse.down()
  await page.mouse.move(frame.x + frame.width - 80, frame.y + 120)
  await page.mouse.up()
  await page.getByText(/ of 8 trials pass/).waitFor()
})

test('coverage and the time line', async (t) => {
  const page = await open(t, '/studies/small/coverage')
  await page.getByRole('img', { name: 'Map of the grid: 24 trained' }).waitFor()
  await page.getByLabel('Columns').selectOption('latent_dim')
  await page.waitForURL(/x=latent_dim&y=/)
  await page.getByRole('img', { name: 'Map of the grid: 24 trained' }).waitFor()
  await page.getByRole('link', { name: 'Time line' }).click()
  await page.getByText(/^12 bars, workers: 1/).waitFor()
})

test('a run is followed while it is trained', async (t) => {
  const { trials } = await api('/studies/long/trials?filter=' + encodeURIComponent('state == "running"'))
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

test('what does not exist is said', async (t) => {
  const page = await open(t, '/nowhere')
  await page.getByText('There is no such view').waitFor()
})

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 390]) {
    test(`every view is accessible and fits: ${colorScheme}, ${width} pixels`, async (t) => {
      const { trial } = await api('/studies/small/best')
      const page = await open(t, '/', { width, colorScheme })
      for (const path of ['/', '/studies/small', '/studies/small/trials', `/studies/small/trials/${trial.index ?? 0}`,
        '/studies/small/curves', '/studies/small/parameters', '/studies/small/coverage', '/studies/small/timeline', '/workers', '/events']) {
        await page.goto(coordinator.page + path)
        await page.waitForLoadState('networkidle').catch(() => {})
        await page.getByRole('heading', { level: 1 }).waitFor()
        await page.getByText('Loading', { exact: true }).waitFor({ state: 'detached' })
        // The page's policy admits no script from elsewhere: this one is given to the browser itself.
        await page.evaluate(axe)
        const { violations } = await page.evaluate(() => globalThis.axe.run())
        assert.deepEqual(violations.map((one) => `${path}: ${one.id}: ${one.nodes.map((node) => node.html).join(' ')}`), [])
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
        assert.ok(wide <= 0, `${path} is ${wide} pixels too wide`)
      }
    })
  }
}

