// The reports on papers in Chromium: one that is being reproduced, and one that somebody has written.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { accessible, launch, patience, show, until, untilEqual } from './browser.mjs'
import { serve } from './coordinator.mjs'

// A paper whose studies take a second each.
const study = (name, model, grid, more = '') => `
  - ${more}study: {name: ${name}, data: mnist, model: ${model}, grid: ${grid}, split: {train: 1000, validation: 500}`
const paper = `
title: A paper
stages:${study('plain', 'conv-autoencoder', '{latent_dim: 8, learning_rate: 3e-3, weight_decay: 0, max_epochs: 60}')}, batch_size: 64, early_stopping: {patience: 60}}
${study('drawn', 'variational-autoencoder', '{max_epochs: 1}', 'best_of: plain\n    ')}}
${study('noisy', 'denoising-autoencoder', '{noise: 0.3, max_epochs: 1}', 'best_of: plain\n    ')}}
${study('read', 'classifier', '{fine_tune: 0, max_epochs: 1}', 'best_of: plain\n    ')}, pretrained: {study: plain}}
analysis:
  {autoencoder: plain, denoising: noisy, classifier: read, variational: drawn, images: 100, perplexity: 5, iterations: 250, samples: 32}
`

let coordinator, browser
before(async () => {
  coordinator = await serve()
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await coordinator?.close()
})

const api = async (path, options) => fetch(coordinator.page + '/api/v1' + path, options)
const post = (path, body) => api(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body ?? {}) })

const open = (t, path, options) => show(browser, t, path, { at: coordinator.page, refused: false, ...options })

/** drawn says how many figures are shown, each as an image that the browser could draw. */
const drawn = (page) => page.locator('figure img').evaluateAll((images) =>
  images.filter((image) => { image.loading = 'eager'; return image.complete && image.naturalWidth > 0 }).length)

test('a paper while it is being reproduced', async (t) => {
  coordinator.hold() // The first study takes a second: it must not end before it is paused.
  const going = await coordinator.reproduce('tiny', paper)
  assert.equal(going.link, coordinator.page + '/reports/tiny')
  while ((await post('/studies/plain:pause')).status === 404) await new Promise((later) => setTimeout(later, 20))
  coordinator.release()
  const page = await open(t, new URL(going.link).pathname)
  await page.getByRole('heading', { level: 1, name: 'A paper' }).waitFor()
  await page.getByRole('listitem').filter({ hasText: 'plain conv-autoencoder' }).getByText('paused').waitFor()
  await page.getByText('waits for plain').first().waitFor()
  const dimension = page.getByRole('row', { name: /^encoded space dimension/ })
  await untilEqual(() => dimension.innerText(), 'encoded space dimension\t16\tnot yet\t')
  await untilEqual(() => page.getByText('not drawn yet').count(), 8)
  assert.equal(await drawn(page), 0)
  await page.getByText(/^0 of \d+ numbers known/).waitFor()
  await accessible(page, 'the report that has just begun')

  // It follows without being loaded anew.
  await page.evaluate(() => { globalThis.same = true })
  await post('/studies/plain:resume')
  await page.getByRole('row', { name: /^encoded space dimension .*16 8 −8$/ }).waitFor()
  const { code, text } = await going.ended
  assert.equal(code, 0, text)
  await page.getByText(/^(\d+) of \1 numbers known/).waitFor()
  await page.getByText('completed', { exact: true }).nth(4).waitFor()
  assert.equal(await page.evaluate(() => globalThis.same), true)
  await until(async () => (await drawn(page)) >= 8, 'the figures are not drawn')
  await page.getByRole('link', { name: 'noisy' }).waitFor()

  // The numbers are those of the file that the command has written.
  const cells = (rows) => rows.map((row) => [...row.querySelectorAll('th, td')].filter((cell) => !cell.querySelector('code')).map((cell) => {
    const copy = cell.cloneNode(true)
    copy.querySelectorAll('small').forEach((one) => one.remove())
    return copy.textContent.trim()
  })).filter((row) => row.length > 1)
  const shown = await page.locator('tbody tr').evaluateAll(cells)
  const file = await browser.newPage()
  file.setDefaultTimeout(patience)
  await file.goto('file://' + join(going.output, 'report.html'))
  const written = (await file.locator('.results tbody tr').evaluateAll(cells)).filter((row) => row[1] !== '–')
  await file.close()
  assert.ok(written.length > 5)
  for (const row of written) assert.ok(shown.some((one) => JSON.stringify(one) === JSON.stringify(row)), `${row} is not among ${shown.join('\n')}`)

  // It stays when its studies go.
  await api('/studies/drawn', { method: 'DELETE' })
  await page.getByText('the study was deleted').waitFor()
  await page.getByRole('link', { name: 'drawn' }).waitFor({ state: 'detached' })
  await page.getByLabel('Show the command for each number').check()
  await page.getByText('trellis best plain --coordinator').first().waitFor()
  assert.match(page.url(), /commands=y/)
  await accessible(page, 'the report')
  await accessible(await open(t, '/reports/tiny?commands=y', { width: 390 }), 'the report on a telephone')
})

