// A page that stays open: while a study goes on, other tabs do something, somebody signs out, or the coordinator hangs.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { launch, show, until, untilEqual } from './browser.mjs'
import { run, serve, serveSecured } from './coordinator.mjs'

const going = `
name: going
model: synthetic
synthetic: {epoch_time: 200ms}
grid: {latent_dim: {linear: {from: 1, to: 300, count: 300}}, learning_rate: [1e-3, 1e-2], max_epochs: 5000}
`
const talking = `
name: talking
program:
  command: [sh, -c, 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i.; sleep 0.1; done']
objective: {metric: loss, direction: minimize}
grid: {lr: [0.1]}
`

let coordinator, browser
before(async () => {
  coordinator = await serve()
  await coordinator.submit(talking)
  await coordinator.submit(going)
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await coordinator?.close()
})

const open = (t, path, options) => show(browser, t, path, { at: coordinator.page, ...options })
const api = async (path) => (await fetch(coordinator.page + '/api/v1' + path)).json()

/** mark remembers an element; marked says whether it is still the same. */
const mark = (page, selector) => page.locator(selector).first().evaluate((one) => { one.marked = true })
const marked = (page, selector) => page.locator(selector).first().evaluate((one) => one.marked === true)

/** hide makes a page believe that nobody sees it, or that somebody does. */
const hide = (page, hidden) => page.evaluate((hidden) => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}, hidden)

test('the trials of a study that goes on stay where they were scrolled to, and so does what is typed', async (t) => {
  const page = await open(t, '/studies/going/trials?order=index')
  await page.getByText(/^600 trials/).waitFor()
  await page.getByLabel('Filter', { exact: true }).fill('objective < 0.0')
  const table = page.getByRole('region', { name: 'Trials' })
  await table.evaluate((box) => { box.scrollTop = 9000 })
  await page.getByText(/rows 301 to/).waitFor()
  await mark(page, 'h1')
  let [asked, polls] = [0, 0]
  page.on('request', (request) => {
    if (request.url().includes('/trials?')) asked++
    if (request.url().endsWith('/studies/going')) polls++
  })
  await until(() => polls >= 3)
  assert.equal(await page.getByLabel('Filter', { exact: true }).inputValue(), 'objective < 0.0')
  assert.equal(await table.evaluate((box) => box.scrollTop), 9000)
  // Only what is in sight, two pages at most, is asked for anew when the study has changed.
  assert.ok(asked <= 2 * (polls + 1), `rows were asked for ${asked} times while the study was ${polls} times`)
  // What is sorted is the table alone.
  await page.getByRole('button', { name: 'latent dim' }).click()
  await page.waitForURL(/order=latent_dim/)
  assert.ok(await marked(page, 'h1'), 'the head of the study was replaced')
})

test('an output stays when the address changes, and goes on after a time in which nobody saw it', async (t) => {
  const page = await open(t, '/studies/talking/trials/0')
  const asked = []
  page.on('request', (request) => { if (request.url().includes('/output')) asked.push('begun') })
  page.on('requestfailed', (request) => { if (request.url().includes('/output')) asked.push('closed') })
  await page.getByRole('button', { name: 'Show the output' }).click()
  const output = page.getByRole('log')
  await output.getByText('line 2.').waitFor()
  await mark(page, '[role=log]')
  await page.getByLabel('logarithmic').check()
  await page.waitForURL(/log=y/)
  await page.waitForResponse((response) => response.url().endsWith('/studies/talking'))
  assert.ok(await marked(page, '[role=log]'), 'the output was replaced')
  assert.deepEqual(asked, ['begun'])
  await hide(page, true)
  await untilEqual(() => asked, ['begun', 'closed']) // A page that nobody sees holds no connection.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
  const lines = async () => [...(await output.innerText()).matchAll(/line (\d+)\./g)].map(([, n]) => Number(n))
  const before = (await lines()).length
  await page.waitForTimeout(600)
  assert.equal((await lines()).length, before)
  await hide(page, false)
  await output.getByText(`line ${before + 5}.`).waitFor()
  const all = await lines()
  assert.deepEqual(all, all.map((_, i) => i + 1), 'lines are missing, or there twice')
})

