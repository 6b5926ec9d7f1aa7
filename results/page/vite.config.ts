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

export default defineConfig({
  plugins: [svelte(), early],
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
              test: /\/(views\/(Curves|ParametersView|Coverage|TimeLine|Trials)|lib\/(Contour|HeatMap|Parallel|Slices))\.svelte|\/lib\/chart\/(curves|density)\.ts$/,
            },
          ],
        },
      },
    },
  },
  server: { proxy: { '/api': coordinator } },
})
