package statistics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestJudge goes through what may happen to a configuration.
func TestJudge(t *testing.T) {
	nan := math.NaN()
	noise := []float64{0.01, -0.02, 0.01, 0.005, -0.005}
	around := func(mean float64) Sample {
		var objectives []float64
		for _, n := range noise {
			objectives = append(objectives, mean+n*mean)
		}
		return sampleOf(objectives...)
	}
	for _, test := range []struct {
		name       string
		samples    []Sample
		plan       Plan
		order      []int
		contenders []int
		settled    bool
	}{
		{"one configuration", []Sample{sampleOf(1)}, Plan{}, []int{0}, []int{0}, true},
		{"one seed tells nothing", []Sample{sampleOf(2), sampleOf(1)}, Plan{}, []int{1, 0}, []int{0, 1}, false},
		{"equal with one seed", []Sample{sampleOf(1), sampleOf(1)}, Plan{}, []int{0, 1}, []int{0, 1}, false},
		{"clearly worse", []Sample{around(2), around(1)}, Plan{}, []int{1, 0}, []int{1}, true},
		{"not clearly worse", []Sample{sampleOf(2, 1, 3), sampleOf(1, 2, 2)}, Plan{}, []int{1, 0}, []int{0, 1}, false},
		{"exactly the same", []Sample{around(1), around(1), around(3)}, Plan{}, []int{0, 1, 2}, []int{0, 1}, true},
		{"diverged", []Sample{sampleOf(0, nan, 0), around(1)}, Plan{}, []int{1, 0}, []int{1}, true},
		{"all diverged", []Sample{sampleOf(nan), sampleOf(math.Inf(1))}, Plan{}, []int{0, 1}, nil, true},
		// One lucky seed ranks behind those that have all five. It can't be told apart.
		{"lucky seed", []Sample{{{2, 0.1}}, around(1), around(2)}, Plan{}, []int{1, 2, 0}, []int{0, 1}, false},
		{"two lucky seeds", []Sample{sampleOf(0.1, 0.11), around(1)}, Plan{}, []int{1, 0}, []int{0, 1}, false},
		// One that alone has a further seed does not win by that.
		{"ahead", []Sample{around(1)[:3], around(2), around(3)[:3]}, Plan{}, []int{0, 1, 2}, []int{0}, true},
		// Each seed is common, but none has all: those with the most are compared.
		{
			"each lacks one",
			[]Sample{{{1, 3}, {2, 3}}, {{0, 2}, {2, 2}}, {{0, 1}, {1, 1}}, {{0, 0}}},
			Plan{},
			[]int{2, 1, 0, 3},
			[]int{0, 1, 2, 3},
			false,
		},
		{"none in common", []Sample{{{0, 3}}, {{1, 2}}, {{2, 1}}}, Plan{}, []int{2, 1, 0}, []int{0, 1, 2}, false},
		{
			"does not depend on the seed",
			[]Sample{sampleOf(1, 1), sampleOf(1.001, 1.001)},
			Plan{},
			[]int{0, 1},
			[]int{0},
			true,
		},
		{
			"differs by rounding",
			[]Sample{sampleOf(1, 2, 3), sampleOf(1+1e-8, 2+1e-8, 3+1e-8)},
			Plan{},
			[]int{0, 1},
			[]int{0, 1},
			false,
		},
		// What the first look has excluded stays excluded, though its mean became the lower one.
		{
			"excluded early",
			[]Sample{sampleOf(1, 1, 1), sampleOf(1.5, 1.5, 1.5, 0, 0)},
			Plan{First: 3, Last: 5},
			[]int{0, 1},
			[]int{0},
			true,
		},
		{
			"excluded late",
			[]Sample{sampleOf(1, 3, 1, 1, 1, 1, 1), sampleOf(2, 2, 2, 2, 2, 2, 2)},
			Plan{First: 2, Last: 7},
			[]int{0, 1},
			[]int{0, 1},
			false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.plan.Confidence = 0.95
			judgement := Judge(test.samples, test.plan)
			if !slices.Equal(judgement.Order, test.order) {
				t.Errorf("order %v, want %v", judgement.Order, test.order)
			}
			var contenders []int
			for i, c := range judgement.Comparisons {
				if c.Contender {
					contenders = append(contenders, i)
				}
			}
			if !slices.Equal(contenders, test.contenders) || judgement.Settled != test.settled {
				t.Errorf("contenders %v, settled %v; want %v, %v", contenders, judgement.Settled, test.contenders,
					test.settled)
			}
		})
	}
}

