package figure

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// maxPanels is how many panels fit beside each other.
const maxPanels = 3

// Lengths of scatter plots, in pixels.
const (
	panelWidth  = 714
	panelHeight = 750
	panelTitle  = 60 // Above a panel.
	legendWidth = 130
)

// Panel is one scatter plot.
type Panel struct {
	Title string
	// XLabel and YLabel name the axes: for a principal component, with the part of the variance that it explains. They
	// are broken into lines where their axis is shorter.
	XLabel, YLabel string
	// Points are x, y, x, y and so on: two numbers for each of the images.
	Points []float64
	// Labels are the images' digits, 0 to 9.
	Labels []byte
}

func (p *Panel) check(letter string) error {
	switch {
	case len(p.Labels) == 0:
		return fmt.Errorf("figure of embeddings, panel %s: no points: at least one is needed", letter)
	case len(p.Points) != 2*len(p.Labels):
		return fmt.Errorf("figure of embeddings, panel %s: %d numbers for %d labels: there have to be two for each, x and y",
			letter, len(p.Points), len(p.Labels))
	}
	for i, label := range p.Labels {
		if label > 9 {
			return fmt.Errorf("figure of embeddings, panel %s: label of point %d (counted from 0) is %d: it has to be from 0 to 9",
				letter, i, label)
		}
	}
	for i, value := range p.Points {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return fmt.Errorf("figure of embeddings, panel %s: %c of point %d (counted from 0) is %v: it has to be a finite number",
				letter, "xy"[i%2], i/2, value)
		}
	}
	return nil
}

// Embedding draws figures 7 and 8: codes of images in two dimensions, coloured by digit. It takes one panel to three;
// the paper shows principal components (a) and t-SNE (b). Both axes of a panel have the same unit, so that distances
// can be compared. The digits are written at the medians of their points, and moved apart where these are too near.
func Embedding(panels []Panel) (*Figure, error) {
	if len(panels) == 0 || len(panels) > maxPanels {
		return nil, fmt.Errorf("figure of embeddings: %d panels: there have to be from 1 to %d", len(panels), maxPanels)
	}
	f := &Figure{width: len(panels)*panelWidth + legendWidth, height: panelHeight}
	for i := range panels {
		if err := panels[i].check(string(rune('a' + i))); err != nil {
			return nil, err
		}
	}
	squares := f.squares(panels)
	var names, scatters, charts []layer
	for i := range panels {
		p, letter := &panels[i], string(rune('a'+i))
		title := p.Title
		if len(panels) > 1 {
			title = "(" + letter + ") " + title
		}
		if i > 0 {
			f.title += ", "
			f.description += " "
		}
		f.title += title
		f.description += fmt.Sprintf("%s: a scatter plot of %d images by %s and %s, coloured by digit.",
			title, len(p.Labels), p.XLabel, p.YLabel)

		chart, area, data := squares[i].chart, squares[i].area, squares[i].data
		scatter, at := p.scatter(chart, data, f.height)
		charts = append(charts, layer{paint: func(c draw.Canvas) {
			style := titleStyle()
			style.XAlign, style.YAlign = draw.XCenter, draw.YTop
			c.FillText(style, vg.Point{X: (data.Min.X + data.Max.X) / 2, Y: c.Max.Y - points(margin)}, title)
			chart.Draw(draw.Canvas{Canvas: c.Canvas, Rectangle: area})
		}})
		scatters = append(scatters, layer{picture: scatter, at: at, smooth: true})
		medians := p.medians()
		names = append(names, layer{paint: func(c draw.Canvas) {
			data := draw.Canvas{Canvas: c.Canvas, Rectangle: data}
			x, y := chart.Transforms(&data)
			var at [10]vg.Point
			for digit, median := range medians {
				at[digit] = vg.Point{X: x(median[0]), Y: y(median[1])}
			}
			for digit, middle := range apart(at) {
				if !math.IsNaN(float64(middle.X)) {
					paintDigit(c, digit, middle)
				}
			}
		}})
	}
	f.layers = slices.Concat(charts, scatters, names)
	f.layers = append(f.layers, layer{paint: func(c draw.Canvas) {
		legend := plot.NewLegend()
		legend.TextStyle = labelStyle()
		legend.Left, legend.Top = true, true
		legend.Padding = 5
		legend.ThumbnailWidth = 12
		for digit := range digits {
			legend.Add(strconv.Itoa(digit), dot(digit))
		}
		left := len(panels) * panelWidth
		side := draw.Canvas{Canvas: c.Canvas, Rectangle: f.rectangle(left+24, margin, f.width, f.height)}
		heading := labelStyle()
		heading.YAlign = draw.YTop
		side.FillText(heading, vg.Point{X: side.Min.X, Y: side.Max.Y}, "Digit")
		side.Max.Y -= 16
		legend.Draw(side)
	}})
	return f, nil
}

