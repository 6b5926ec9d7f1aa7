package figure

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// legend says what the lines of a chart are: in a row above it, where neither lines nor curves can cross it.
type legend []legendEntry

type legendEntry struct {
	name string
	mark plot.Thumbnailer
}

// Lengths of legends: their own height, that of a mark with its width and the gap behind it, and the gap between
// entries.
const (
	legendHeight = vg.Length(16)
	markHeight   = vg.Length(8)
	markWidth    = vg.Length(20)
	markGap      = vg.Length(4)
	entryGap     = vg.Length(18)
)

// paint draws the legend with its middle at a point.
func (l legend) paint(c draw.Canvas, middle vg.Point) {
	style := smallStyle()
	// Its middle is taken with the room below letters, so that they would stand too low beside the marks.
	style.YAlign = draw.YCenter + 0.1
	width := -entryGap
	for _, entry := range l {
		width += markWidth + markGap + style.Width(entry.name) + entryGap
	}
	x := middle.X - width/2
	for _, entry := range l {
		entry.mark.Thumbnail(&draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
			Min: vg.Point{X: x, Y: middle.Y - markHeight/2}, Max: vg.Point{X: x + markWidth, Y: middle.Y + markHeight/2},
		}})
		x += markWidth + markGap
		c.FillText(style, vg.Point{X: x, Y: middle.Y}, entry.name)
		x += style.Width(entry.name) + entryGap
	}
}