// TestComparison checks a paired comparison by hand: differences 1, 2, 3, 2, 2 have mean 2 and standard error
// sqrt(0.5/5).
func TestComparison(t *testing.T) {
	best := Sample{{0, 1}, {1, 5}, {2, 2}, {3, 9}, {5, 4}, {7, 0}}
	other := Sample{{0, 2}, {1, 7}, {2, 5}, {3, 11}, {4, 99}, {5, 6}}
	judgement := Judge([]Sample{other, best}, Plan{Confidence: 0.9})
	c := judgement.Comparisons[0]
	if !near(judgement.Level, 0.1) {
		t.Errorf("level %v, want 0.1", judgement.Level)
	}
	// From a table: t is 1.5332 with 4 degrees of freedom.
	half := 1.5332 * math.Sqrt(0.1)
	if c.Seeds != 5 || !near(c.Difference, 2) || !near(c.Deviation, math.Sqrt(0.5)) || c.Contender || c.Same ||
		math.Abs(c.Interval.Low-(2-half)) > 1e-4 || math.Abs(c.Interval.High-(2+half)) > 1e-4 {
		t.Errorf("%+v", c)
	}
}

// TestLevel: the error is divided by the comparisons of one configuration with the others, and by the looks.
func TestLevel(t *testing.T) {
	for _, test := range []struct {
		plan           Plan
		configurations int
		tests          float64
	}{
		{Plan{}, 1, 1},
		{Plan{}, 2, 1},
		{Plan{}, 11, 10},
		{Plan{First: 1, Last: 10}, 11, 90},
		{Plan{First: 2, Last: 10}, 11, 90},
		{Plan{First: 3, Last: 10}, 2, 8},
		{Plan{First: 10, Last: 10}, 2, 1},
		{Plan{First: 12, Last: 10}, 2, 1},
	} {
		test.plan.Confidence = 0.95
		if got, want := test.plan.level(test.configurations), 0.05/test.tests; !near(got, want) {
			t.Errorf("%+v with %d configurations: level %v, want %v", test.plan, test.configurations, got, want)
		}
	}
}

// TestNextSeed goes through the rounds of a small study.
func TestNextSeed(t *testing.T) {
	plan := Plan{Confidence: 0.95, First: 1, Last: 4}
	samples := []Sample{sampleOf(1), sampleOf(1.001), sampleOf(5)}
	tries := []int{1, 1, 1}
	next := func() string {
		wanting, place := NextSeed(samples, plan, func(k, place int) bool { return place < tries[k] })
		return fmt.Sprint(wanting, place)
	}
	give := func(objectives ...float64) {
		for k, objective := range objectives {
			tries[k]++
			if !math.IsNaN(objective) {
				samples[k] = append(samples[k], Observation{tries[k] - 1, objective})
			}
		}
	}
	// One seed tells nothing apart.
	if got := next(); got != "[0 1 2] 1" {
		t.Fatalf("after one seed %s", got)
	}
	// Configuration 2 is so far off that two seeds do.
	give(1.002, 1.001, 5.002)
	if got := next(); got != "[0 1] 2" {
		t.Fatalf("after two seeds %s", got)
	}
	// A seed that fails is not asked for again, and the others go on.
	give(1.0, math.NaN())
	if got := next(); got != "[0 1] 3" {
		t.Fatalf("after a failure %s", got)
	}
	// The budget is used up.
	give(1.0, 1.001)
	if got := next(); got != "[] 0" {
		t.Fatalf("after four seeds %s", got)
	}
	// A seed that one of them lacks is asked for, also when others have it already.
	tries[1] = 2
	samples[1] = samples[1][:2]
	if got := next(); got != "[1] 2" {
		t.Fatalf("with a gap %s", got)
	}
	if got, _ := NextSeed(nil, plan, nil); got != nil {
		t.Fatalf("without samples %v", got)
	}
}

