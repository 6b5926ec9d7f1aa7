package figure

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"strconv"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Chart is one of the small charts of Curves. Both its axes are logarithmic.
type Chart struct {
	Title string
	// XLabel names what its curves depend on.
	XLabel string
	// Wide charts have a row for themselves; others stand in twos.
	Wide   bool
	Curves []Curve
}

// Curve is points that a line joins, with its name beside it.
type Curve struct {
	Name string
	// Color is a digit whose colour it has.
	Color int
	// Bold lines are thicker. Dashed and bold are for who can't tell colours apart.
	Bold, Dashed bool
	// X and Y are above 0. X ascends.
	X, Y []float64
	// Open says that the last point is a ring: something other than the rest.
	Open bool
}

func (c Curve) check() error {
	switch {
	case len(c.X) == 0:
		return errors.New("no points: at least one is needed")
	case len(c.X) != len(c.Y):
		return fmt.Errorf("%d places for %d values: there have to be as many", len(c.X), len(c.Y))
	case c.Color < 0 || c.Color >= len(digits):
		return fmt.Errorf("colour %d: it has to be from 0 to %d", c.Color, len(digits)-1)
	}
	for i := range c.X {
		for _, value := range []float64{c.X[i], c.Y[i]} {
			if !(value > 0) || math.IsInf(value, 0) {
				return fmt.Errorf("point %d (counted from 0) has %v: a logarithmic axis takes finite numbers above 0",
					i, value)
			}
		}
		if i > 0 && c.X[i] <= c.X[i-1] {
			return fmt.Errorf("point %d (counted from 0) is at %v, the one before at %v: they have to ascend", i,
				c.X[i], c.X[i-1])
		}
	}
	return nil
}

// Lengths of charts, in pixels.
const (
	curvesWidth  = 1800
	chartHeight  = 570
	chartsTop    = 84
	chartsBottom = 66
)

// Curves draws small charts beside and below one another. The note says below them what a reader has to know, and the
// description tells who can't see them what they show.
func Curves(title, note, description string, charts []Chart) (*Figure, error) {
	if len(charts) == 0 {
		return nil, errors.New("figure of curves: no charts: at least one is needed")
	}
	f := &Figure{title: title, description: description, width: curvesWidth, height: chartsTop + chartsBottom}
	type placed struct {
		Chart
		left, top, right int
	}
	var all []placed
	top, second := chartsTop, false
	for _, chart := range charts {
		for _, curve := range chart.Curves {
			if err := curve.check(); err != nil {
				return nil, fmt.Errorf("figure of curves, chart %q, curve %q: %w", chart.Title, curve.Name, err)
			}
		}
		if len(chart.Curves) == 0 {
			return nil, fmt.Errorf("figure of curves, chart %q: no curves: at least one is needed", chart.Title)
		}
		at := placed{chart, 0, top, curvesWidth}
		switch {
		case chart.Wide && second:
			at.top, second = top+chartHeight, false
			top = at.top + chartHeight
		case chart.Wide:
			top += chartHeight
		case second:
			at.left, second = curvesWidth/2, false
			top += chartHeight
		default:
			at.right, second = curvesWidth/2, true
		}
		all = append(all, at)
		f.height = at.top + chartHeight + chartsBottom
	}
	f.layers = []layer{{paint: func(c draw.Canvas) {
		style := titleStyle()
		style.YAlign = draw.YTop
		c.FillText(style, vg.Point{X: c.Min.X + points(margin), Y: c.Max.Y - points(margin)}, title)
		small := smallStyle()
		c.FillText(small, vg.Point{X: c.Min.X + points(margin), Y: c.Min.Y + points(margin)}, note)
		for _, chart := range all {
			cell := f.rectangle(chart.left, chart.top, chart.right, chart.top+chartHeight)
			chart.paint(draw.Canvas{Canvas: c.Canvas, Rectangle: cell})
		}
	}}}
	return f, nil
}

// Room in a chart's cell around its lines, in points: for ticks' labels, names of curves, the title and the axis below.
const (
	roomLeft, roomRight  = 42, 62
	roomTop, roomBottom  = 26, 34
	dotRadius, dashWidth = 2.2, 4
)

