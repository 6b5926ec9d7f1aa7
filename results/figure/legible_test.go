package figure

import (
	"image/color"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/recorder"
)

// seen is what a figure shows besides pictures: where its texts are, turned ones too, and its straight lines.
type seen struct {
	texts []textBox
	lines []lineSeen
}

type textBox struct {
	text   string
	turned bool
	vg.Rectangle
}

type lineSeen struct {
	color    color.Color
	from, to vg.Point
}

// collide says whether both have a part in common that is wider and higher than a hair.
func collide(a, b vg.Rectangle) bool {
	const hair = 0.01
	return min(a.Max.X, b.Max.X)-max(a.Min.X, b.Min.X) > hair && min(a.Max.Y, b.Max.Y)-max(a.Min.Y, b.Min.Y) > hair
}

// crossed says whether a horizontal or vertical line goes through the text.
func (b textBox) crossed(l lineSeen) bool {
	low := vg.Point{X: min(l.from.X, l.to.X), Y: min(l.from.Y, l.to.Y)}
	high := vg.Point{X: max(l.from.X, l.to.X), Y: max(l.from.Y, l.to.Y)}
	return low.X < b.Max.X && high.X > b.Min.X && low.Y < b.Max.Y && high.Y > b.Min.Y
}

// look draws a figure and follows the turns and moves of its canvas.
func look(t *testing.T, f *Figure) seen {
	t.Helper()
	var canvas recorder.Canvas
	f.paintOn(&canvas, func(layer) {})
	type state struct {
		turned bool
		moved  vg.Point
		color  color.Color
	}
	var (
		all    seen
		now    state
		states []state
	)
	place := func(p vg.Point) vg.Point {
		p = p.Add(now.moved)
		if now.turned {
			return vg.Point{X: -p.Y, Y: p.X}
		}
		return p
	}
	for _, action := range canvas.Actions {
		switch a := action.(type) {
		case *recorder.Push:
			states = append(states, now)
		case *recorder.Pop:
			now, states = states[len(states)-1], states[:len(states)-1]
		case *recorder.Rotate:
			if now.turned || now.moved != (vg.Point{}) || math.Abs(a.Angle-math.Pi/2) > 1e-9 {
				t.Fatalf("%s: texts are turned in a way that this test does not know", f.title)
			}
			now.turned = true
		case *recorder.Translate:
			now.moved = now.moved.Add(a.Point)
		case *recorder.SetColor:
			now.color = a.Color
		case *recorder.Stroke:
			for i, c := range a.Path {
				if i > 0 && c.Type == vg.LineComp && (c.Pos.X == a.Path[i-1].Pos.X || c.Pos.Y == a.Path[i-1].Pos.Y) {
					all.lines = append(all.lines, lineSeen{now.color, place(a.Path[i-1].Pos), place(c.Pos)})
				}
			}
		case *recorder.FillString:
			extents := plot.DefaultTextHandler.Cache().Lookup(a.Font, a.Size)
			// Letters reach from the baseline to about 0.73 em above it.
			high := vg.Length(0.73 * float64(a.Size))
			one, other := place(a.Point), place(a.Point.Add(vg.Point{X: extents.Width(a.String), Y: high}))
			all.texts = append(all.texts, textBox{a.String, now.turned, vg.Rectangle{
				Min: vg.Point{X: min(one.X, other.X), Y: min(one.Y, other.Y)},
				Max: vg.Point{X: max(one.X, other.X), Y: max(one.Y, other.Y)},
			}})
		}
	}
	return all
}

// TestLegible looks at figures of all kinds, drawn once for all that is looked for.
func TestLegible(t *testing.T) {
	all := hardFigures(t)
	textsAreApart(t, all)
	titlesFitTheirAxes(t, all)
	numbersHaveMinusSigns(t, all)
}

// hardFigures have what makes texts collide: long titles of axes, long numbers, few epochs and many, losses that rise.
func hardFigures(t *testing.T) map[string]*Figure {
	t.Helper()
	all := allFigures(t)
	add := func(name string, f *Figure, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = f
	}
	long, wide := testPanel("PCA", 200), testPanel("t-SNE", 200)
	long.XLabel = "The first principal component of the codes (31.0% of the variance)"
	long.YLabel = "The second principal component, which is much longer than its axis is (25.3% of the variance)"
	for i := range wide.Points {
		wide.Points[i] *= -12345
	}
	f, err := Embedding([]Panel{long, wide})
	add("embedding with long titles", f, err)
	another := testPanel("Another", 30)
	another.XLabel = strings.Repeat("unbroken", 8)
	f, err = Embedding([]Panel{wide, long, another})
	add("three embeddings", f, err)
	for name, losses := range map[string][]float64{
		"rising": {1, 2, 3, 4, 5}, "tiny": {3e-7, 2e-7, 5e-9}, "huge": {3e12, 1e6, 1e5}, "negative": {-1, -2, -3, -400},
		"one": {0.5},
	} {
		best := len(losses)
		if name == "rising" || name == "one" {
			best = 0 // Its line down to the axis would look like an axis.
		}
		f, err := Losses(losses, losses, best)
		add(name+" losses", f, err)
	}
	return all
}

