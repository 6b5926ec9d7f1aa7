package figure

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
)

func testCharts() []Chart {
	rising := Curve{Name: "Rising", Color: 5, Bold: true, X: []float64{1e3, 1e4, 1e6}, Y: []float64{0.5, 20, 3000}}
	falling := Curve{
		Name: "Falling", Color: 6, Dashed: true, Open: true, X: []float64{1e2, 1e3}, Y: []float64{90, 8},
	}
	narrow := Curve{Name: "Narrow", Color: 3, X: []float64{1e2, 1e3}, Y: []float64{300, 310}}
	return []Chart{
		{Title: "Wide", XLabel: "size", Wide: true, Curves: []Curve{rising, falling}},
		{Title: "Left", XLabel: "size left", Curves: []Curve{falling}},
		{Title: "Right", XLabel: "size right", Curves: []Curve{narrow}},
		{Title: "Last", XLabel: "size last", Curves: []Curve{rising}},
	}
}

func TestCurves(t *testing.T) {
	f, err := Curves("Curves", "A note.", "What it shows.", testCharts())
	if err != nil {
		t.Fatal(err)
	}
	all := texts(f)
	for text, want := range map[string]int{
		"Curves": 1, "A note.": 1, "Wide": 1, "Left": 1, "Right": 1, "Last": 1, "size": 1, "size left": 1,
		"Rising": 2, "Falling": 2, "Narrow": 1, "1M": 2, "0.1": 0,
		// 310 and 300 are within a factor of ten.
		"200": 1, "500": 1,
	} {
		if got := count(all, text); got != want {
			t.Errorf("%q is there %d times, want %d: %v", text, got, want, all)
		}
	}
	at := func(text string) vg.Point {
		for _, w := range all {
			if w.text == text {
				return w.at
			}
		}
		return vg.Point{}
	}
	if wide, left, right, last := at("Wide"), at("Left"), at("Right"), at("Last"); wide.Y <= left.Y ||
		left.Y != right.Y || left.X >= right.X || left.Y <= last.Y || last.X != left.X {
		t.Errorf("titles are at %v, %v, %v and %v", wide, left, right, last)
	}
	if svg := string(writeSVG(t, f)); !strings.Contains(svg, "<desc>What it shows.</desc>") {
		t.Error("the description is not in the SVG")
	}
}

// A wide chart has its row for itself, also after one that stands alone.
func TestWideChart(t *testing.T) {
	charts := testCharts()
	f, err := Curves("", "", "", []Chart{charts[3], charts[0], charts[1]})
	if err != nil {
		t.Fatal(err)
	}
	var heights []vg.Length
	for _, w := range texts(f) {
		if w.text == "Last" || w.text == "Wide" || w.text == "Left" {
			heights = append(heights, w.at.Y)
		}
	}
	if len(heights) != 3 || heights[0] <= heights[1] || heights[1] <= heights[2] || heights[2] < 0 {
		t.Errorf("charts are at %v, want one below the other", heights)
	}
}

// A value stands where the logarithmic axis has it, between its neighbours' ticks.
func TestAxis(t *testing.T) {
	a := axis{low: 1, high: 1000, from: 10, to: 40}
	for value, want := range map[float64]float64{1: 10, 10: 20, 100: 30, 1000: 40} {
		if got := float64(a.at(value)); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v is at %v, want %v", value, got, want)
		}
	}
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{80, 1.2e6, "100 1k 10k 100k 1M"},
		{0.0009, 0.2, "0.001 0.01 0.1"},
		{30, 450, "50 100 200"},
		{0.04, 0.5, "0.05 0.1 0.2 0.5"},
	} {
		var got []string
		for _, tick := range (axis{low: c.low, high: c.high}).ticks() {
			got = append(got, short(tick))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v to %v: ticks are %v, want %v", c.low, c.high, got, c.want)
		}
	}
}

// Whatever curves do, their names stand apart, within their room.
func TestNamesStandApart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	room := vg.Rectangle{Max: vg.Point{X: 255, Y: 130}}
	for n := range 200 {
		var names []name
		for range 2 + n%5 {
			line := []vg.Point{}
			height := 130 * random.Float64()
			for point := range 2 + random.IntN(4) {
				height = min(130, max(0, height+30*random.NormFloat64()))
				line = append(line, vg.Point{X: vg.Length(5 + 45*point), Y: vg.Length(height)})
			}
			names = append(names, name{width: vg.Length(30 + 60*random.Float64()), line: line})
		}
		at := place(names, room)
		for i := range at {
			if at[i].Min.X < 0 || at[i].Min.Y < 0 || at[i].Max.X > room.Max.X || at[i].Max.Y > room.Max.Y {
				t.Errorf("%d: name %d is outside of its room: %v", n, i, at[i])
			}
			for k := range i {
				if shared := overlap(at[i], at[k]); shared > 1 {
					t.Errorf("%d: names %d and %d share %.1f points²: %v, %v", n, k, i, shared, at[k], at[i])
				}
			}
			near := slices.ContainsFunc(names[i].line, func(p vg.Point) bool {
				middle := (at[i].Min.Y + at[i].Max.Y) / 2
				return math.Abs(float64(p.Y-middle)) <= 28 && p.X >= at[i].Min.X-6 && p.X <= at[i].Max.X+6
			})
			if !near {
				t.Errorf("%d: name %d is at %v, far from its line %v", n, i, at[i], names[i].line)
			}
		}
	}
}

// A name does not stand behind another line, where it would be taken for that one's.
func TestNamesStandOnTheirSide(t *testing.T) {
	upper := []vg.Point{{X: 10, Y: 60}, {X: 60, Y: 64}}
	lower := []vg.Point{{X: 10, Y: 52}, {X: 60, Y: 52}, {X: 150, Y: 52}}
	steep := []vg.Point{{X: 60, Y: 110}, {X: 150, Y: 20}}
	names := []name{{width: 80, line: upper}, {width: 80, line: lower}, {width: 20, line: steep}}
	at := place(names, vg.Rectangle{Max: vg.Point{X: 250, Y: 130}})
	if at[0].Min.Y < 55 {
		t.Errorf("the upper line's name is at %v, below the lower line", at[0])
	}
}

func TestCurvesErrors(t *testing.T) {
	for want, charts := range map[string][]Chart{
		"no charts":        nil,
		"no curves":        {{Title: "Empty"}},
		"no points":        {{Curves: []Curve{{}}}},
		"2 places for 1":   {{Curves: []Curve{{X: []float64{1, 2}, Y: []float64{1}}}}},
		"point 0":          {{Curves: []Curve{{X: []float64{1}, Y: []float64{0}}}}},
		"has NaN":          {{Curves: []Curve{{X: []float64{1}, Y: []float64{math.NaN()}}}}},
		"has +Inf":         {{Curves: []Curve{{X: []float64{math.Inf(1)}, Y: []float64{1}}}}},
		"have to ascend":   {{Curves: []Curve{{X: []float64{2, 2}, Y: []float64{1, 1}}}}},
		"from 0 to 9":      {{Curves: []Curve{{Color: 10, X: []float64{2}, Y: []float64{1}}}}},
		`"Later", curve "`: {{Curves: testCharts()[0].Curves}, {Title: "Later", Curves: []Curve{{}}}},
	} {
		if _, err := Curves("", "", "", charts); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}