// TestNextSeedEnds: whatever fails, settle ends and no configuration has more seeds than it may. What it leaves is what
// Judge says.
func TestNextSeedEnds(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		plan := Plan{Confidence: 0.5 + r.Float64()/2, First: 1 + r.IntN(4), Last: 2 + r.IntN(8)}
		samples := make([]Sample, 1+r.IntN(6))
		tries := make([]int, len(samples))
		try := func(k int) {
			place := tries[k]
			tries[k]++
			switch r.IntN(8) {
			case 0: // It fails.
			case 1:
				samples[k] = append(samples[k], Observation{place, math.NaN()})
			default:
				samples[k] = append(samples[k], Observation{place, math.Round(float64(k) + 3*r.NormFloat64())})
			}
		}
		for k := range samples {
			for len(samples[k]) == 0 {
				samples[k], tries[k] = nil, 0
				for range plan.First {
					try(k)
				}
			}
		}
		for rounds := 0; ; rounds++ {
			wanting, place := NextSeed(samples, plan, func(k, place int) bool { return place < tries[k] })
			if len(wanting) == 0 {
				break
			}
			for _, k := range wanting {
				if tries[k] != place {
					t.Fatalf("seed %d: configuration %d has %d seeds and is to be given the one at %d", seed, k,
						tries[k], place)
				}
				try(k)
			}
			if rounds > plan.Last*len(samples) {
				t.Fatalf("seed %d: it does not end", seed)
			}
		}
		judgement := Judge(samples, plan)
		for k, n := range tries {
			if n > max(plan.First, plan.Last) {
				t.Errorf("seed %d: configuration %d has %d seeds, %+v", seed, k, n, plan)
			}
			if judgement.Comparisons[k].Contender && !judgement.Settled && n < plan.Last {
				t.Errorf("seed %d: contender %d has %d seeds only and nothing is settled, %+v", seed, k, n, plan)
			}
		}
	}
}

// TestSeedsNeeded: that many seeds with the same mean and deviation tell apart, and one fewer do not.
func TestSeedsNeeded(t *testing.T) {
	for _, c := range []Comparison{
		{Seeds: 3, Difference: 1, Deviation: 2},
		{Seeds: 2, Difference: 0.1, Deviation: 1},
		{Seeds: 5, Difference: 9, Deviation: 1},
	} {
		const level = 0.001
		apart := func(n int) bool { return c.Difference > Critical(level, n)*c.Deviation/math.Sqrt(float64(n)) }
		n, ok := c.SeedsNeeded(level)
		if !ok || !apart(n) || n > c.Seeds && apart(n-1) {
			t.Errorf("%+v: %d seeds, %v", c, n, ok)
		}
	}
	for _, c := range []Comparison{
		{},
		{Seeds: 1, Difference: 1, Deviation: 1},
		{Seeds: 5, Difference: -1, Deviation: 1},
		{Seeds: 5, Difference: 1e-9, Deviation: 1},
		{Seeds: 5, Difference: math.NaN(), Deviation: math.NaN()},
		{Seeds: 2000, Difference: 1, Deviation: 1},
	} {
		if n, ok := c.SeedsNeeded(0.001); ok {
			t.Errorf("%+v: %d seeds would settle it", c, n)
		}
	}
}
