// Modules of the page without a browser: those that are no components.
import { readFile } from 'node:fs/promises'
import ts from 'typescript'

const folder = new URL('../src/lib/', import.meta.url)

/** addressOf is a module as JavaScript, with all that it imports. */
async function addressOf(name) {
  const source = await readFile(new URL(name + '.ts', folder), 'utf8')
  let { outputText: text } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } })
  for (const [whole, other] of text.matchAll(/ from '\.\/(.+)'/g)) text = text.replace(whole, ` from ${JSON.stringify(await addressOf(other))}`)
  return 'data:text/javascript,' + encodeURIComponent(text)
}

/** load is a module of src/lib by its name. */
export const load = async (name) => import(await addressOf(name))
