// What a failure's message says most of all, in the words of `trellis report`.

/** lastLine shortens the message of a failure. Of a program's last output it keeps the last line, which mostly says most. */
export function lastLine(message: string | undefined, most = 200): string {
  const shorten = (text: string) => (text.length > most ? text.slice(0, most - 1) + '…' : text)
  const mark = '; its last output:'
  const at = (message ?? '').indexOf(mark)
  if (at < 0) return shorten((message ?? '').trim())
  const written = message!.slice(at + mark.length).trim()
  return shorten(message!.slice(0, at)) + '; its last output: ' + shorten(written.slice(written.lastIndexOf('\n') + 1))
}

/** alike puts things together that have the same key, in the order of the first of each. */
export function alike<T>(list: T[], key: (one: T) => string): { key: string; all: T[] }[] {
  const groups = new Map<string, T[]>()
  for (const one of list) groups.set(key(one), [...(groups.get(key(one)) ?? []), one])
  return [...groups].map(([key, all]) => ({ key, all }))
}
