package figure

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Losses draws figure 9: training and validation losses of epochs 1, 2, 3 and so on, as many of each. best is the epoch
// with the lowest validation loss, counted from 1, which is marked; 0 marks none. The loss axis is logarithmic where
// all losses are above 0 and the highest is at least three times the lowest.
func Losses(training, validation []float64, best int) (*Figure, error) {
	switch {
	case len(training) == 0:
		return nil, fmt.Errorf("figure of losses: no epochs: at least one is needed")
	case len(training) != len(validation):
		return nil, fmt.Errorf("figure of losses: %d training losses, but %d validation losses: they have to be as many",
			len(training), len(validation))
	case best < 0 || best > len(training):
		return nil, fmt.Errorf("figure of losses: best epoch %d: it has to be from 1 to %d, or 0 for none", best,
			len(training))
	}
	lowest, highest := math.Inf(1), math.Inf(-1)
	curve := func(what string, losses []float64) (plotter.XYs, error) {
		xys := make(plotter.XYs, len(losses))
		for i, loss := range losses {
			if math.IsNaN(loss) || math.IsInf(loss, 0) {
				return nil, fmt.Errorf("figure of losses: %s loss of epoch %d is %v: losses have to be finite numbers",
					what, i+1, loss)
			}
			xys[i] = plotter.XY{X: float64(i + 1), Y: loss}
			lowest, highest = min(lowest, loss), max(highest, loss)
		}
		return xys, nil
	}
	trained, err := curve("training", training)
	if err != nil {
		return nil, err
	}
	validated, err := curve("validation", validation)
	if err != nil {
		return nil, err
	}

	logarithmic := lowest > 0 && highest >= 3*lowest
	label := "Loss"
	if logarithmic {
		label = "Loss (logarithmic scale)"
	}
	const title = "Training and validation loss"
	chart := newPlot("", "Epoch", label)
	chart.Add(grid())
	var legend legend
	for _, c := range []struct {
		name  string
		xys   plotter.XYs
		color color.RGBA
		dash  []vg.Length
	}{{"Training", trained, digits[5], nil}, {"Validation", validated, digits[6], []vg.Length{5, 2}}} {
		line := &plotter.Line{XYs: c.xys, LineStyle: draw.LineStyle{Color: c.color, Width: 1.5, Dashes: c.dash}}
		chart.Add(line)
		legend = append(legend, legendEntry{c.name, line})
		if len(c.xys) <= fewEpochs {
			// Few epochs are dots too: one alone has no line.
			chart.Add(&plotter.Scatter{XYs: c.xys, GlyphStyle: draw.GlyphStyle{
				Color: c.color, Radius: 2,
				Shape: draw.CircleGlyph{},
			}})
		}
	}
	description := fmt.Sprintf("Losses of %d epochs, from %.4g down to %.4g.", len(training), highest, lowest)
	if best > 0 {
		mark := &bestEpoch{epoch: best, loss: validation[best-1]}
		chart.Add(mark)
		name := fmt.Sprintf("Best epoch: %d (%s)", best, minus(fmt.Sprintf("%.5g", mark.loss)))
		legend = append(legend, legendEntry{name, mark})
		description += fmt.Sprintf(" The best validation loss, %.5g, is that of epoch %d.", mark.loss, best)
	}
	// Few epochs keep clear of the axis; many begin at 0, where it has its first label.
	chart.X.Min, chart.X.Max = 0, float64(len(training))*1.01
	if len(training) <= fewEpochs {
		chart.X.Min, chart.X.Max = 0.5, float64(len(training))+0.5
	}
	chart.X.Padding, chart.Y.Padding = 0, 0
	chart.X.Tick.Marker = wholeTicks{}
	if logarithmic {
		chart.Y.Scale, chart.Y.Tick.Marker = plot.LogScale{}, logTicks{}
		room := math.Pow(highest/lowest, 0.06)
		chart.Y.Min, chart.Y.Max = lowest/room, highest*room
	} else {
		room := float64((highest - lowest) * 0.06)
		if room == 0 {
			room = max(math.Abs(highest)*0.1, 1e-6)
		}
		chart.Y.Min, chart.Y.Max = lowest-room, highest+room
	}

	f := &Figure{title: title, description: description, width: 1554, height: 960}
	f.layers = []layer{{paint: func(c draw.Canvas) {
		paintTitle(c, title)
		c.Max.Y -= titleHeight
		area := draw.Crop(c, 8, -14, 8, -legendHeight)
		chart.Draw(area)
		data := chart.DataCanvas(area)
		legend.paint(c, vg.Point{X: data.Center().X, Y: c.Max.Y - legendHeight/2})
	}}}
	return f, nil
}

// fewEpochs are shown one by one.
const fewEpochs = 20

// bestEpoch marks an epoch by a ring around its loss and a line down to the axis.
type bestEpoch struct {
	epoch int
	loss  float64
}

func (b *bestEpoch) line() draw.LineStyle {
	return draw.LineStyle{Color: ink, Width: 0.75, Dashes: []vg.Length{2, 2}}
}

func (b *bestEpoch) ring(c *draw.Canvas, at vg.Point) {
	var path vg.Path
	path.Move(vg.Point{X: at.X + 3.5, Y: at.Y})
	path.Arc(at, 3.5, 0, 2*math.Pi)
	path.Close()
	c.SetLineStyle(draw.LineStyle{Color: ink, Width: 1.25})
	c.Stroke(path)
}

// Plot implements plot.Plotter.
func (b *bestEpoch) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	at := vg.Point{X: x(float64(b.epoch)), Y: y(b.loss)}
	c.StrokeLine2(b.line(), at.X, c.Min.Y, at.X, at.Y-3.5)
	b.ring(&c, at)
}

// Thumbnail implements plot.Thumbnailer.
func (b *bestEpoch) Thumbnail(c *draw.Canvas) {
	middle := c.Center()
	c.StrokeLine2(b.line(), c.Min.X, middle.Y, c.Max.X, middle.Y)
	b.ring(c, middle)
}

// grid is faint lines at the labelled ticks.
func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = color.Gray{Y: 0xe4}, color.Gray{Y: 0xe4}
	g.Vertical.Width, g.Horizontal.Width = 0.5, 0.5
	return g
}