// textsAreApart: all texts are on the page, none lies on another, and no line of a grid goes through one, as it did
// through a legend. Curves alone have their names among the lines.
func textsAreApart(t *testing.T, figures map[string]*Figure) {
	t.Helper()
	for name, f := range figures {
		page := f.rectangle(0, 0, f.width, f.height)
		its := look(t, f)
		for i, b := range its.texts {
			if b.Min.X < page.Min.X || b.Min.Y < page.Min.Y || b.Max.X > page.Max.X || b.Max.Y > page.Max.Y {
				t.Errorf("%s: %q is at %v, which is not within the page, %v", name, b.text, b.Rectangle, page)
			}
			for _, other := range its.texts[:i] {
				if collide(b.Rectangle, other.Rectangle) {
					t.Errorf("%s: %q lies on %q", name, b.text, other.text)
				}
			}
			if name == "curves" {
				continue
			}
			for _, l := range its.lines {
				if l.color == (color.Gray{Y: 0xe4}) && b.crossed(l) {
					t.Errorf("%s: a line from %v to %v goes through %q", name, l.from, l.to, b.text)
				}
			}
		}
	}
	if lines := look(t, figures["losses"]).lines; !slices.ContainsFunc(lines, func(l lineSeen) bool {
		return l.color == (color.Gray{Y: 0xe4})
	}) {
		t.Error("the figure of losses has no grid that could be seen")
	}
}

// titlesFitTheirAxes: the title of an axis is no longer than the axis, and panels beside each other are equally high.
func titlesFitTheirAxes(t *testing.T, figures map[string]*Figure) {
	t.Helper()
	for name, f := range figures {
		if !strings.Contains(name, "embedding") && !strings.Contains(name, "losses") {
			continue
		}
		its := look(t, f)
		var across, up []lineSeen
		for _, l := range its.lines {
			const long = 100 // Ticks are shorter.
			switch {
			case l.color != ink:
			case l.from.Y == l.to.Y && l.to.X-l.from.X > long:
				across = append(across, l)
			case l.from.X == l.to.X && l.to.Y-l.from.Y > long:
				up = append(up, l)
			}
		}
		if len(across) == 0 || len(across) != len(up) {
			t.Fatalf("%s: %d axes across and %d up", name, len(across), len(up))
		}
		for i := range across {
			if up[i].from.Y != up[0].from.Y || math.Abs(float64(up[i].to.Y-up[0].to.Y)) > 0.1 {
				t.Errorf("%s: axis %d goes from %v to %v, the first from %v to %v", name, i, up[i].from.Y, up[i].to.Y,
					up[0].from.Y, up[0].to.Y)
			}
		}
		words := regexp.MustCompile(`[A-Za-z]{3}`)
		for _, b := range its.texts {
			fits := func(l lineSeen) bool {
				if b.turned {
					return b.Min.Y >= l.from.Y && b.Max.Y <= l.to.Y
				}
				return b.Min.X >= l.from.X && b.Max.X <= l.to.X
			}
			axes := across
			if b.turned {
				axes = up
			}
			if words.MatchString(b.text) && b.text != "Digit" && !slices.ContainsFunc(axes, fits) {
				t.Errorf("%s: %q is longer than its axis, or not beside it", name, b.text)
			}
		}
	}
}

// numbersHaveMinusSigns: numbers have a minus sign, not a hyphen, which is as short as the hyphen in t-SNE.
func numbersHaveMinusSigns(t *testing.T, figures map[string]*Figure) {
	t.Helper()
	hyphen, some := regexp.MustCompile(`-\d`), false
	for name, f := range figures {
		for _, w := range texts(f) {
			if hyphen.MatchString(w.text) {
				t.Errorf("%s: %q has a hyphen", name, w.text)
			}
			some = some || strings.Contains(w.text, "\u2212")
		}
	}
	if !some {
		t.Error("no figure has a number below 0")
	}
}
