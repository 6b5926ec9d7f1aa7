import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The coordinator that `npm run dev` asks for data.
const coordinator = process.env.TRELLIS_HTTP ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: 'embedded',
    // unbuilt.html stays: Go embeds the folder also where nothing is built.
    emptyOutDir: false,
    target: 'es2022',
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': coordinator } },
})
