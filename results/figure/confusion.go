package figure

import (
	"fmt"
	"image/color"
	"math"
	"strconv"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// blues run from few to many: the nine-class Blues of colorbrewer2.org.
var blues = [9]color.RGBA{
	{0xf7, 0xfb, 0xff, 0xff},
	{0xde, 0xeb, 0xf7, 0xff},
	{0xc6, 0xdb, 0xef, 0xff},
	{0x9e, 0xca, 0xe1, 0xff},
	{0x6b, 0xae, 0xd6, 0xff},
	{0x42, 0x92, 0xc6, 0xff},
	{0x21, 0x71, 0xb5, 0xff},
	{0x08, 0x51, 0x9c, 0xff},
	{0x08, 0x30, 0x6b, 0xff},
}

// blue is the colour at a place of the scale from 0 (few) to 1 (many).
func blue(place float64) color.RGBA {
	at := min(max(place, 0), 1) * float64(len(blues)-1)
	low := min(int(at), len(blues)-2)
	part := at - float64(low)
	mix := func(a, b uint8) uint8 {
		return uint8(float64(float64(a)*(1-part)) + float64(float64(b)*part) + 0.5)
	}
	a, b := blues[low], blues[low+1]
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 0xff}
}

// contrast is that of two colours by the Web Content Accessibility Guidelines 2.2, from 1 (none) to 21.
func contrast(a, b color.RGBA) float64 {
	luminance := func(c color.RGBA) float64 {
		sum := 0.0
		for _, part := range []struct{ weight, value float64 }{
			{0.2126, float64(c.R) / 255}, {0.7152, float64(c.G) / 255}, {0.0722, float64(c.B) / 255},
		} {
			linear := part.value / 12.92
			if part.value > 0.04045 {
				linear = math.Pow((part.value+0.055)/1.055, 2.4)
			}
			sum += float64(part.weight * linear)
		}
		return sum
	}
	low, high := luminance(a), luminance(b)
	if low > high {
		low, high = high, low
	}
	return (high + 0.05) / (low + 0.05)
}

// cells is the matrix as a plotter: row i is where i is on the vertical axis, so are columns.
type cells struct {
	counts [10][10]int
	most   int
}

// place is where a count is on the scale of colours. The scale is logarithmic, because on a linear one the diagonal, a
// hundred times the rest, would leave nothing else to see.
func (m *cells) place(count int) float64 {
	if m.most <= 1 {
		return 1
	}
	// The lightest colours are left to none at all.
	return 0.08 + float64(0.92*math.Log(float64(count))/math.Log(float64(m.most)))
}

// DataRange implements plot.DataRanger.
func (m *cells) DataRange() (xmin, xmax, ymin, ymax float64) { return -0.5, 9.5, -0.5, 9.5 }

// Plot implements plot.Plotter.
func (m *cells) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	line := draw.LineStyle{Color: color.White, Width: 1}
	for row := range m.counts {
		for column, count := range m.counts[row] {
			box := vg.Rectangle{
				Min: vg.Point{X: x(float64(column) - 0.5), Y: y(float64(row) + 0.5)},
				Max: vg.Point{X: x(float64(column) + 0.5), Y: y(float64(row) - 0.5)},
			}
			fill, style := color.RGBA{0xfa, 0xfa, 0xfa, 0xff}, smallStyle()
			style.Color = color.Gray{Y: 0x99}
			if count > 0 {
				fill, style.Color = blue(m.place(count)), ink
				if contrast(fill, color.RGBA{0xff, 0xff, 0xff, 0xff}) > contrast(fill,
					color.RGBA{ink.Y, ink.Y, ink.Y, 0xff}) {
					style.Color = color.White
				}
			}
			if row == column {
				style.Font.Weight = stdfont.WeightBold
			}
			c.SetColor(fill)
			c.Fill(boxPath(box))
			c.StrokeLines(line, []vg.Point{
				box.Min,
				{X: box.Max.X, Y: box.Min.Y},
				box.Max,
				{X: box.Min.X, Y: box.Max.Y},
				box.Min,
			})
			style.XAlign, style.YAlign = draw.XCenter, draw.YCenter
			c.FillText(style, vg.Point{X: x(float64(column)), Y: y(float64(row))}, strconv.Itoa(count))
		}
	}
}

// scaleBar shows what count each colour stands for.
type scaleBar struct{ cells *cells }

