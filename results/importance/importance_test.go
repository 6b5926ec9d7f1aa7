package importance

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// grid returns the levels of all points of a full grid, of which the last axis varies fastest.
func grid(sizes ...int) [][]uint32 {
	points := 1
	for _, size := range sizes {
		points *= size
	}
	levels := make([][]uint32, len(sizes))
	block := points
	for i, size := range sizes {
		block /= size
		levels[i] = make([]uint32, points)
		for k := range levels[i] {
			levels[i][k] = uint32(k / block % size)
		}
	}
	return levels
}

// pick returns the levels of some of the points.
func pick(levels [][]uint32, points []int) [][]uint32 {
	picked := make([][]uint32, len(levels))
	for i := range levels {
		for _, k := range points {
			picked[i] = append(picked[i], levels[i][k])
		}
	}
	return picked
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9 }

// sum is what must be 1.
func (r Result) sum() float64 {
	sum := r.Rest
	for _, share := range r.Main {
		sum += share
	}
	for _, pair := range r.Pairs {
		sum += pair.Share
	}
	return sum
}

// TestByHand: 1 3 / 5 11 has the mean 5, rows of 2 and 8, columns of 3 and 7, and 1 is left in each cell. Squared, that
// is 9, 4 and 1, of 14.
func TestByHand(t *testing.T) {
	got := analyze(grid(2, 2), []float64{1, 3, 5, 11})
	want := Result{
		Exact: true, Main: []float64{9.0 / 14, 4.0 / 14}, Total: []float64{10.0 / 14, 5.0 / 14},
		Pairs: []Pair{{0, 1, 1.0 / 14}},
	}
	check(t, got, want)
}

func check(t interface{ Fatalf(string, ...any) }, got, want Result) {
	same := got.Exact == want.Exact && near(got.Rest, want.Rest) && slices.EqualFunc(got.Main, want.Main, near) &&
		slices.EqualFunc(got.Total, want.Total, near) &&
		slices.EqualFunc(got.Pairs, want.Pairs, func(a, b Pair) bool {
			return a.First == b.First && a.Second == b.Second && near(a.Share, b.Share)
		})
	if !same {
		t.Fatalf("got\n%+v, want\n%+v", got, want)
	}
}

// decompose is the definition: the variance of every set of axes is that of the means over all others, less what its
// subsets have. Points are those of a full grid.
func decompose(levels [][]uint32, values []float64) Result {
	axes := len(levels)
	mean := func(set uint, k int) float64 {
		sum, n := 0.0, 0
		for other := range values {
			same := true
			for i := range axes {
				same = same && (set>>i&1 == 0 || levels[i][other] == levels[i][k])
			}
			if same {
				sum += values[other]
				n++
			}
		}
		return sum / float64(n)
	}
	variances := make([]float64, 1<<axes)
	all := 0.0
	for set := uint(1); set < 1<<axes; set++ {
		for k := range values {
			// The term of a set, by inclusion and exclusion of its subsets' means.
			term := 0.0
			for part := set; ; part = (part - 1) & set {
				sign := 1.0
				for left := set &^ part; left != 0; left &= left - 1 {
					sign = -sign
				}
				term += sign * mean(part, k)
				if part == 0 {
					break
				}
			}
			variances[set] += term * term
		}
		all += variances[set]
	}
	result := Result{Exact: true, Main: make([]float64, axes), Total: make([]float64, axes)}
	for set, variance := range variances {
		share := variance / all
		var members []int
		for i := range axes {
			if set>>i&1 == 1 {
				members = append(members, i)
				result.Total[i] += share
			}
		}
		switch len(members) {
		case 0:
		case 1:
			result.Main[members[0]] = share
		case 2:
			result.Pairs = append(result.Pairs, Pair{members[0], members[1], share})
		default:
			result.Rest += share
		}
	}
	slices.SortFunc(result.Pairs, func(a, b Pair) int { return (a.First-b.First)*axes + a.Second - b.Second })
	return result
}

