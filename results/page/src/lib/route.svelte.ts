// The address says what is shown: the path names the view, the query its state. A link shows the same.

export interface Route {
  // The parts of the path: [] for /, ['studies', 'paper', 'trials'] for /studies/paper/trials.
  path: string[]
  query: URLSearchParams
}

/** decoded is a part of a path. One that was not written by a page may be no text. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

function read(): Route {
  const path = location.pathname.split('/').filter(Boolean).map(decoded)
  return { path, query: new URLSearchParams(location.search) }
}

let current = $state.raw(read())

/** route is where the page is. Reading it in a component or an effect follows it. */
export const route = {
  get path() { return current.path },
  get query() { return current.query },
}

/** href writes an address. Values that are undefined or empty are left out of the query. */
export function href(path: string[], query: Record<string, string | undefined> = {}): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value) search.set(name, value)
  const text = search.toString()
  return '/' + path.map(encodeURIComponent).join('/') + (text ? '?' + text : '')
}

/** go shows another view, as a link does. */
export function go(to: string): void {
  history.pushState(null, '', to)
  current = read()
  scrollTo(0, 0)
}

/** keep puts state of the view into the address, without a step in the history. */
export function keep(values: Record<string, string | undefined>): void {
  const query = new URLSearchParams(location.search)
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value)
    else query.delete(name)
  }
  const text = query.toString()
  history.replaceState(null, '', location.pathname + (text ? '?' + text : ''))
  current = read()
}

addEventListener('popstate', () => { current = read() })

// Links within the page don't load it anew.
addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
  const link = (event.target as Element).closest?.('a')
  if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return
  if (link.pathname.startsWith('/api')) return
  event.preventDefault()
  go(link.pathname + link.search)
})
