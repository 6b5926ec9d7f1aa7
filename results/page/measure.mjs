// Measures the page in Chromium on studies of several sizes: make bench-page. Prints a table of how long views take until
// they show what was asked for, what comes over the wire, and the memory of the tab.
//
//   node measure.mjs [TRIALS ...]
import { existsSync, readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'
import { serve } from './test/coordinator.mjs'

const sizes = process.argv.slice(2).map(Number)
const repetitions = 5

const coordinator = await serve()
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})

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

/** drawn waits until the page has painted what is there now. */
const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))

/** timed returns how many milliseconds something takes until it is drawn. */
async function timed(page, act) {
  const begun = performance.now()
  await act()
  await drawn(page)
  return performance.now() - begun
}

/** memoryOf returns the proportional memory of a tab's process in MB. */
async function memoryOf(page) {
  const session = await browser.newBrowserCDPSession()
  const { processInfo } = await session.send('SystemInfo.getProcessInfo')
  await session.detach()
  const sizes = processInfo.filter((its) => its.type === 'renderer').map((its) => {
    const match = /^Pss: +(\d+) kB/m.exec(readFileSync(`/proc/${its.id}/smaps_rollup`, 'utf8'))
    return Number(match?.[1] ?? 0) / 1024
  })
  return Math.max(...sizes)
}

/** fresh opens a tab without anything kept. */
async function fresh() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  const page = await context.newPage()
  const session = await context.newCDPSession(page)
  const wire = { bytes: 0 }
  await session.send('Network.enable')
  session.on('Network.loadingFinished', (its) => (wire.bytes += its.encodedDataLength))
  return { context, page, wire }
}

const show = (what, values, more = '') =>
  console.log(`| ${what} | ${median(values).toFixed(0)} ms | ${Math.max(...values).toFixed(0)} ms | ${more} |`)

/** first measures a view's first load, with an empty cache. */
async function first(what, path, shown) {
  const times = []
  let bytes = 0
  for (let i = 0; i < repetitions; i++) {
    const { context, page, wire } = await fresh()
    times.push(await timed(page, async () => {
      await page.goto(coordinator.page + path, { waitUntil: 'commit' })
      await shown(page)
    }))
    bytes = wire.bytes
    await context.close()
  }
  show(what, times, `${(bytes / 1024).toFixed(0)} kB`)
}

async function measure(name, trials) {
  console.log(`\n${trials.toLocaleString('en')} trials\n\n| what | median | longest | over the wire |\n|---|---|---|---|`)
  const best = (page) => page.getByRole('heading', { name: 'Best configuration' }).waitFor()
  await first('studies', '/', (page) => page.getByRole('link', { name }).waitFor())
  await first('overview: the best configuration', `/studies/${name}`, best)
  await first('overview: all of it', `/studies/${name}`, async (page) => {
    await best(page)
    await page.getByRole('heading', { name: 'What matters' }).waitFor()
    await page.locator('.u-over').first().waitFor()
  })
  await first('trials, by objective', `/studies/${name}/trials?order=objective`, (page) => page.locator('tbody a').first().waitFor())
  const { context, page, wire } = await fresh()
  await page.goto(`${coordinator.page}/studies/${name}`)
  await best(page)
  const tab = (label) => page.getByRole('link', { name: label, exact: true }).click()
  const views = [
    ['to Trials', () => tab('Trials'), () => page.locator('tbody a').first().waitFor()],
    ['to Parameters', () => tab('Parameters'), () => page.getByRole('img', { name: /^Parallel/ }).waitFor()],
    ['to Coverage', () => tab('Coverage'), () => page.getByRole('img', { name: /^Map/ }).waitFor()],
    ['to Curves', () => tab('Curves'), () => page.getByText(/curves; the best one/).waitFor()],
    ['to Time line', () => tab('Time line'), () => page.getByText(/ bars, workers/).waitFor()],
    ['to Overview', () => tab('Overview'), () => best(page)],
  ]
  const times = views.map(() => [])
  for (let i = 0; i < repetitions + 1; i++) {
    for (const [at, [, act, shown]] of views.entries()) {
      const took = await timed(page, async () => {
        await act()
        await shown()
      })
      if (i > 0) times[at].push(took) // The first loads the view's code.
    }
  }
  views.forEach(([what], at) => show(what, times[at]))

  await tab('Trials')
  await page.locator('tbody a').first().waitFor()
  const took = { sort: [], scroll: [], filter: [] }
  const trial = () => page.locator('tbody a').first()
  for (let i = 0; i < repetitions; i++) {
    took.sort.push(await timed(page, async () => {
      const answered = page.waitForResponse((its) => its.url().includes('/trials?'))
      await page.getByRole('button', { name: i % 2 ? 'latent dim' : 'learning rate' }).click()
      await answered
      await trial().waitFor()
    }))
    took.scroll.push(await timed(page, async () => {
      const before = await trial().innerText()
      await page.locator('tbody').evaluate((body, share) => {
        let box = body
        while (box.scrollHeight <= box.clientHeight + 40 && box.parentElement) box = box.parentElement
        box.scrollTop = box.scrollHeight * share
      }, 0.2 + 0.1 * i)
      await page.waitForFunction((before) => {
        const first = document.querySelector('tbody a')
        return first && first.innerText !== before
      }, before)
    }))
    await page.getByLabel('Filter').fill(`latent_dim == ${2 ** i} && learning_rate < 2e-4`)
    took.filter.push(await timed(page, async () => {
      await page.getByRole('button', { name: 'Apply' }).click()
      await page.getByText(/trials match/).waitFor()
      await trial().waitFor()
    }))
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByText('trials;').waitFor()
  }
  show('sort trials by another column', took.sort)
  show('scroll to a far page', took.scroll)
  show('filter trials', took.filter)
  console.log(`\nMemory of the tab afterwards: ${(await memoryOf(page)).toFixed(0)} MB; over the wire in all: ${(wire.bytes / 1024).toFixed(0)} kB.`)
  await context.close()
}

try {
  for (const trials of sizes.length > 0 ? sizes : [1000, 46000, 1000000]) {
    await coordinator.submit(specOf(`s${trials}`, trials, 10), '--watch')
    await measure(`s${trials}`, trials)
  }
  await coordinator.submit(specOf('curves', 10_000, 100), '--watch')
  console.log('\n10,000 runs with 100 epochs\n\n| what | median | longest | over the wire |\n|---|---|---|---|')
  await first('curves', '/studies/curves/curves?count=10000', (page) => page.getByText(/^10.000 curves/).waitFor())
} finally {
  await browser.close()
  await coordinator.close()
}
