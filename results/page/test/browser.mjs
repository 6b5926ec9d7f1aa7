// Chromium for tests, and what must hold in every view.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { chromium } from 'playwright-core'

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')

/** patience is how long a test waits for what it wants, in milliseconds: far longer than it takes where much else is going on. */
export const patience = 180_000

/** until asks again and again until there is an answer (not false, nothing or 0), and returns it. It fails with what, in the end. */
export async function until(ask, what) {
  for (const end = Date.now() + patience; ;) {
    const answer = await ask()
    if (answer) return answer
    if (Date.now() > end) assert.fail(typeof what === 'function' ? await what() : what)
    await pause(50)
  }
}

/** untilEqual asks again and again until the answer is the one that is wanted. */
export async function untilEqual(ask, wanted) {
  let last
  await until(async () => isDeepStrictEqual(last = await ask(), wanted), () => assert.deepEqual(last, wanted))
}

/** placeOf is where a canvas is, once it has been drawn on and two frames have it in the same place. */
export async function placeOf(canvas) {
  await canvas.evaluate((canvas) => new Promise((done) => {
    let before = ''
    const look = () => {
      const { x, y, width, height } = canvas.getBoundingClientRect()
      const now = [x, y, width, height, canvas.style.width === width + 'px'].join()
      if (now === before && now.endsWith('true')) done()
      else requestAnimationFrame(look)
      before = now
    }
    look()
  }))
  return canvas.boundingBox()
}

export function launch() {
  const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)
  assert.ok(executablePath, 'Chromium is missing: install it, or name it, CHROMIUM=/path/to/chromium')
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  })
}

/**
 * show shows a view in a tab of its own, and checks afterwards that nothing went wrong in it. refused: the API may refuse what is asked.
 */
export async function show(browser, t, path, { at, width = 1280, colorScheme = 'light', refused = true }) {
  // The authority of a test's own certificates is nobody's.
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme, ignoreHTTPSErrors: true })
  context.setDefaultTimeout(patience)
  const page = await context.newPage()
  const wrong = []
  page.on('console', (message) => {
    if (message.text().startsWith('Failed to load resource')) return // See the responses.
    if (message.text().startsWith('Canvas2D: Multiple readback')) return // The tests read what is drawn until it is there.
    if (['error', 'warning'].includes(message.type())) wrong.push(message.text())
  })
  page.on('response', (response) => {
    // The API refuses what can't be answered yet, and the page says so.
    const most = refused && response.url().startsWith(at + '/api/') ? 499 : 399
    if (response.status() > most) wrong.push(`${response.status()} ${response.url()}`)
  })
  page.on('pageerror', (error) => wrong.push(String(error)))
  page.on('request', (request) => {
    if (!request.url().startsWith(at) && !/^(data|blob):/.test(request.url())) wrong.push('asks ' + request.url())
  })
  t.after(async () => {
    // A view may ask anew while it is closed: an answer that a test changes on its way is nobody's then.
    for (const each of context.pages()) await each.unrouteAll({ behavior: 'ignoreErrors' })
    await context.close()
    assert.deepEqual(wrong, [], 'errors, or requests to elsewhere')
  })
  await page.goto(at + path)
  return page
}

/** accessible checks a view with axe's rules, all or some, and that it is as wide as the window. */
export async function accessible(page, path, rules) {
  // A view has no heading until it has been loaded, and axe looks once.
  await page.getByRole('heading', { level: 1 }).first().waitFor()
  // What has just been made narrower is drawn anew with the next frames.
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  await until(async () => (await wide()) <= 0, async () => `${path} is ${await wide()} pixels too wide`)
  // The page's policy admits no script from elsewhere: this one is given to the browser itself.
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(axe)
  const { violations } = await page.evaluate((rules) => globalThis.axe.run({ resultTypes: ['violations'], ...(rules ? { runOnly: rules } : {}) }), rules)
  assert.deepEqual(violations.map((one) => `${path}: ${one.id}: ${one.nodes.map((node) => node.html).join(' ')}`), [])
}