// paint draws the chart in its cell.
func (chart *Chart) paint(cell draw.Canvas) {
	area := vg.Rectangle{
		Min: vg.Point{X: cell.Min.X + roomLeft, Y: cell.Min.Y + roomBottom},
		Max: vg.Point{X: cell.Max.X - roomRight, Y: cell.Max.Y - roomTop},
	}
	heading := textStyle(10, stdfont.WeightBold)
	cell.FillText(heading, vg.Point{X: cell.Min.X + points(margin), Y: cell.Max.Y - roomTop + 9}, chart.Title)

	x, y := chart.axes(area)
	faint := draw.LineStyle{Color: color.Gray{Y: 0xe4}, Width: 0.5}
	below := smallStyle()
	below.XAlign, below.YAlign = draw.XCenter, draw.YTop
	beside := smallStyle()
	beside.XAlign, beside.YAlign = draw.XRight, draw.YCenter
	for _, tick := range x.ticks() {
		at := x.at(tick)
		cell.StrokeLine2(faint, at, area.Min.Y, at, area.Max.Y)
		cell.FillText(below, vg.Point{X: at, Y: area.Min.Y - 4}, short(tick))
	}
	for _, tick := range y.ticks() {
		at := y.at(tick)
		cell.StrokeLine2(faint, area.Min.X, at, area.Max.X, at)
		cell.FillText(beside, vg.Point{X: area.Min.X - 4, Y: at}, short(tick))
	}
	cell.StrokeLine2(draw.LineStyle{Color: ink, Width: 0.75}, area.Min.X, area.Min.Y, area.Max.X, area.Min.Y)
	below.Color = color.Gray{Y: 0x55}
	cell.FillText(below, vg.Point{X: (area.Min.X + area.Max.X) / 2, Y: area.Min.Y - 17}, chart.XLabel)

	lines := make([][]vg.Point, len(chart.Curves))
	for i, curve := range chart.Curves {
		for k := range curve.X {
			lines[i] = append(lines[i], vg.Point{X: x.at(curve.X[k]), Y: y.at(curve.Y[k])})
		}
		curve.paint(cell, lines[i])
	}
	style := smallStyle()
	room := vg.Rectangle{Min: area.Min, Max: vg.Point{X: cell.Max.X - 2, Y: area.Max.Y + 4}}
	names := make([]name, len(chart.Curves))
	for i, curve := range chart.Curves {
		names[i] = name{width: style.Width(curve.Name), line: lines[i]}
	}
	for i, at := range place(names, room) {
		style.Color = digits[chart.Curves[i].Color]
		// Letters stand on their baseline, which leaves room below for the tails of a few.
		cell.FillText(style, vg.Point{X: at.Min.X, Y: at.Min.Y + nameDescent}, chart.Curves[i].Name)
	}
}

// paint draws the curve's line and points.
func (c Curve) paint(cell draw.Canvas, at []vg.Point) {
	style := draw.LineStyle{Color: digits[c.Color], Width: 1.2}
	if c.Bold {
		style.Width = 2
	}
	if c.Dashed {
		style.Dashes = []vg.Length{dashWidth, 2}
	}
	if len(at) > 1 {
		cell.StrokeLines(style, at)
	}
	dot := draw.GlyphStyle{Color: digits[c.Color], Radius: dotRadius, Shape: draw.CircleGlyph{}}
	for i, point := range at {
		cell.DrawGlyphNoClip(dot, point)
		if c.Open && i == len(at)-1 {
			inside := dot
			inside.Color, inside.Radius = color.White, dotRadius-0.9
			cell.DrawGlyphNoClip(inside, point)
		}
	}
}

// axis maps values to places on the page.
type axis struct {
	low, high float64
	from, to  vg.Length
}

// at is a value's place.
func (a axis) at(value float64) vg.Length {
	part := math.Log(value/a.low) / math.Log(a.high/a.low)
	return a.from + vg.Length(part)*(a.to-a.from)
}

// axes hold all points. The vertical one has at least a factor of ten.
func (chart *Chart) axes(area vg.Rectangle) (x, y axis) {
	x = axis{math.Inf(1), 0, area.Min.X, area.Max.X}
	y = axis{math.Inf(1), 0, area.Min.Y, area.Max.Y}
	for _, curve := range chart.Curves {
		for i := range curve.X {
			x.low, x.high = min(x.low, curve.X[i]), max(x.high, curve.X[i])
			y.low, y.high = min(y.low, curve.Y[i]), max(y.high, curve.Y[i])
		}
	}
	x.low, x.high = x.low/1.2, x.high*1.2
	// There is more room below, for the name of the lowest curve.
	room := max(1.3, math.Sqrt(10*y.low/y.high/1.6))
	y.low, y.high = y.low/room/1.6, y.high*room
	return x, y
}

// ticks are powers of ten. Where only one lies within, they are 2 and 5 times those too.
func (a axis) ticks() (ticks []float64) {
	for _, steps := range [][]float64{{1}, {1, 2, 5}} {
		ticks = nil
		for power := int(math.Floor(math.Log10(a.low))); power <= int(math.Ceil(math.Log10(a.high))); power++ {
			for _, step := range steps {
				if value := step * math.Pow10(power); value >= a.low && value <= a.high {
					ticks = append(ticks, value)
				}
			}
		}
		if len(ticks) > 1 {
			break
		}
	}
	return ticks
}

// short writes a tick's number: 0.001, 50, 20k, 1M.
func short(value float64) string {
	write := func(value float64) string {
		// Powers of ten below 1 are not exact.
		rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'e', 6, 64), 64)
		return strconv.FormatFloat(rounded, 'f', -1, 64)
	}
	switch {
	case value >= 1e6:
		return write(value/1e6) + "M"
	case value >= 1e3:
		return write(value/1e3) + "k"
	}
	return write(value)
}
