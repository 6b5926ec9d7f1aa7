package statistics

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

var simulationSeed = flag.Uint64("simulation-seed", 20261124, "seed of the simulated studies")

const (
	// Studies begin with firstSeeds seeds, and settle may give each configuration up to lastSeeds.
	firstSeeds, lastSeeds = 3, 10
)

// surface is a simulated study whose truth is known: the objectives of each configuration with each seed, and the
// configuration whose expected objective is the lowest.
type surface struct {
	objectives [][]float64
	best       int
}

// shape draws a surface.
type shape struct {
	name string
	draw func(*rand.Rand) surface
	// honest says that the claim's assumptions hold or that the test is cautious: the stated confidence must hold.
	honest bool
}

// noisy draws objectives around expected values, as many as there are, with noise for (configuration, seed).
func noisy(means []float64, noise func(configuration, seed int) float64) surface {
	s := surface{}
	for k, mean := range means {
		if mean < means[s.best] {
			s.best = k
		}
		row := make([]float64, lastSeeds)
		for seed := range row {
			row[seed] = mean + noise(k, seed)
		}
		s.objectives = append(s.objectives, row)
	}
	return s
}

// steps are n expected values from 1 on.
func steps(n int, by float64) []float64 {
	means := make([]float64, n)
	for k := range means {
		means[k] = 1 + float64(k)*by
	}
	return means
}

var shapes = []shape{
	{"two, equal", func(r *rand.Rand) surface {
		return noisy(steps(2, 0), func(int, int) float64 { return 0.1 * r.NormFloat64() })
	}, true},
	{"12, equal", func(r *rand.Rand) surface {
		return noisy(steps(12, 0), func(int, int) float64 { return 0.1 * r.NormFloat64() })
	}, true},
	{"12, near ties", func(r *rand.Rand) surface {
		return noisy(steps(12, 0.02), func(int, int) float64 { return 0.1 * r.NormFloat64() })
	}, true},
	{"12, far apart", func(r *rand.Rand) surface {
		return noisy(steps(12, 1), func(int, int) float64 { return 0.1 * r.NormFloat64() })
	}, true},
	{"100, random", func(r *rand.Rand) surface {
		means := make([]float64, 100)
		for k := range means {
			means[k] = 1 + r.Float64()
		}
		return noisy(means, func(int, int) float64 { return 0.05 * r.NormFloat64() })
	}, true},
	{"12, noise differs", func(r *rand.Rand) surface {
		return noisy(steps(12, 0.01), func(k, _ int) float64 { return 0.02 * float64(1+k*5%12) * r.NormFloat64() })
	}, true},
	{"12, seeds matter most", func(r *rand.Rand) surface {
		effects := make([]float64, lastSeeds)
		for seed := range effects {
			effects[seed] = r.NormFloat64()
		}
		return noisy(steps(12, 0.02), func(_, seed int) float64 { return effects[seed] + 0.01*r.NormFloat64() })
	}, true},
	{"4 runs x 3 max_epochs", nested, true},
	{"12, heavy tails", func(r *rand.Rand) surface {
		return noisy(steps(12, 0.02), func(int, int) float64 { return 0.1 * studentT3(r) })
	}, true},
	// The best is steady. The others are a little better most of the time, and sometimes much worse.
	{"6, others skewed", func(r *rand.Rand) surface {
		means := append([]float64{1}, steps(5, 0)...)
		return noisy(means, func(k, _ int) float64 {
			if k == 0 {
				return 0.01 * r.NormFloat64()
			}
			return 0.1 * (r.ExpFloat64() - 1)
		})
	}, false},
}

// nested draws runs whose validation losses fall and then stay, with noise; of each, trials of three max_epochs have
// the lowest loss up to there. So those of a run are monotone, and often equal. The truly best is the longest of the
// best run.
func nested(r *rand.Rand) surface {
	s := surface{best: 2}
	milestones := []int{10, 20, 30}
	for run := range 4 {
		rows := make([][]float64, len(milestones))
		for range lastSeeds {
			lowest, level, m := math.Inf(1), 1+0.01*float64(run)+0.01*r.NormFloat64(), 0
			for epoch := 1; m < len(milestones); epoch++ {
				lowest = min(lowest, level+1/float64(epoch*epoch)+0.005*r.NormFloat64())
				if epoch == milestones[m] {
					rows[m] = append(rows[m], lowest)
					m++
				}
			}
		}
		s.objectives = append(s.objectives, rows...)
	}
	return s
}

// studentT3 draws from Student's t with 3 degrees of freedom, whose kurtosis is infinite.
func studentT3(r *rand.Rand) float64 {
	squares := 0.0
	for range 3 {
		x := r.NormFloat64()
		squares += x * x
	}
	return r.NormFloat64() / math.Sqrt(squares/3)
}

