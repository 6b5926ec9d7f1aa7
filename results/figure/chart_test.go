package figure

import (
	"image/color"
	"math"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

// Counts stand in the row of the true digit, from the top, and the column of the predicted one.
func TestConfusionPlacesCounts(t *testing.T) {
	f, err := Confusion(testCounts())
	if err != nil {
		t.Fatal(err)
	}
	all := texts(f)
	var across, down [10]vg.Length // of the ticks, which are drawn before the cells
	var found [10][2]bool
	for _, w := range all {
		digit, err := strconv.Atoi(w.text)
		if err != nil || digit > 9 {
			continue
		}
		switch {
		case !found[digit][0]:
			across[digit], found[digit][0] = w.at.X, true
		case !found[digit][1]:
			down[digit], found[digit][1] = w.at.Y, true
		}
	}
	for i := range 9 {
		if across[i] >= across[i+1] || down[i] <= down[i+1] {
			t.Fatalf("ticks at %v and %v: want columns to the right and rows down", across, down)
		}
	}
	for _, w := range all {
		if w.text == "49" && (math.Abs(float64(w.at.X-across[8])) > 6 || math.Abs(float64(w.at.Y-down[3])) > 6) {
			t.Errorf("49 is at %v, want it by predicted 8 (x %v) and true 3 (y %v)", w.at, across[8], down[3])
		}
	}
	for i := range 10 {
		if count(all, strconv.Itoa(900+i)) != 1 {
			t.Errorf("count %d isn't there once", 900+i)
		}
	}
	if count(all, "49") != 1 || !strings.Contains(f.description, "49 times, is a 3 taken for a 8") {
		t.Errorf("description: %s", f.description)
	}
	if !strings.Contains(f.title, "9045 of 9139 correct (0.9897)") {
		t.Errorf("title: %s", f.title)
	}
}

// Off the diagonal, colours can be told apart, and numbers read.
func TestConfusionShowsMistakes(t *testing.T) {
	m := &cells{most: 1000}
	white := color.RGBA{0xff, 0xff, 0xff, 0xff}
	last := 0.0
	for _, count := range []int{1, 5, 20, 49, 1000} {
		dark := contrast(blue(m.place(count)), white)
		if dark < last+0.1 {
			t.Errorf("%d: contrast %.2f to white, only %.2f more than the count before", count, dark, dark-last)
		}
		last = dark
	}
	for count := 1; count <= 1000; count++ {
		fill := blue(m.place(count))
		best := max(contrast(fill, white), contrast(fill, color.RGBA{ink.Y, ink.Y, ink.Y, 0xff}))
		if best < 3.9 {
			t.Errorf("%d: best contrast of its number is %.2f", count, best)
		}
	}
}

func TestConfusionErrors(t *testing.T) {
	var counts [10][10]int
	if _, err := Confusion(counts); err == nil || !strings.Contains(err.Error(), "all counts are 0") {
		t.Errorf("no counts: %v", err)
	}
	counts[4][9] = -1
	if _, err := Confusion(counts); err == nil || !strings.Contains(err.Error(), "-1 images of digit 4 taken for 9") {
		t.Errorf("negative count: %v", err)
	}
	counts[4][9] = 1 // the smallest there is
	f, err := Confusion(counts)
	if err != nil {
		t.Fatal(err)
	}
	writePNG(t, f)
	writeSVG(t, f)
}

func TestLosses(t *testing.T) {
	training, validation := testLosses(150)
	f, err := Losses(training, validation, 142)
	if err != nil {
		t.Fatal(err)
	}
	all := texts(f)
	for _, text := range []string{
		"Training", "Validation", "Best epoch: 142 (0.011)", "Loss (logarithmic scale)",
		"Epoch", "0.02", "140",
	} {
		if count(all, text) != 1 {
			t.Errorf("%q isn't there once: %v", text, all)
		}
	}
	// A short range, or one that reaches 0, has a linear axis.
	for name, losses := range map[string][]float64{
		"short": {3, 2, 1.5}, "zero": {1, 0.01, 0}, "negative": {5, 1, -1},
		"level": {2, 2, 2}, "one": {0.5},
	} {
		f, err := Losses(losses, losses, 0)
		if err != nil {
			t.Fatal(err)
		}
		all := texts(f)
		if count(all, "Loss") != 1 || len(all) < 6 {
			t.Errorf("%s: %v", name, all)
		}
		for _, w := range all {
			if strings.HasPrefix(w.text, "Best") {
				t.Errorf("%s: no best epoch was given, but %q", name, w.text)
			}
		}
		writePNG(t, f)
	}
}

// The ring is where the best epoch's validation loss is.
func TestLossesMarkBest(t *testing.T) {
	training, validation := testLosses(10)
	f, err := Losses(training, validation, 7)
	if err != nil {
		t.Fatal(err)
	}
	without, err := Losses(training, validation, 0)
	if err != nil {
		t.Fatal(err)
	}
	with, bare := decode(t, writePNG(t, f)), decode(t, writePNG(t, without))
	// Epochs 1 to 10 take the axis from 0.5 to 10.5, which begins right of its labels. Of the ink that is new, what is
	// below the legend is at epoch 7, a narrow column.
	low, high := f.width, 0
	for y := f.height / 3; y < f.height; y++ {
		for x := range f.width {
			if with.At(x, y) != bare.At(x, y) {
				low, high = min(low, x), max(high, x)
			}
		}
	}
	if high == 0 || high-low > 40 {
		t.Fatalf("the mark reaches from x = %d to %d", low, high)
	}
	ticks := map[string]vg.Length{}
	for _, w := range texts(f) {
		ticks[w.text] = w.at.X
	}
	if middle, want := points(low+high)/2, ticks["7"]; math.Abs(float64(middle-want)) > 4 {
		t.Errorf("the mark is at x = %v, the label of epoch 7 at %v", middle, want)
	}
}

func TestLossesErrors(t *testing.T) {
	two := []float64{1, 2}
	for _, c := range []struct {
		training, validation []float64
		best                 int
		want                 string
	}{
		{nil, nil, 0, "no epochs"},
		{two, two[:1], 0, "2 training losses, but 1 validation losses"},
		{two, two, 3, "best epoch 3: it has to be from 1 to 2"},
		{two, two, -1, "best epoch -1"},
		{[]float64{1, math.NaN()}, two, 0, "training loss of epoch 2 is NaN"},
		{two, []float64{math.Inf(1), 1}, 0, "validation loss of epoch 1 is +Inf"},
	} {
		if f, err := Losses(c.training, c.validation, c.best); f != nil || err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestTicks(t *testing.T) {
	labels := func(ticks []plot.Tick) string {
		var all []string
		for _, tick := range ticks {
			if tick.Label != "" {
				all = append(all, tick.Label)
			}
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{0.001, 1, "0.001 0.01 0.1 1"},
		{0.008, 0.08, "0.01 0.02 0.05"},
		{0.011, 0.045, "0.02 0.03 0.04"},
		{1, 1002, "1 10 100 1000"},
		{1, 15, "1 2 5 10"},
	} {
		if got := labels(logTicks{}.Ticks(c.low, c.high)); got != c.want {
			t.Errorf("logarithmic from %v to %v: %q, want %q", c.low, c.high, got, c.want)
		}
	}
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{-38, 57, "−25 0 25 50"},
		{-2.7, 3.3, "−2.5 0 2.5"},
		{0.1, 0.32, "0.1 0.2 0.3"},
		{-51, 42, "−40 0 40"},
		{1e-9, 4e-9, "1e−09 2e−09 3e−09 4e−09"},
	} {
		if got := labels(linearTicks{}.Ticks(c.low, c.high)); got != c.want {
			t.Errorf("linear from %v to %v: %q, want %q", c.low, c.high, got, c.want)
		}
	}
	if got := labels(logTicks{}.Ticks(0.031, 0.039)); len(strings.Fields(got)) < 2 {
		t.Errorf("within one digit: %q", got)
	}
	for high, want := range map[float64]string{
		9: "0 1 2 3 4 5 6 7 8 9", 20: "0 2 4 6 8 10 12 14 16 18 20", 50: "0 5 10 15 20 25 30 35 40 45 50", 150: "0 20 40 60 80 100 120 140",
		450: "0 50 100 150 200 250 300 350 400 450",
	} {
		if got := labels(wholeTicks{}.Ticks(0, high)); got != want {
			t.Errorf("whole numbers up to %v: %q, want %q", high, got, want)
		}
	}
}

func TestEmbeddingLegend(t *testing.T) {
	// One digit has no points, but is in the legend.
	panel := testPanel("PCA", 900)
	for i := range panel.Labels {
		panel.Labels[i] = byte(i % 9)
	}
	f, err := Embedding([]Panel{panel, testPanel("t-SNE", 500)})
	if err != nil {
		t.Fatal(err)
	}
	all := texts(f)
	legend := vg.Length(0)
	for _, w := range all {
		if w.text == "Digit" {
			legend = w.at.X
		}
	}
	var entries []string
	for _, w := range all {
		if w.at.X >= legend && w.text != "Digit" {
			entries = append(entries, w.text)
		}
	}
	if got := strings.Join(entries, " "); legend == 0 || got != "0 1 2 3 4 5 6 7 8 9" {
		t.Errorf("legend has entries %q, want ten", got)
	}
	for _, text := range []string{"(a) PCA", "(b) t-SNE"} {
		if count(all, text) != 1 {
			t.Errorf("%q isn't there once", text)
		}
	}
	if count(all, panel.XLabel) != 2 || count(all, panel.YLabel) != 2 {
		t.Errorf("labels of axes: %v", all)
	}
}

// Points are where they should be, in their colours, and a unit is as long up as across.
func TestEmbeddingPoints(t *testing.T) {
	panel := Panel{
		Title: "four", XLabel: "x", YLabel: "y", Points: []float64{0, 0, 40, 0, 0, 10, 40, 10},
		Labels: []byte{1, 2, 3, 9},
	}
	f, err := Embedding([]Panel{panel})
	if err != nil {
		t.Fatal(err)
	}
	// At most two of one row or column may differ by a pixel, for rounding.
	corners := map[byte][2]int{}
	for _, l := range f.layers {
		if l.picture == nil {
			continue
		}
		for _, label := range panel.Labels {
			sumX, sumY, n := 0, 0, 0
			for y := range l.picture.Bounds().Dy() {
				for x := range l.picture.Bounds().Dx() {
					if color.RGBAModel.Convert(l.picture.At(x, y)) == digits[label] {
						sumX, sumY, n = sumX+x, sumY+y, n+1
					}
				}
			}
			if n == 0 {
				t.Fatalf("no point has the colour of %d", label)
			}
			corners[label] = [2]int{sumX / n, sumY / n}
		}
	}
	width, height := corners[2][0]-corners[1][0], corners[1][1]-corners[3][1]
	if width < 100 || max(width-4*height, 4*height-width) > 8 {
		t.Errorf("40 units across are %d pixels, 10 up %d: %v", width, height, corners)
	}
	if corners[9][0] != corners[2][0] || corners[9][1] != corners[3][1] {
		t.Errorf("points aren't corners of a rectangle: %v", corners)
	}
}

// Sorted by digit, the last doesn't hide the others.
func TestEmbeddingMixesOrder(t *testing.T) {
	panel := Panel{Title: "two", XLabel: "x", YLabel: "y"}
	for digit := range 2 {
		for i := range 2000 {
			panel.Points = append(panel.Points, float64(i%50), float64(i/50))
			panel.Labels = append(panel.Labels, byte(digit))
		}
	}
	f, err := Embedding([]Panel{panel})
	if err != nil {
		t.Fatal(err)
	}
	var seen [2]int
	for _, l := range f.layers {
		if l.picture == nil {
			continue
		}
		for y := range l.picture.Bounds().Dy() {
			for x := range l.picture.Bounds().Dx() {
				for digit := range seen {
					if color.RGBAModel.Convert(l.picture.At(x, y)) == digits[digit] {
						seen[digit]++
					}
				}
			}
		}
	}
	if part := float64(seen[0]) / float64(seen[0]+seen[1]); !(part > 0.4 && part < 0.6) {
		t.Errorf("of two digits at the same places, the first has %.2f of the pixels", part)
	}
}

func TestEmbeddingErrors(t *testing.T) {
	change := func(change func(*Panel)) []Panel {
		panel := testPanel("PCA", 30)
		change(&panel)
		return []Panel{testPanel("first", 10), panel}
	}
	for want, panels := range map[string][]Panel{
		"0 panels":                    nil,
		"4 panels":                    make([]Panel, 4),
		"panel b: no points":          change(func(p *Panel) { p.Points, p.Labels = nil, nil }),
		"59 numbers for 30 labels":    change(func(p *Panel) { p.Points = p.Points[1:] }),
		"label of point 7":            change(func(p *Panel) { p.Labels[7] = 10 }),
		"y of point 4 (counted":       change(func(p *Panel) { p.Points[9] = math.NaN() }),
		"x of point 29 (counted from": change(func(p *Panel) { p.Points[58] = math.Inf(-1) }),
	} {
		if f, err := Embedding(panels); f != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	// Odd, but right: one point, all in one place, huge numbers.
	for name, points := range map[string][]float64{"one": {3, 4}, "same": {1, 1, 1, 1}, "huge": {-1e300, 0, 1e300, 5}} {
		f, err := Embedding([]Panel{{Title: name, Points: points, Labels: make([]byte, len(points)/2)}})
		if err != nil {
			t.Fatal(err)
		}
		writePNG(t, f)
	}
}

func TestApart(t *testing.T) {
	var at [10]vg.Point
	for i := range at {
		at[i] = vg.Point{X: vg.Length(i % 3), Y: vg.Length(i / 5)}
	}
	at[4] = vg.Point{X: vg.Length(math.NaN()), Y: vg.Length(math.NaN())}
	at[9] = vg.Point{X: 500, Y: 500}
	moved := apart(at)
	for i := range moved {
		for j := range i {
			between := moved[i].Sub(moved[j])
			if distance := math.Hypot(float64(between.X), float64(between.Y)); distance < 12 {
				t.Errorf("%d and %d are %.1f apart", i, j, distance)
			}
		}
	}
	if !math.IsNaN(float64(moved[4].X)) || moved[9] != at[9] {
		t.Errorf("places that are free were moved: %v", moved)
	}
}

// Outlines are as wide as the font says, so that text ends where layouts expect it.
func TestOutline(t *testing.T) {
	style := labelStyle()
	face := plot.DefaultTextHandler.Cache().Lookup(style.Font, style.Font.Size)
	const text = "Reconstruction 0.05"
	path := outline(face, vg.Point{X: 100, Y: 50}, text)
	closed, low, high := 0, vg.Length(math.Inf(1)), vg.Length(math.Inf(-1))
	for _, part := range path {
		if part.Type == vg.CloseComp {
			closed++ // which is at no place
			continue
		}
		low, high = min(low, part.Pos.X), max(high, part.Pos.X)
	}
	if width := style.Width(text); low < 100 || low > 102 || math.Abs(float64(high-low-width)) > 2 {
		t.Errorf("outline from %v to %v, text is %v wide", low, high, width)
	}
	// The dot of the i and the holes of R, e, o, o, 0 and 0 are outlines by themselves; a space has none.
	if want := len(text) - 1 + 7; closed != want {
		t.Errorf("%d closed outlines, want %d", closed, want)
	}
	if got := outline(face, vg.Point{}, "  "); len(got) != 0 {
		t.Errorf("spaces have outlines: %v", got)
	}
}