// TestExact compares with the definition on random full grids, whose points come in any order.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 4).Draw(t, "sizes")
		levels := grid(sizes...)
		points := len(levels[0])
		values := rapid.SliceOfN(rapid.Float64Range(-5, 5), points, points).Draw(t, "values")
		if slices.Max(values)-slices.Min(values) < 1e-3 {
			t.Skip("as good as constant")
		}
		order := rapid.Permutation(upTo(points)).Draw(t, "order")
		shuffled := make([]float64, points)
		for to, from := range order {
			shuffled[to] = values[from]
		}
		want := decompose(levels, values)
		check(t, analyze(pick(levels, order), shuffled), want)
	})
}

func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// TestAnyPoints: whatever is missing, shares are shares and add up to 1; scale and origin of the values do not matter.
func TestAnyPoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		levels := grid(rapid.SliceOfN(rapid.IntRange(1, 5), 1, 5).Draw(t, "sizes")...)
		all := len(levels[0])
		points := rapid.SliceOfNDistinct(rapid.IntRange(0, all-1), 1, min(all, 60), rapid.ID[int]).Draw(t, "points")
		values := rapid.SliceOfN(rapid.Float64Range(-5, 5), len(points), len(points)).Draw(t, "values")
		got := analyze(pick(levels, points), values)
		if slices.Max(values) == slices.Min(values) {
			if got.sum() != 0 || slices.Max(got.Total) != 0 {
				t.Fatalf("constant values: %+v", got)
			}
			return
		}
		// The fit of some of these could go on, but what it has explained and what it has not is all there is.
		if !near(got.sum(), 1) {
			t.Fatalf("the shares of %+v add up to %v", got, got.sum())
		}
		for i, total := range got.Total {
			most := got.Main[i] + got.Rest
			for _, pair := range got.Pairs {
				if pair.First == i || pair.Second == i {
					most += pair.Share
				}
			}
			if got.Main[i] < 0 || got.Main[i] > total+1e-9 || total > 1 || total > most+1e-9 || got.Rest < 0 {
				t.Fatalf("no shares: %+v", got)
			}
		}
		if slices.Max(values)-slices.Min(values) < 1e-3 {
			return
		}
		scaled := slices.Clone(values)
		for k := range scaled {
			scaled[k] = 3*scaled[k] - 7
		}
		check(t, analyze(pick(levels, points), scaled), got)
	})
}

// TestExtremes: the smallest and the largest numbers, and those that hardly differ, are divided like all others.
func TestExtremes(t *testing.T) {
	levels := grid(2, 2)
	ordinary := []float64{1, 2, 1, 2}
	want := analyze(levels, ordinary)
	for name, values := range map[string][]float64{
		"squares too small":    {1e-162, 2e-162, 1e-162, 2e-162},
		"the smallest numbers": {5e-324, 1e-323, 5e-324, 1e-323},
		"squares too large":    {1e200, 2e200, 1e200, 2e200},
		"the largest numbers":  {-1.7e308, 1.7e308, -1.7e308, 1.7e308},
		"a last digit":         {1, math.Nextafter(1, 2), 1, math.Nextafter(1, 2)},
	} {
		t.Run(name, func(t *testing.T) { check(t, analyze(levels, values), want) })
	}
}

// TestHoles: where the values are a sum of one number per axis, and the points hang together, a grid with holes has no
// interactions and no rest, and an axis that changes nothing has no share, though its means differ.
func TestHoles(t *testing.T) {
	levels := grid(4, 3, 3)
	var points []int
	var values []float64
	for k := range levels[0] {
		// The first axis's highest level is there with one level of the second axis only, as after early stops or
		// pruning.
		if levels[0][k] == 3 && levels[1][k] != 2 || k == 5 {
			continue
		}
		points = append(points, k)
		values = append(values, float64(levels[0][k])+10*float64(levels[1][k]))
	}
	got := analyze(pick(levels, points), values)
	if got.Exact || got.Rest > 1e-6 || got.Main[2] > 1e-6 || got.Total[2] > 1e-6 {
		t.Errorf("%+v", got)
	}
	for _, pair := range got.Pairs {
		if pair.Share > 1e-6 {
			t.Errorf("an interaction of axes that do not interact: %+v", pair)
		}
	}
	if got.Main[1] < 0.95 || got.Main[0] < 1e-3 || !near(got.sum(), 1) {
		t.Errorf("%+v", got)
	}
}