test('a coordinator that hangs is noticed', async (t) => {
  const page = await open(t, '/studies/going')
  await page.getByRole('heading', { level: 1, name: /going/ }).waitFor()
  await page.route('**/api/**', () => {})
  await page.clock.install()
  await Promise.all([page.waitForRequest('**/studies/going'), page.reload()])
  await page.clock.fastForward(10_000)
  await page.getByRole('alert').getByText(/has not answered for \d+ s/).waitFor()
  await page.clock.fastForward(60_000)
  await page.getByRole('alert').getByText('The coordinator does not respond').first().waitFor()
  await page.unroute('**/api/**')
  await page.clock.fastForward(20_000)
  await page.getByRole('heading', { level: 1, name: /going/ }).waitFor()
  await page.getByRole('alert').waitFor({ state: 'detached' })
})

test('a question about a study is not answered for another one of its name', async (t) => {
  const spec = '{name: taken, model: synthetic, grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}}'
  await coordinator.submit(spec)
  const page = await open(t, '/studies/taken')
  await page.locator('.head').getByRole('button', { name: 'Delete' }).click()
  // The page does not see that the study was gone: then it closes the question itself.
  await hide(page, true)
  await run('delete', '--coordinator', coordinator.address, '--yes', 'taken')
  await coordinator.submit(spec)
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
  await page.getByRole('dialog').getByText('another one has its name now').waitFor()
  assert.equal((await fetch(coordinator.page + '/api/v1/studies/taken')).status, 200)
  // Asked about this one, it is done.
  await page.getByRole('dialog').getByRole('button', { name: 'Keep it as it is' }).click()
  await Promise.all([page.waitForResponse((response) => response.url().endsWith('/studies/taken')), hide(page, false)])
  await page.waitForResponse((response) => response.url().endsWith('/studies/taken'))
  await page.locator('.head').getByRole('button', { name: 'Delete' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
  await page.getByRole('heading', { level: 1, name: 'Studies' }).waitFor()
})

test('what a newer version does not have any more is said, and an address that is no text', async (t) => {
  const page = await open(t, '/studies/%ff')
  await page.getByText('There is no such study').waitFor()
  await page.route('**/assets/Workers-*.js', (route) => route.abort())
  await page.getByRole('link', { name: 'Workers' }).click()
  await page.getByRole('alert').getByText("can't be loaded").waitFor()
  await page.unroute('**/assets/Workers-*.js')
  await page.getByRole('button', { name: 'Reload the page' }).click()
  await page.getByText('1 connected').waitFor()
  await page.goto(coordinator.page + '/compare?study=going&study=deleted&study=talking')
  await page.getByText('There is no study deleted').waitFor()
  await page.getByRole('link', { name: 'talking' }).waitFor()
})

test('who looks at the page is known in all tabs, also after a refusal', async (t) => {
  const secured = await serveSecured()
  t.after(() => secured.close())
  const [vic, ada] = await Promise.all([['viewer', 'vic'], ['admin', 'ada']].map(
    async ([role, name]) => (await secured.cli('tokens', 'create', '--role', role, '--name', name)).trim()))
  const page = await open(t, '/', { at: secured.page })
  const signIn = async (tab, token) => {
    await tab.getByLabel('Token').fill(token)
    await tab.getByRole('button', { name: 'Sign in' }).click()
  }
  await signIn(page, vic)
  await page.getByText('vic, viewer').waitFor()
  const other = await page.context().newPage()
  await other.goto(secured.page)
  await other.getByRole('button', { name: 'Sign out' }).click()
  for (const tab of [other, page]) {
    await tab.getByLabel('Token').waitFor()
    await tab.getByText('vic, viewer').waitFor({ state: 'detached' })
  }
  await signIn(other, ada)
  await page.getByText('ada, admin').waitFor()
  await page.getByRole('link', { name: 'Submit a study' }).waitFor()
  // A token that is revoked is noticed by the next answer.
  const id = ada.split('_')[1]
  await secured.cli('tokens', 'revoke', id)
  await page.getByRole('link', { name: 'Workers' }).click()
  await page.getByLabel('Token').waitFor()
  await page.getByText('ada, admin').waitFor({ state: 'detached' })
  // A coordinator that can't say it at once is asked again.
  const late = await open(t, '/workers')
  let refused = 0
  await late.route('**/whoami', (route) => (refused++ ? route.continue() : route.abort()))
  await late.goto(coordinator.page + '/studies/going')
  await late.locator('.head').getByRole('button', { name: 'Pause' }).waitFor()
  assert.ok(refused >= 2)
})
