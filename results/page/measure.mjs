// Measures the page in Chromium on studies of several sizes: make bench-page. Prints tables of how long views and interactions take
// until the first frame after what a person did, and until the data is painted; what comes over the wire; what the browser takes of the
// processor for a view; and the memory of the tab. In the end it says what is asked of the page and what came out. It does not fail where
// that is missed: other work on the machine makes times longer.
//
//   node measure.mjs [TRIALS ...]                             starts a coordinator and a worker, and trains the studies
//   PAGE=http://127.0.0.1:8080 node measure.mjs [TRIALS ...]  measures one that has the studies already
import { existsSync, readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { chromium } from 'playwright-core'
import { serve } from './test/coordinator.mjs'

const sizes = process.argv.slice(2).map(Number)
const repetitions = 5

const coordinator = process.env.PAGE ? { page: process.env.PAGE, close: async () => {} } : await serve()
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const system = await browser.newBrowserCDPSession()

/** specOf has a hundred configurations for each weight decay. */
const specOf = (name, trials, epochs) => `
name: ${name}
model: synthetic
grid:
  latent_dim: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
  learning_rate: {log10: {from: 1e-4, to: 1e-1, count: 10}}
  weight_decay: {linear: {from: 0, to: 0.01, count: ${trials / 100}}}
  max_epochs: ${epochs}
early_stopping: {patience: ${epochs}}
`

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]

/**
 * Inside the page: armed(shown) begins to look whether a view shows what it should, and returns nothing; taken() waits until that is
 * painted. Times are those of the page's own clock, which begins with the navigation. So no round trip of the driver is in them.
 */
function inside() {
  // After the next frame has been painted.
  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => done(performance.now())
    port2.postMessage(0)
  }))
  let begun = 0
  let result
  let first = 0
  // The first thing that a person does, by the time at which the browser got it, and when a frame followed.
  for (const type of ['pointerdown', 'pointerup', 'keydown', 'change']) {
    addEventListener(type, (event) => {
      if (begun !== 0 || globalThis.only && globalThis.only !== type) return
      begun = event.timeStamp
      void painted().then((at) => (first = at))
    }, true)
  }
  globalThis.armed = (text, only) => {
    const shown = new Function('before', `return (${text})`)
    const before = globalThis.seen?.()
    begun = first = 0
    globalThis.only = only
    result = new Promise((done) => {
      const look = () => {
        if (!shown(before)) return false
        void painted().then(done)
        return true
      }
      if (only !== 'navigation' || !look()) {
        const observer = new MutationObserver(() => { if (begun + (only === 'navigation') > 0 && look()) observer.disconnect() })
        observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true })
      }
    })
  }
  globalThis.begins = () => {
    begun = performance.now()
    void painted().then((at) => (first = at))
  }
  globalThis.taken = async () => {
    const at = await result
    return { shown: at - begun, first: first ? first - begun : at - begun }
  }
  // What the table shows now.
  globalThis.seen = () => `${document.querySelector('tbody')?.innerText}${[...document.querySelectorAll('p')].find((one) => / in sight$/.test(one.textContent.trim()))?.textContent}`
}

/** opened measures a view's first load in a new tab, with nothing kept, from the beginning of the navigation on. */
async function opened(what, path, shown) {
  const times = []
  const taken = []
  let bytes = 0
  for (let i = 0; i < repetitions; i++) {
    const { context, page, wire } = await fresh()
    await page.addInitScript((text) => globalThis.armed(text, 'navigation'), shown)
    const before = await processorTimes()
    await page.goto(coordinator.page + path, { waitUntil: 'commit' })
    times.push((await late(page.evaluate(() => globalThis.taken()), shown)).shown)
    taken.push([...await processorTimes()].reduce((sum, [id, time]) => sum + time - (before.get(id) ?? 0), 0))
    bytes = wire.bytes
    await context.close()
  }
  show(what, times, times, `${(bytes / 1024).toFixed(0)} kB`, `${median(taken).toFixed(0)} ms`)
  return median(times)
}

/**
 * processorTimes are what the browser's processes have taken of the processor so far, in ms, by process. Other work on the machine makes
 * them grow less than the time until something is shown: they help to tell whether it was the page.
 */