// first returns the samples that each configuration's first seeds give.
func (s surface) first(seeds int) []Sample {
	samples := make([]Sample, len(s.objectives))
	for k, row := range s.objectives {
		for place, objective := range row[:seeds] {
			samples[k] = append(samples[k], Observation{place, objective})
		}
	}
	return samples
}

// settle gives configurations further seeds as long as they are asked for. It returns how many they were.
func (s surface) settle(t *testing.T, critical criticals, samples []Sample, plan Plan) (added int) {
	for {
		wanting, place := critical.nextSeed(samples, plan, func(k, place int) bool { return place < len(samples[k]) })
		if len(wanting) == 0 {
			return added
		}
		for _, k := range wanting {
			samples[k] = append(samples[k], Observation{place, s.objectives[k][place]})
			if len(samples[k]) > lastSeeds || place != len(samples[k])-1 {
				t.Fatalf("configuration %d was given the seed at %d as its seed %d of %d", k, place, len(samples[k]),
					lastSeeds)
			}
		}
		added += len(wanting)
	}
}

// tally is what came of many studies.
type tally struct{ covered, contenders, seeds, budget, settled, right int }

func (c *tally) add(s surface, samples []Sample, judgement Judgement) {
	if judgement.Comparisons[s.best].Contender {
		c.covered++
	}
	if judgement.Order[0] == s.best {
		c.right++
	}
	if judgement.Settled {
		c.settled++
	}
	for k, comparison := range judgement.Comparisons {
		if comparison.Contender {
			c.contenders++
		}
		c.seeds += len(samples[k])
		c.budget += lastSeeds
	}
}

// TestCoverage simulates studies whose truth is known. The truly best configuration must be among the contenders at
// least as often as the confidence says, with one look and with the looks of settle, which must not exceed its budget.
func TestCoverage(t *testing.T) {
	simulatedStudies := 1000
	if testing.Short() {
		simulatedStudies = 100
	}
	var table strings.Builder
	fmt.Fprintf(&table, "seed %d, %d studies each, %d seeds, settle up to %d; 95%% interval of the coverage\n%-24s %-10s %-7s %-22s %10s %8s %7s %s\n",
		*simulationSeed, simulatedStudies, firstSeeds, lastSeeds, "surface", "confidence", "", "coverage", "contenders", "settled",
		"winner", "seeds of budget")
	for number, shape := range shapes {
		for _, confidence := range []float64{0.8, 0.95} {
			var once, settled tally
			critical := criticals{}
			for study := range simulatedStudies {
				s := shape.draw(rand.New(rand.NewPCG(*simulationSeed, uint64(number*simulatedStudies+study))))
				samples := s.first(firstSeeds)
				once.add(s, samples, critical.judge(samples, Plan{Confidence: confidence}))
				plan := Plan{Confidence: confidence, First: firstSeeds, Last: lastSeeds}
				s.settle(t, critical, samples, plan)
				settled.add(s, samples, critical.judge(samples, plan))
			}
			for i, c := range []tally{once, settled} {
				name := []string{"once", "settle"}[i]
				share := func(count int) float64 { return float64(count) / float64(simulatedStudies) }
				coverage := share(c.covered)
				// What chance alone makes of a coverage that is just the confidence: three standard errors.
				slack := 3 * math.Sqrt(confidence*(1-confidence)/float64(simulatedStudies))
				if shape.honest && coverage < confidence-slack {
					t.Errorf("%s, %s: the truly best is among the contenders in %.3f of the studies, the confidence is %v",
						shape.name, name, coverage, confidence)
				}
				if shape.name == "two, equal" && name == "once" && coverage > confidence+slack {
					t.Errorf("%s: one test is more cautious than it need be: %.3f for a confidence of %v", shape.name,
						coverage, confidence)
				}
				if c.seeds > c.budget {
					t.Errorf("%s, %s: %d seeds, more than the budget of %d", shape.name, name, c.seeds, c.budget)
				}
				low, high := wilson(c.covered, simulatedStudies)
				fmt.Fprintf(&table, "%-24s %-10v %-7s %.3f (%.3f to %.3f)  %9.1f %8.2f %7.2f %14.2f\n", shape.name,
					confidence, name, coverage,
					low, high, share(c.contenders), share(c.settled), share(c.right), float64(c.seeds)/float64(c.budget))
			}
		}
	}
	t.Log(table.String())
}

// wilson is the 95% interval of a share (E. B. Wilson 1927).
func wilson(of, n int) (low, high float64) {
	const z = 1.96
	p, m := float64(of)/float64(n), float64(n)
	centre, half := p+z*z/(2*m), z*math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return (centre - half) / (1 + z*z/m), (centre + half) / (1 + z*z/m)
}
