// The last picture of all curves, and what it shows. It takes 4 bytes for each pixel: it is kept as long as somebody looks at their study.
// It is not in plot.ts, as that is loaded with the views only.

import type { LevelledCurves } from './curves'

let last: { curves: LevelledCurves; what: string; picture: HTMLCanvasElement } | undefined

/** lastOf is the last picture if it shows this. */
export const lastOf = (curves: LevelledCurves, what: string): HTMLCanvasElement | undefined =>
  last?.curves === curves && last.what === what ? last.picture : undefined

/** next makes another picture, on the canvas of the last one. */
export function next(curves: LevelledCurves, what: string, draw: (canvas: HTMLCanvasElement) => HTMLCanvasElement): HTMLCanvasElement {
  const canvas = last?.picture ?? document.createElement('canvas')
  last = { curves, what, picture: draw(canvas) }
  return canvas
}

/** dropPicture gives back what it takes. */
export function dropPicture(): void {
  if (last) last.picture.width = 0
  last = undefined
}