async function processorTimes() {
  const { processInfo } = await system.send('SystemInfo.getProcessInfo')
  return new Map(processInfo.map((its) => [its.id, its.cpuTime * 1000]))
}

/**
 * calm waits until the browser does nothing any more. A context is a window of its own, and for each Chromium loads pages of its own, such
 * as the list below the address field: these take both cores for half a second. Whoever opens a tab has a window already.
 */
async function calm() {
  const end = performance.now() + 10_000
  for (let quiet = 0, before = 0; quiet < 3 && performance.now() < end;) {
    const taken = [...(await processorTimes()).values()].reduce((sum, time) => sum + time, 0)
    quiet = taken - before < 20 ? quiet + 1 : 0 // Times have steps of 10 ms.
    before = taken
    await new Promise((done) => setTimeout(done, 100))
  }
}

/** acted measures from what a person does until it is painted. only is the kind of event that it begins with. */
async function acted(page, act, shown, only = 'pointerdown') {
  await page.evaluate(([text, only]) => globalThis.armed(text, only), [shown, only])
  await act()
  return late(page.evaluate(() => globalThis.taken()), shown)
}

/** late fails where something is not shown in a minute. */
function late(shown, what) {
  shown.catch(() => {}) // The browser may be closed before.
  let timer
  const failed = new Promise((_, fail) => { timer = setTimeout(() => fail(new Error('not shown in a minute: ' + what)), 60_000) })
  return Promise.race([shown, failed]).finally(() => clearTimeout(timer))
}