test('the reports, and what they may not do', async (t) => {
  const empty = await open(t, '/')
  await empty.getByRole('heading', { level: 1, name: 'Studies' }).waitFor()
  assert.equal((await post('/reports', { report: { name: 'cut', title: 'Cut off', state: 'PAPER_STATE_RUNNING', renewal: '1s' } })).status, 200)
  const evil = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="top.document.title=1"><script>document.title=2</script><rect width="40" height="40"/></svg>'
  const sha256 = createHash('sha256').update(evil).digest('hex')
  const uploaded = await api('/artifacts', { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: evil })
  assert.equal(uploaded.status, 200)
  const report = {
    name: 'evil', title: '<script>alert(1)</script>', state: 'PAPER_STATE_STOPPED', stages: [{ study: 'none', state: 'completed', create_index: '7' }],
    sections: [{
      title: 'A <b>section</b>', text: 'One.\n\nTwo.', results: [{ what: 'x', paper: '1', ours: '2', difference: '+1', note: '<img src=x onerror=alert(1)>' }],
      figures: [{ number: 1, caption: 'Caption', picture: { sha256, size: String(evil.length) } }],
    }],
  }
  assert.equal((await post('/reports', { report })).status, 200)
  const page = await open(t, '/')
  await page.getByRole('link', { name: 'Reports' }).click()
  await page.getByRole('link', { name: report.title }).waitFor()
  await accessible(page, 'the reports')
  await page.getByRole('link', { name: report.title }).click()
  await page.getByText('The reproduction has stopped.').waitFor()
  await page.getByText('<img src=x onerror=alert(1)>').waitFor()
  await page.getByText('the study was deleted').waitFor()
  await page.waitForFunction(() => document.querySelector('figure img')?.naturalWidth === 40)
  assert.match(await page.title(), /^<script>/)
  // Nor can the picture alone.
  const picture = await browser.newPage()
  picture.setDefaultTimeout(patience)
  const blocked = picture.waitForEvent('console', (message) => message.text().startsWith('Blocked script execution'))
  await picture.goto(`${coordinator.page}/api/v1/reports/evil/pictures/${sha256}`)
  await blocked
  assert.equal(await picture.title(), '')
  await picture.close()

  // One whose command was killed is lost, once it was not written anew as promised.
  await page.goto(coordinator.page + '/reports')
  await page.getByRole('row', { name: /^Cut off/ }).getByText('lost', { exact: true }).waitFor()
  await page.getByRole('link', { name: 'Cut off' }).click()
  await page.getByText(/^Nobody has written to the report since .*: the reproduction was probably killed/).waitFor()
  await accessible(page, 'the report that is lost')
  await page.goto(coordinator.page + '/reports/evil')
  // One that promises nothing says that it is running, until somebody deletes it. So the page says how long ago that was.
  assert.equal((await post('/reports', { report: { name: 'killed', title: 'Killed', state: 'PAPER_STATE_RUNNING' } })).status, 200)
  const killed = await open(t, '/reports/killed')
  await killed.getByText('running', { exact: true }).waitFor()
  assert.equal(await killed.getByText('Nothing has been added since').count(), 0)
  await killed.clock.setFixedTime(Date.now() + 11 * 60_000)
  await killed.getByText('Nothing has been added since').waitFor()

  await page.getByRole('button', { name: 'Delete' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
  await page.getByRole('heading', { level: 1, name: 'Reports' }).waitFor()
  await page.getByRole('link', { name: report.title }).waitFor({ state: 'detached' })
  assert.equal((await api('/reports/evil')).status, 404)
})
