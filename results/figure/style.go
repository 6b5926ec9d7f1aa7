package figure

import (
	"image/color"
	"math"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// digits are the colours of the ten digits. Package doc.go names their sources.
var digits = [10]color.RGBA{
	{0x00, 0x00, 0x00, 0xff}, // black
	{0xe6, 0x9f, 0x00, 0xff}, // orange
	{0x56, 0xb4, 0xe9, 0xff}, // sky blue
	{0x00, 0x9e, 0x73, 0xff}, // bluish green
	{0xf0, 0xe4, 0x42, 0xff}, // yellow
	{0x00, 0x72, 0xb2, 0xff}, // blue
	{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	{0xcc, 0x79, 0xa7, 0xff}, // reddish purple
	{0x88, 0x22, 0x55, 0xff}, // wine
	{0x33, 0x22, 0x88, 0xff}, // indigo
}

// ink is the colour of text and axes.
var ink = color.Gray{Y: 0x22}

// pixels is a length in whole pixels, rounded up.
func pixels(length vg.Length) int { return int(math.Ceil(float64(length) * dotsPerPoint)) }

func textStyle(size vg.Length, weight stdfont.Weight) text.Style {
	return text.Style{
		Color:   ink,
		Font:    font.From(font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight}, size),
		Handler: plot.DefaultTextHandler,
	}
}

func titleStyle() text.Style { return textStyle(11, stdfont.WeightBold) }
func labelStyle() text.Style { return textStyle(10, stdfont.WeightNormal) }
func smallStyle() text.Style { return textStyle(9, stdfont.WeightNormal) }

// newPlot returns an empty chart in the look of all of them.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	restyle := func(style *text.Style, like text.Style) {
		like.XAlign, like.YAlign = style.XAlign, style.YAlign
		*style = like
	}
	p.Title.Text = title
	p.Title.Padding = 8
	restyle(&p.Title.TextStyle, titleStyle())
	for _, side := range []struct {
		axis  *plot.Axis
		label string
	}{{&p.X, x}, {&p.Y, y}} {
		axis := side.axis
		axis.Label.Text = side.label
		axis.Label.Padding = 4
		restyle(&axis.Label.TextStyle, labelStyle())
		restyle(&axis.Tick.Label, smallStyle())
		axis.Tick.Length, axis.Tick.Marker = 4, linearTicks{}
		axis.Tick.Color, axis.Color = ink, ink
	}
	// Labels of the vertical axis are set too high by default: their middle is taken with the room below letters.
	p.Y.Tick.Label.YAlign = draw.YCenter - 0.12
	return p
}

// titleHeight is the room for a title above a chart.
const titleHeight = vg.Length(28)

// paintTitle writes a title in the middle of the upper edge.
func paintTitle(c draw.Canvas, title string) {
	style := titleStyle()
	style.XAlign, style.YAlign = draw.XCenter, draw.YTop
	c.FillText(style, vg.Point{X: c.Center().X, Y: c.Max.Y - points(margin)}, title)
}
