// Light, dark, or what the system says.

export type Theme = 'system' | 'light' | 'dark'

const key = 'trellis-theme'
let chosen = $state<Theme>((localStorage.getItem(key) as Theme | null) ?? 'system')

function apply(): void {
  if (chosen === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = chosen
}
apply()

export const theme = {
  get value() { return chosen },
  set value(next: Theme) {
    chosen = next
    localStorage.setItem(key, next)
    apply()
  },
}