// DataRange implements plot.DataRanger.
func (b scaleBar) DataRange() (xmin, xmax, ymin, ymax float64) { return 0, 1, 1, float64(b.cells.most) }

// Plot implements plot.Plotter.
func (b scaleBar) Plot(c draw.Canvas, p *plot.Plot) {
	const steps = 128
	height := (c.Max.Y - c.Min.Y) / steps
	for i := range steps {
		place := 0.08 + 0.92*(float64(i)+0.5)/steps
		box := vg.Rectangle{
			Min: vg.Point{X: c.Min.X, Y: c.Min.Y + vg.Length(i)*height},
			// Steps overlap, or else light shines through where they meet.
			Max: vg.Point{X: c.Max.X, Y: min(c.Max.Y, c.Min.Y+vg.Length(float64(i)+1.5)*height)},
		}
		c.SetColor(blue(place))
		c.Fill(boxPath(box))
	}
}

// Confusion draws figure 5: counts[i][j] images of digit i were taken for digit j. Rows are the true digits, columns
// the predicted ones; colours follow the logarithm of the count.
func Confusion(counts [10][10]int) (*Figure, error) {
	total, correct, most := 0, 0, 0
	worst, from, to := 0, 0, 0
	for row := range counts {
		for column, count := range counts[row] {
			if count < 0 {
				return nil, fmt.Errorf("figure of confusion: %d images of digit %d taken for %d: a count can't be negative", count, row, column)
			}
			total += count
			most = max(most, count)
			switch {
			case row == column:
				correct += count
			case count > worst:
				worst, from, to = count, row, column
			}
		}
	}
	if total == 0 {
		return nil, fmt.Errorf("figure of confusion: all counts are 0: at least one image has to be classified")
	}
	matrix := &cells{counts: counts, most: most}
	title := fmt.Sprintf("Confusion matrix: %d of %d correct (%.4f)", correct, total, float64(correct)/float64(total))
	description := fmt.Sprintf("Rows are true digits, columns predicted ones. %d of %d are correct.", correct, total)
	if worst > 0 {
		description += fmt.Sprintf(" The most frequent mistake, %d times, is a %d taken for a %d.", worst, from, to)
	}

	ticks := make(plot.ConstantTicks, 10)
	for i := range ticks {
		ticks[i] = plot.Tick{Value: float64(i), Label: strconv.Itoa(i)}
	}
	chart := newPlot("", "Predicted digit", "True digit")
	chart.Add(matrix)
	for _, axis := range []*plot.Axis{&chart.X, &chart.Y} {
		axis.Padding, axis.Width, axis.Tick.Width = 0, 0, 0
		axis.Tick.Marker = ticks
		axis.Tick.Label.Font.Size = labelStyle().Font.Size
	}
	chart.Y.Scale = plot.InvertedScale{Normalizer: plot.LinearScale{}}
	bar := newPlot("", "", "")
	bar.Add(scaleBar{matrix})
	bar.HideX()
	bar.X.Padding, bar.Y.Padding, bar.Y.Width = 0, 0, 0
	if most > 1 {
		bar.Y.Scale = plot.LogScale{}
		bar.Y.Tick.Marker = logTicks{}
	} else {
		bar.Y.Max = 2
		bar.Y.Tick.Marker = plot.ConstantTicks{{Value: 1.5, Label: "1"}}
	}

	f := &Figure{title: title, description: description, width: 1290, height: 1140}
	f.layers = []layer{{paint: func(c draw.Canvas) {
		paintTitle(c, title)
		c.Max.Y -= titleHeight
		matrixArea := draw.Crop(c, 8, -80, 8, 0)
		chart.Draw(matrixArea)
		data := chart.DataCanvas(matrixArea)
		// The bar is as high as the matrix.
		barArea := draw.Crop(c, c.Max.X-c.Min.X-54, -8, 0, 0)
		barArea.Min.Y, barArea.Max.Y = data.Min.Y, data.Max.Y
		bar.Draw(barArea)
		// Its label is not left to the plot, which makes room for it as if the axis were linear.
		style := labelStyle()
		style.Rotation = math.Pi / 2
		style.XAlign, style.YAlign = draw.XCenter, draw.YBottom
		c.FillText(style, vg.Point{X: barArea.Min.X - 6, Y: barArea.Center().Y}, "Images (logarithmic scale)")
	}}}
	return f, nil
}