// square is where a panel's axes and points are: area is that of both, data the points', a square.
type square struct {
	chart      *plot.Plot
	area, data vg.Rectangle
}

// squares lays the panels out: their squares are of one size and stand on one line, and no label is longer than its
// axis.
func (f *Figure) squares(panels []Panel) []square {
	all := make([]square, len(panels))
	side := points(panelWidth)
	for i := range panels {
		all[i].chart = newPlot("", panels[i].XLabel, panels[i].YLabel)
		all[i].chart.X.Padding, all[i].chart.Y.Padding = 0, 0
		panels[i].fit(all[i].chart)
	}
	// Where a label is broken, its axis becomes shorter. So it may have to be broken again.
	for range 3 {
		bottom := vg.Length(0)
		for i := range all {
			left := i * panelWidth
			s := &all[i]
			s.area = f.rectangle(left+18, margin+panelTitle, left+panelWidth-12, panelHeight-margin/2)
			x, y := &s.chart.X.Label, &s.chart.Y.Label
			x.Text = broken(x.TextStyle, panels[i].XLabel, side)
			y.Text = broken(y.TextStyle, panels[i].YLabel, side)
			s.data = s.chart.DataCanvas(draw.Canvas{Rectangle: s.area}).Rectangle
			bottom = max(bottom, s.data.Min.Y)
		}
		for i := range all {
			side = min(side, all[i].data.Max.X-all[i].data.Min.X, all[i].area.Max.Y-bottom)
		}
		for i := range all {
			s := &all[i]
			want := vg.Rectangle{Min: vg.Point{X: s.data.Min.X, Y: bottom}}
			want.Max = want.Min.Add(vg.Point{X: side, Y: side})
			// What labels of ticks take beside the axes depends a little on the axes' lengths.
			for range 5 {
				s.area.Min.Y += want.Min.Y - s.data.Min.Y
				s.area.Max = s.area.Max.Add(want.Max.Sub(s.data.Max))
				s.area.Min.X += want.Min.X - s.data.Min.X
				s.data = s.chart.DataCanvas(draw.Canvas{Rectangle: s.area}).Rectangle
			}
		}
	}
	return all
}