/** memoryOf returns the proportional memory of a tab's process in MB: of the process that is busy when the tab is. */
async function memoryOf(page) {
  const session = await browser.newBrowserCDPSession()
  const renderers = async () => (await session.send('SystemInfo.getProcessInfo')).processInfo.filter((its) => its.type === 'renderer')
  const before = new Map((await renderers()).map((its) => [its.id, its.cpuTime]))
  await page.evaluate(() => { for (const end = performance.now() + 300; performance.now() < end;); })
  const busy = (its) => its.cpuTime - (before.get(its.id) ?? 0)
  const [its] = (await renderers()).sort((a, b) => busy(b) - busy(a))
  await session.detach()
  const match = /^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${its.id}/smaps_rollup`, 'utf8'))
  return Number(match?.[1] ?? 0) / 1024
}

/** emptyMemory is what a tab takes that shows one line of text. */
async function emptyMemory() {
  const { context, page } = await fresh()
  await page.goto('data:text/html,<p>Empty</p>')
  await page.waitForTimeout(500)
  const memory = await memoryOf(page)
  await context.close()
  return memory
}

/** fresh opens a tab without anything kept, in a window that is there already. */
async function fresh() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  const page = await context.newPage()
  await page.addInitScript(inside)
  const session = await context.newCDPSession(page)
  const wire = { bytes: 0 }
  await session.send('Network.enable')
  await calm()
  session.on('Network.loadingFinished', (its) => (wire.bytes += its.encodedDataLength))
  return { context, page, wire }
}

// What is asked of the page, with what came out.
const wanted = []
const want = (asked, is, most, unit, what) => wanted.push({ asked, is, most, unit, what })

const show = (what, first, shown, wire = '', processor = '') => console.log(
  `| ${what} | ${[median(first), Math.max(...first), median(shown), Math.max(...shown)].map((time) => time.toFixed(0) + ' ms').join(' | ')} | ${wire} | ${processor} |`)

const heading = (title) =>
  console.log(`\n${title}\n\n| what | first paint, median | longest | data shown, median | longest | over the wire | processor time of the browser, median |\n|---|---|---|---|---|---|---|`)

// What each view shows once it has its data.
const has = (selector, pattern) => `[...document.querySelectorAll('${selector}')].some((one) => ${pattern}.test(one.getAttribute('aria-label') ?? one.textContent))`
const shows = {
  Overview: `document.querySelector('.answer .value strong')?.textContent`,
  all: `document.querySelector('.answer .value strong')?.textContent && document.querySelector('.u-over') && document.querySelector('.track') && document.querySelector('.digest')`,
  Curves: has('figcaption', '/curves; the best one/'),
  Parameters: `${has('canvas', '/^Parallel/')} && ${has('canvas', '/^Heat map/')}`,
  Coverage: has('canvas', '/^Map of the grid: \\d/'),
  'Time line': has('p', '/ attempts? on \\d+ workers?/'),
  Trials: `document.querySelector('tbody a')`,
}

async function measure(name, trials) {
  heading(`${trials.toLocaleString('en')} trials`)
  const at = `/studies/${name}`
  const size = trials.toLocaleString('en') + ' trials'
  await opened('open: studies', '/', has('a', `/^${name}$/`))
  want(`${size}: the best configuration, in a new tab`, await opened('open: best configuration', at, shows.Overview), 1000, 'ms')
  await opened('open: all of the overview', at, shows.all)
  for (const [view, path] of [['Curves', 'curves'], ['Parameters', 'parameters'], ['Coverage', 'coverage'], ['Time line', 'timeline'], ['Trials', 'trials']]) {
    await opened('open: ' + view, `${at}/${path}`, shows[view])
  }
  const rows = []
  const noted = (what) => rows.find(([name]) => name === what)?.[1] ?? rows[rows.push([what, []]) - 1][1]
  const views = ['Trials', 'Parameters', 'Coverage', 'Curves', 'Time line']
  const answered = async () => {
    const its = await fresh()
    await its.page.goto(coordinator.page + at)
    await its.page.locator('.answer .value strong').waitFor()
    return { ...its, link: (label) => its.page.getByRole('link', { name: label, exact: true }) }
  }
  // As soon as the answer is there: nothing of these views has been asked for. A script clicks at that moment. A person moves the pointer
  // there, and presses a little later.
  for (const view of views) {
    for (let i = 0; i < repetitions; i++) {
      for (const who of ['a script', 'a person']) {
        const { page, context, link } = await answered()
        if (who === 'a person') {
          await page.waitForTimeout(150)
          await link(view).hover()
          await page.waitForTimeout(100)
        }
        noted(`to ${view}, the first time, at once, ${who}`).push(await acted(page, () => link(view).click(), shows[view]))
        await context.close()
      }
    }
  }
  let last
  for (let i = 0; i < repetitions; i++) {
    await last?.context.close()
    last = await answered()
    await last.page.waitForTimeout(3000) // A person reads.
    for (const view of [...views, 'Overview']) {
      noted(`to ${view}, the first time, later`).push(await acted(last.page, () => last.link(view).click(), shows[view]))
    }
  }
  const { context, page, wire } = last
  const tab = (label) => last.link(label).click()
  for (let i = 0; i < repetitions; i++) {
    for (const view of [...views, 'Overview']) noted(`to ${view}`).push(await acted(page, () => tab(view), shows[view]))
  }
  await tab('Trials')
  await page.locator('tbody a').first().waitFor()
  const other = `globalThis.seen() !== before && document.querySelector('tbody a') && !document.querySelector('table[aria-busy=true]')`
  const scroll = (share) => page.locator('.table').evaluate((box, share) => {
    globalThis.begins()
    box.scrollTop = share * (box.scrollHeight - box.clientHeight)
  }, share)
  for (let i = 0; i < repetitions; i++) {
    noted('sort trials by another column').push(await acted(page, () => page.getByRole('button', { name: i % 2 ? 'validation loss' : 'learning rate' }).click(), other))
    await page.waitForTimeout(100)
    await page.getByLabel('Filter', { exact: true }).fill(`latent_dim == ${2 ** (i + 1)} && learning_rate < 2e-4`)
    noted('filter trials').push(await acted(page, () => page.getByRole('button', { name: 'Apply' }).click(), `${other} && ${has('p', '/trials match/')}`))
    await page.waitForTimeout(100)
    noted('remove a part of the selection').push(await acted(page, () => page.getByRole('button', { name: /^Remove latent_dim/ }).click(), other))
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByText('trials;').waitFor()
    await page.waitForTimeout(100)
    noted('scroll to the middle of the trials').push(await acted(page, () => scroll(0.3 + 0.1 * i), other, 'now'))
    await page.locator('.table').focus()
    for (const key of ['PageDown', 'End', 'Home']) {
      await page.waitForTimeout(300)
      noted('trials: ' + key).push(await acted(page, () => page.keyboard.press(key), other, 'keydown'))
    }
  }
  await tab('Curves')
  await page.getByText(/curves; the best one/).waitFor()
  const canvas = await page.locator('canvas.overlay').boundingBox()
  for (let i = 0; i < repetitions; i++) {
    await page.mouse.move(canvas.x + 300 + 20 * i, canvas.y + 60)
    await page.mouse.down()
    await page.mouse.move(canvas.x + 400 + 20 * i, canvas.y + 300)
    noted('curves: draw a rectangle').push(await acted(page, () => page.mouse.up(), `${has('figcaption', '/curves chosen/')} && location.search.includes('box')`, 'pointerup'))
    await page.getByRole('button', { name: 'Show all' }).click()
    await page.getByText(/curves; the best one/).waitFor()
    noted('curves: logarithmic values').push(await acted(page, () => page.getByLabel('logarithmic values').click(), `location.search.includes('log') === ${i % 2 === 0} && ${shows.Curves}`))
  }
  await tab('Parameters')
  await page.getByRole('img', { name: /^Heat map/ }).waitFor()
  for (let i = 0; i < repetitions; i++) {
    const axis = i % 2 ? 'latent_dim' : 'weight_decay'
    noted('heat map: another axis').push(await acted(page, () => page.getByLabel('Columns').selectOption(axis), has('canvas', `/^Heat map of .* over ${axis.replace('_', ' ')}/`), 'change'))
  }
  for (const [what, took] of rows) show(what, took.map((one) => one.first), took.map((one) => one.shown))
  for (const [who, its] of [['', rows.filter(([what]) => !what.endsWith('a script'))], [' of scripts', rows.filter(([what]) => what.endsWith('a script'))]]) {
    const slowest = (of) => its.map(([what, took]) => ({ what, took: median(took.map(of)) })).sort((a, b) => b.took - a.took)[0]
    const [first, data] = [slowest((one) => one.first), slowest((one) => one.shown)]
    want(`${size}: something of every interaction${who}`, first.took, 100, 'ms', first.what)
    want(`${size}: the data of every interaction${who}`, data.took, 100, 'ms', data.what)
  }
  want(`${size}: over the wire in all`, wire.bytes / 1024, 2048, 'kB')
  const memory = await memoryOf(page)
  want(`${size}: memory of the tab`, memory, 200, 'MB')
  await (await context.newCDPSession(page)).send('HeapProfiler.collectGarbage')
  await page.waitForTimeout(500)
  console.log(`\nMemory of the tab afterwards: ${memory.toFixed(0)} MB, ${(await memoryOf(page)).toFixed(0)} MB once garbage is collected; ` +
    `of an empty one: ${(await emptyMemory()).toFixed(0)} MB. Over the wire in all: ${(wire.bytes / 1024).toFixed(0)} kB.`)
  await context.close()
}

// An address measures the studies s1000, s46000, s1000000 and curves of a coordinator that has them.
const there = process.env.PAGE
try {
  for (const trials of sizes.length > 0 ? sizes : [1000, 46000, 1000000]) {
    if (!there) await coordinator.submit(specOf(`s${trials}`, trials, 10), '--watch')
    await measure(`s${trials}`, trials)
  }
  if (!there) await coordinator.submit(specOf('curves', 10_000, 100), '--watch')
  heading('10,000 runs with 100 epochs')
  const curves = await opened('open: 10,000 curves', '/studies/curves/curves?count=10000', has('figcaption', '/^10.000 curves/'))
  want('10,000 curves of 100 epochs, in a new tab', curves, 500, 'ms')
  console.log(`\nWhat is asked, and what came out (medians; load ${loadavg().map((load) => load.toFixed(1)).join(', ')} on ${cpus().length} cores)\n`)
  console.log('| what | at most | came out | |\n|---|---|---|---|')
  for (const { asked, is, most, unit, what } of wanted) {
    console.log(`| ${asked} | ${most} ${unit} | ${is.toFixed(0)} ${unit}${what ? ', ' + what : ''} | ${is <= most ? 'met' : 'missed'} |`)
  }
} finally {
  await browser.close()
  await coordinator.close()
}