// TestInteractionOnly: exclusive or is nothing but interaction, also with a hole.
func TestInteractionOnly(t *testing.T) {
	levels := grid(2, 2, 3)
	values := make([]float64, 12)
	for k := range values {
		values[k] = float64(levels[0][k] ^ levels[1][k])
	}
	want := Result{
		Exact: true, Main: make([]float64, 3), Total: []float64{1, 1, 0}, Pairs: []Pair{
			{0, 1, 1},
			{0, 2, 0},
			{1, 2, 0},
		},
	}
	check(t, analyze(levels, values), want)
	holed := analyze(pick(levels, upTo(11)), values[:11])
	if holed.Exact || holed.Pairs[0].Share < 0.8 || holed.Total[0] < 0.8 || holed.Total[2] > 0.1 ||
		!near(holed.sum(), 1) {
		t.Errorf("with a hole: %+v", holed)
	}
}

// TestLines: a point that is alone on its line says nothing about the axis.
func TestLines(t *testing.T) {
	levels := [][]uint32{{0, 1, 0, 2}, {0, 0, 1, 2}}
	// Along the first axis there is one line of two points, 0 and 2; along the second there is one of 0 and 4.
	divided, values := lines([]partition{newPartition(levels[0]), newPartition(levels[1])}, 4), []float64{0, 2, 4, 9}
	for i, want := range []float64{2, 8} {
		if within, points := divided[i].within(values); within != want || points != 2 {
			t.Errorf("axis %d: %v of %d points, want %v of 2", i, within, points, want)
		}
	}
}

// TestDegenerate: a single point, a single axis, points of which no two differ in one axis alone.
func TestDegenerate(t *testing.T) {
	check(t, analyze(grid(1), []float64{5}), Result{Exact: true, Main: []float64{0}, Total: []float64{0}})
	check(t, analyze(grid(3), []float64{5, 7, 5}), Result{Exact: true, Main: []float64{1}, Total: []float64{1}})
	diagonal := [][]uint32{{0, 1, 2}, {0, 1, 2}}
	got := analyze(diagonal, []float64{1, 2, 4})
	if got.Exact || !near(got.Main[0], 0.5) || !near(got.Main[1], 0.5) || !near(got.sum(), 1) {
		t.Errorf("axes that go together: %+v", got)
	}
}

// TestManyLevels has more combinations than there is room for.
func TestManyLevels(t *testing.T) {
	const n = 2000
	levels := [][]uint32{make([]uint32, n), make([]uint32, n), make([]uint32, n)}
	values := make([]float64, n)
	for k := range n {
		levels[0][k], levels[1][k], levels[2][k] = uint32(k%n/2), uint32(k*7%n/2), uint32(k%2)
		values[k] = float64(k % 2)
	}
	if got := analyze(levels, values); got.Exact || !near(got.sum(), 1) || got.Main[2] < 0.3 {
		t.Errorf("%+v", got)
	}
}

// BenchmarkAnalyze measures a million points: a full grid, and one with a tenth missing.
// analyze is Analyze, without interruption.
func analyze(levels [][]uint32, values []float64) Result {
	result, err := Analyze(levels, values, func() error { return nil })
	if err != nil {
		panic(err)
	}
	return result
}

// What nobody waits for ends.
func TestAnalyzeIsInterrupted(t *testing.T) {
	enough, asked := errors.New("enough"), 0
	interrupted := func() error {
		if asked++; asked == 2 {
			return enough
		}
		return nil
	}
	if _, err := Analyze(grid(3, 3), []float64{1, 5, 2, 8, 3, 9, 4, 7, 6}, interrupted); !errors.Is(err, enough) {
		t.Errorf("it went on: %v", err)
	}
}

func BenchmarkAnalyze(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	levels := grid(20, 20, 10, 25, 10)
	var some []int
	for k := range levels[0] {
		if random.IntN(10) > 0 {
			some = append(some, k)
		}
	}
	for _, bench := range []struct {
		name   string
		levels [][]uint32
	}{{"full", levels}, {"holes", pick(levels, some)}} {
		values := make([]float64, len(bench.levels[0]))
		for k := range values {
			values[k] = float64(bench.levels[0][k]) + float64(bench.levels[1][k])*random.Float64()
		}
		b.Run(fmt.Sprintf("%s/points=%d", bench.name, len(values)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				analyze(bench.levels, values)
			}
		})
	}
}
