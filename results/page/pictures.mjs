// Draws the pictures of docs/page: each view in light, in dark and on a telephone, side by side. make pictures. Views may be
// named behind the folder.
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { chromium } from 'playwright-core'
import { run, serve } from './test/coordinator.mjs'

const into = resolve(process.argv[2] ?? '../../docs/page')
const wanted = process.argv.slice(3)

// What is shown: a study that is completed, one that goes on, and one with failures.
const done = `
name: autoencoder
model: synthetic
synthetic: {epoch_time: 2ms}
grid:
  latent_dim: [4, 8, 16, 32]
  learning_rate: {log10: {from: 1e-4, to: 1e-2, count: 5}}
  weight_decay: [0, 1e-5, 1e-4]
  max_epochs: [20, 40]
seeds: [1, 2]
`
const other = done.replace('autoencoder', 'coarse').replace('count: 5', 'count: 3').replace('[4, 8, 16, 32]', '[4, 16]')
const going = `
name: wide
model: synthetic
synthetic: {epoch_time: 250ms}
grid:
  latent_dim: [4, 8, 16, 32, 64]
  learning_rate: {log10: {from: 1e-4, to: 1e-1, count: 10}}
  max_epochs: [30, 60]
`

const views = [
  ['studies', '/'], ['overview', '/studies/autoencoder'], ['curves', '/studies/autoencoder/curves?log=xy'],
  ['parameters', '/studies/autoencoder/parameters'], ['coverage', '/studies/wide/coverage'], ['timeline', '/studies/wide/timeline'],
  ['trials', '/studies/autoencoder/trials?order=objective'], ['trial', '/studies/autoencoder/trials/7'],
  ['submit', '/submit?like=autoencoder'], ['extend', '/studies/autoencoder/extend?latent_dim=64&max_epochs=80'],
  ['compare', '/compare?study=autoencoder&study=coarse'], ['report', '/reports/reproduce-quick'], ['workers', '/workers'], ['events', '/events'],
]

const coordinator = await serve()
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync),
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
try {
  await coordinator.submit(done, '--watch')
  await coordinator.submit(other, '--watch')
  // It takes longest, and only two pictures have it.
  if (['studies', 'report'].some((name) => wanted.length === 0 || wanted.includes(name))) await run('reproduce', '--quick', '--coordinator', coordinator.address, '--folder', join(coordinator.folder, 'paper'))
  await coordinator.submit(going)
  await new Promise((later) => setTimeout(later, 15_000))
  await mkdir(into, { recursive: true })
  for (const [name, path] of views.filter(([name]) => wanted.length === 0 || wanted.includes(name))) {
    const shots = []
    for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 390]]) {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme })
      await page.goto(coordinator.page + path)
      await page.getByRole('heading', { level: 1 }).waitFor()
      await page.getByText('Loading', { exact: true }).waitFor({ state: 'detached' })
      await page.waitForTimeout(1500) // Charts that follow the view's first answer.
      shots.push((await page.screenshot()).toString('base64'))
      await page.close()
    }
    await writeFile(resolve(into, name + '.webp'), await beside(shots))
    console.log(name)
  }
} finally {
  await browser.close()
  await coordinator.close()
}

/** beside returns one picture of several. */
async function beside(shots) {
  const page = await browser.newPage()
  const data = await page.evaluate(async (shots) => {
    const images = await Promise.all(shots.map(async (shot) => {
      const image = new Image()
      image.src = 'data:image/png;base64,' + shot
      await image.decode()
      return image
    }))
    const gap = 24
    const canvas = document.createElement('canvas')
    canvas.width = images.reduce((sum, image) => sum + image.width, gap * (images.length - 1))
    canvas.height = Math.max(...images.map((image) => image.height))
    const context = canvas.getContext('2d')
    let x = 0
    for (const image of images) {
      context.drawImage(image, x, 0)
      x += image.width + gap
    }
    return canvas.toDataURL('image/webp', 0.8)
  }, shots)
  await page.close()
  return Buffer.from(data.slice(data.indexOf(',') + 1), 'base64')
}
