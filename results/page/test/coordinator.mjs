// A coordinator and a worker for tests: real processes of the binary that TRELLIS names, or ../../trellis.
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const binary = resolve(process.env.TRELLIS ?? '../../trellis')

/** run ends with the command's standard output, or fails with what it wrote. */
export function run(...args) {
  return new Promise((done, fail) => {
    const command = spawn(binary, args)
    let out = ''
    let err = ''
    command.stdout.on('data', (data) => (out += data))
    command.stderr.on('data', (data) => (err += data))
    command.on('error', fail)
    command.on('close', (code) => (code === 0 ? done(out) : fail(new Error(`trellis ${args.join(' ')}: exit code ${code}\n${out}${err}`))))
  })
}

/** start starts a process and waits for a line that matches; it returns the match, its end and functions that end and signal the process. */
function start(args, pattern) {
  const command = spawn(binary, args)
  return new Promise((done, fail) => {
    let text = ''
    const ended = new Promise((end) => command.on('close', (code) => end({ code, text })))
    const look = (data) => {
      text += data
      const match = pattern.exec(text)
      if (match) {
        done({
          match, ended, signal: (name) => command.kill(name),
          stop: () => new Promise((ended) => { command.on('close', ended); command.kill('SIGTERM'); command.kill('SIGCONT') }),
        })
      }
    }
    command.stdout.on('data', look)
    command.stderr.on('data', look)
    command.on('error', fail)
    command.on('close', (code) => fail(new Error(`trellis ${args.join(' ')} ended with ${code}:\n${text}`)))
  })
}

/** serve starts a coordinator with the page and a worker with four slots, or as many as SLOTS says. */
export async function serve(...flags) {
  const folder = await mkdtemp(join(tmpdir(), 'trellis-page-'))
  const coordinator = await start(
    ['coordinator', '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0', '--data', join(folder, 'data'), ...flags],
    /listens on (\S+)\.\n[^]*Web page: +(http:\/\/\S+?)\/? /)
  const [, address, page] = coordinator.match
  const worker = await start(['worker', '--coordinator', address, '--slots', process.env.SLOTS ?? '4', '--name', 'w', '--programs'], /msg=connected/)
  return {
    address, page,
    folder,
    /** hold keeps the worker from training, and release lets it go on, within the coordinator's lease. */
    hold: () => worker.signal('SIGSTOP'),
    release: () => worker.signal('SIGCONT'),
    /** reproduce reproduces a paper, of which `name` is the file's name, and returns the address of its report and its end. */
    async reproduce(name, text) {
      const path = join(folder, name + '.yaml')
      await writeFile(path, text)
      const output = join(folder, name)
      const { match, ended } = await start(['reproduce', '--coordinator', address, '--folder', output, path], /Web page: (\S+),/)
      return { link: match[1], output, ended }
    },
    async submit(spec, ...more) {
      const path = join(folder, 'spec.yaml')
      await writeFile(path, spec)
      return run('submit', '--coordinator', address, path, ...more)
    },
    async close() {
      await worker.stop()
      await coordinator.stop()
      await rm(folder, { recursive: true })
    },
  }
}

/**
 * serveSecured starts a coordinator that asks who calls: with certificates of an authority of its own. `cli` runs a command as
 * its first admin.
 */
export async function serveSecured() {
  const folder = await mkdtemp(join(tmpdir(), 'trellis-page-'))
  const file = (name) => join(folder, 'certificates', name)
  await run('certificates', 'authority', '--folder', join(folder, 'certificates'))
  await run('certificates', 'node', '127.0.0.1', '--folder', join(folder, 'certificates'))
  const authority = ['--authority', file('authority.crt')]
  const coordinator = await start(
    ['coordinator', '--listen', '127.0.0.1:0', '--http', '127.0.0.1:0', '--data', join(folder, 'data'),
      ...authority, '--certificate', file('node-127.0.0.1.crt')],
    /listens on (\S+)\.\n[^]*Web page: +(https:\/\/\S+?)\/? /)
  const [, address, page] = coordinator.match
  return {
    page,
    cli: (...args) => run(...args, '--coordinator', address, ...authority, '--certificate', file('client-admin.crt')),
    async spec(text) {
      await writeFile(join(folder, 'spec.yaml'), text)
      return join(folder, 'spec.yaml')
    },
    async close() {
      await coordinator.stop()
      await rm(folder, { recursive: true })
    },
  }
}