// broken breaks a text into lines that are no longer than length: at spaces, and words that are longer than that
// anywhere.
func broken(style text.Style, label string, length vg.Length) string {
	var lines []string
	for word := range strings.FieldsSeq(label) {
		last := len(lines) - 1
		if last >= 0 && style.Width(lines[last]+" "+word) <= length {
			lines[last] += " " + word
			continue
		}
		line := ""
		for _, letter := range word {
			if line != "" && style.Width(line+string(letter)) > length {
				lines, line = append(lines, line), ""
			}
			line += string(letter)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// fit chooses ranges of the axes that hold all points. Both are equally long, so that distances can be compared.
func (p *Panel) fit(chart *plot.Plot) {
	var low, high [2]float64
	for side := range 2 {
		low[side], high[side] = math.Inf(1), math.Inf(-1)
		for i := side; i < len(p.Points); i += 2 {
			low[side], high[side] = min(low[side], p.Points[i]), max(high[side], p.Points[i])
		}
	}
	// Halves first: the difference of two large numbers may be too large.
	half := max(high[0]/2-low[0]/2, high[1]/2-low[1]/2) * 1.04
	if half == 0 {
		half = 1
	}
	middle := [2]float64{low[0]/2 + high[0]/2, low[1]/2 + high[1]/2}
	chart.X.Min, chart.X.Max = middle[0]-half, middle[0]+half
	chart.Y.Min, chart.Y.Max = middle[1]-half, middle[1]+half
}

// scatter returns the points as a picture, and where on a page of so many pixels it comes to stand.
func (p *Panel) scatter(chart *plot.Plot, data vg.Rectangle, height int) (*image.NRGBA, image.Point) {
	at := image.Pt(int(data.Min.X*dotsPerPoint), height-pixels(data.Max.Y))
	corner := image.Pt(pixels(data.Max.X), height-int(data.Min.Y*dotsPerPoint))
	picture := image.NewNRGBA(image.Rectangle{Max: corner.Sub(at)})
	canvas := draw.Canvas{Rectangle: data}
	x, y := chart.Transforms(&canvas)

	// The more points, the smaller: from 2 points (1/36 inch) of radius down to one.
	radius := min(2, max(1, 2.6-math.Log10(float64(len(p.Labels)))*0.4))
	stamp := newStamp(int(radius*dotsPerPoint*16 + 0.5))
	// Where images are sorted by digit, the last digit would hide the others. So points are drawn in a mixed order,
	// which is always the same.
	order := make([]int, len(p.Labels))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(mixed(uint64(a)), mixed(uint64(b))) })
	for _, i := range order {
		px := int(math.Floor(float64(x(p.Points[2*i])) * dotsPerPoint))
		py := height - 1 - int(math.Floor(float64(y(p.Points[2*i+1]))*dotsPerPoint))
		stamp.press(picture, px-at.X, py-at.Y, digits[p.Labels[i]])
	}
	return picture, at
}

// mixed is the finaliser of splitmix64 (G. Steele, D. Lea, C. Flood, Fast Splittable Pseudorandom Number Generators,
// 2014).
func mixed(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// medians are the digits' middles: of each coordinate by itself, the median. Digits without points have NaN.
func (p *Panel) medians() (medians [10][2]float64) {
	for digit := range medians {
		for side := range 2 {
			var values []float64
			for i, label := range p.Labels {
				if int(label) == digit {
					values = append(values, p.Points[2*i+side])
				}
			}
			medians[digit][side] = math.NaN()
			if len(values) > 0 {
				slices.Sort(values)
				medians[digit][side] = values[len(values)/2]
			}
		}
	}
	return medians
}

// apart moves places that are nearer than digits are high away from each other, half of what lacks at a time. Places
// that aren't numbers stay so.
func apart(at [10]vg.Point) [10]vg.Point {
	const enough = 13
	for range 100 {
		for i := range at {
			for j := range i {
				between := at[i].Sub(at[j])
				distance := math.Hypot(float64(between.X), float64(between.Y))
				if math.IsNaN(distance) || distance >= enough {
					continue
				}
				if distance == 0 {
					between, distance = vg.Point{X: 1}, 1
				}
				step := between.Scale(vg.Length((enough - min(distance, enough)) / distance / 4))
				at[i], at[j] = at[i].Add(step), at[j].Sub(step)
			}
		}
	}
	return at
}

// paintDigit writes a digit with a light edge, so that it can be read on any colour.
func paintDigit(c draw.Canvas, digit int, middle vg.Point) {
	style := textStyle(13, stdfont.WeightBold)
	written := strconv.Itoa(digit)
	face := plot.DefaultTextHandler.Cache().Lookup(style.Font, style.Font.Size)
	// Digits have no descent, and are about 0.7 em high.
	at := vg.Point{X: middle.X - style.Width(written)/2, Y: middle.Y - vg.Length(0.35*float64(style.Font.Size))}
	path := outline(face, at, written)
	c.SetLineStyle(draw.LineStyle{Color: color.White, Width: 3})
	c.Stroke(path)
	c.SetColor(color.Black)
	c.Fill(path)
}

// dot is a digit's mark in the legend.
type dot int

// Thumbnail implements plot.Thumbnailer.
func (d dot) Thumbnail(c *draw.Canvas) {
	c.DrawGlyphNoClip(draw.GlyphStyle{Color: digits[d], Radius: 4, Shape: draw.CircleGlyph{}}, c.Center())
}
