package figure

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strconv"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// maxPanels is how many panels fit beside each other.
const maxPanels = 3

// Lengths of scatter plots, in pixels.
const (
	panelWidth  = 714
	panelHeight = 750
	legendWidth = 130
)

// Panel is one scatter plot.
type Panel struct {
	Title string
	// XLabel and YLabel name the axes: for a principal component, with the part of the variance that it explains.
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
	var names, scatters, charts []layer
	for i := range panels {
		p, letter := &panels[i], string(rune('a'+i))
		if err := p.check(letter); err != nil {
			return nil, err
		}
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

		chart := newPlot(title, p.XLabel, p.YLabel)
		chart.X.Padding, chart.Y.Padding = 0, 0
		left := i * panelWidth
		area := draw.Canvas{Rectangle: f.rectangle(left+18, margin, left+panelWidth-12, panelHeight-margin/2)}
		data := p.fit(chart, area)
		scatter, at := p.scatter(chart, data, f.height)
		charts = append(charts, layer{paint: func(c draw.Canvas) {
			chart.Draw(draw.Canvas{Canvas: c.Canvas, Rectangle: area.Rectangle})
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

// fit chooses ranges of the axes that hold all points, with the same unit in both, and returns where on the page they
// are.
func (p *Panel) fit(chart *plot.Plot, area draw.Canvas) vg.Rectangle {
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
	data := chart.DataCanvas(area)
	// The area is not quite a square.
	size := data.Size()
	if size.X < size.Y {
		half *= float64(size.Y / size.X)
		chart.Y.Min, chart.Y.Max = middle[1]-half, middle[1]+half
	} else {
		half *= float64(size.X / size.Y)
		chart.X.Min, chart.X.Max = middle[0]-half, middle[0]+half
	}
	return chart.DataCanvas(area).Rectangle
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
