import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig, type Plugin } from 'vite'

// The coordinator that `npm run dev` asks for data.
const coordinator = process.env.TRELLIS_HTTP ?? 'http://127.0.0.1:8080'

/** early has the browser run src/lib/early.ts as soon as it has it. */
const early: Plugin = {
  name: 'early',
  apply: 'build',
  transformIndexHtml: {
    order: 'post',
    handler(_, { bundle }) {
      const file = Object.keys(bundle ?? {}).find((one) => /^assets\/early-[^/]+\.js$/.test(one))
      if (!file) throw new Error('the build has no file for src/lib/early.ts')
      const attrs = { type: 'module', async: true, crossorigin: true, fetchpriority: 'high', src: '/' + file }
      return [{ tag: 'script', attrs, injectTo: 'head-prepend' }]
    },
  },
}

/**
 * plain takes from uPlot the formatters that it makes while it is loaded: the first ones of a tab take 50 to 100 ms, in every view. The page
 * gives uPlot all texts itself, see src/lib/Lines.svelte.
 */
const plain: Plugin = {
  name: 'plain',
  transform(code, id) {
    if (!/uPlot\.esm\.js$/.test(id)) return
    for (const [its, ours] of [
      ["new Intl.NumberFormat(domEnv ? nav.language : 'en-US')", '{ format: String }'],
      ['new Intl.DateTimeFormat().resolvedOptions().timeZone', 'undefined'],
    ] as const) {
      if (!code.includes(its)) throw new Error(`uPlot does not have ${its} any more: look at what it does when it is loaded`)
      code = code.replace(its, ours)
    }
    return { code, map: null }
  },
}

/**
 * whole has the browser compile all of the code of a study's views when it loads it, beside the page. Otherwise it would compile each
 * function when it is called first: while somebody waits for a view.
 */
const whole: Plugin = {
  name: 'whole',
  generateBundle: {
    order: 'post',
    handler(_, bundle) {
      for (const its of Object.values(bundle)) {
        if (its.type === 'chunk' && its.name === 'views') its.code = '//# allFunctionsCalledOnLoad\n' + its.code
      }
    },
  },
}

export default defineConfig({
  plugins: [svelte(), early, plain, whole],
  build: {
    outDir: 'embedded',
    // unbuilt.html stays: Go embeds the folder also where nothing is built.
    emptyOutDir: false,
    target: 'es2022',
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            // With all that it imports, and nothing else.
            { name: 'early', test: /\/lib\/early\.ts$/, priority: 2 },
            // Whoever looks at one of a study's views goes to another: they are small, and one file is there sooner than ten.
            {
              name: 'views', priority: 1, includeDependenciesRecursively: false,
              test: /\/(views\/(Curves|ParametersView|Coverage|TimeLine|Trials)|lib\/(Contour|HeatMap|Parallel|Slices))\.svelte|\/lib\/chart\/(curves|density|plot)\.ts$/,
            },
          ],
        },
      },
    },
  },
  server: { proxy: { '/api': coordinator } },
})
