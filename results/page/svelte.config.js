import { vitePreprocess } from '@sveltejs/vite-plugin-svelte'

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    runes: true,
    // A canvas may be an image: it is what charts are drawn on.
    warningFilter: (warning) => warning.code !== 'a11y_no_interactive_element_to_noninteractive_role',
  },
}
