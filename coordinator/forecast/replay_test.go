package forecast

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// curve is a run that was really trained.
type curve struct {
	parameters *trellisv1.Parameters
	losses     []float64
}

// readCurves reads runs that were really trained: rows of latent dimension, learning rate, weight decay, batch size,
// and the validation losses by epoch, with the seven digits that matter here. paper.csv is what examples/paper.yaml
// gave on MNIST, 36 runs; small.csv is 16 runs of other learning rates with fewer images (6000), smaller batches (64)
// and less patience (6), which no constant of the model was chosen by.
func readCurves(t testing.TB, path string, maxEpochs uint32) (curves []curve) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := csv.NewReader(file)
	reader.FieldsPerRecord = -1
	rows, err := reader.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		numbers := make([]float64, len(row))
		for i, text := range row {
			if numbers[i], err = strconv.ParseFloat(text, 64); err != nil {
				t.Fatal(err)
			}
		}
		curves = append(curves, curve{&trellisv1.Parameters{MaxEpochs: maxEpochs, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": uint32(numbers[0]), "learning_rate": numbers[1], "weight_decay": numbers[2], "batch_size": uint32(numbers[3])})}, numbers[4:]})
	}
	return curves
}

// replay trains curves again, in virtual time: each epoch takes what it takes at the settings, times the load of the
// moment.
type replay struct {
	curves []curve
	rule   *trellisv1.EarlyStopping
	slots  int
	// load is how much the time of an epoch varies, in logarithms: that much from run to run, where runs that follow
	// each other have similar loads, and half as much from epoch to epoch.
	load float64
	// slowed is how many times as long as otherwise an epoch takes that begins at some time. Nil is once.
	slowed func(now float64) float64
}

// replayedRun is a run with the times at which its epochs end.
type replayedRun struct {
	curve
	start   float64
	ends    []float64
	seconds []float32
}

// train returns the runs, in the given order, and when the last one ends.
func (r replay) train(order []int, random *rand.Rand) (runs []replayedRun, end float64) {
	free := make([]float64, r.slots)
	load := r.load * random.NormFloat64()
	for _, i := range order {
		slot := 0
		for other := range free {
			if free[other] < free[slot] {
				slot = other
			}
		}
		run := replayedRun{curve: r.curves[i], start: free[slot]}
		const alike = 0.7
		load = alike*load + math.Sqrt(1-alike*alike)*r.load*random.NormFloat64()
		for range run.losses {
			// Larger latent dimensions take a little longer.
			took := 0.8 * (1 + 0.03*math.Log2(float64(run.parameters.Numeric("latent_dim"))))
			took *= math.Exp(load + 0.5*r.load*random.NormFloat64())
			if r.slowed != nil {
				took *= r.slowed(free[slot])
			}
			free[slot] += took
			run.ends, run.seconds = append(run.ends, free[slot]), append(run.seconds, float32(took))
		}
		runs = append(runs, run)
	}
	return runs, slices.Max(free)
}

// tally returns what was known at some time.
func (r replay) tally(runs []replayedRun, now float64) *Tally {
	tally := NewTally(&trellisv1.StudySpec{
		Split:         &trellisv1.Split{Train: 50_000, Validation: 10_000},
		EarlyStopping: r.rule,
	})
	for _, replayed := range runs {
		epochs, _ := slices.BinarySearch(replayed.ends, math.Nextafter(now, math.Inf(1)))
		run := &trellisv1.Run{
			Parameters: replayed.parameters, Epochs: uint32(epochs), AttemptEpochs: uint32(epochs),
			State: pending,
		}
		if epochs > 0 {
			last := replayed.ends[epochs-1]
			run.TrainingSeconds, run.ModifyIndex = last-replayed.start, uint64(1000*last)
		}
		switch {
		case epochs == len(replayed.losses):
			run.State, run.StopReason = succeeded, trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
			if uint32(epochs) == run.GetParameters().GetMaxEpochs() {
				run.StopReason = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
			}
		case now >= replayed.start:
			run.State, run.Worker = leased, "w"
		}
		tally.Add(run, &trellisv1.Losses{ValidationLoss: replayed.losses[:epochs], Seconds: replayed.seconds[:epochs]})
	}
	return tally
}

// verdicts are how forecasts compare with the truth.
type verdicts struct {
	// wrong is by how much the finish time is off, as a share of the whole time.
	wrong []float64
	// How often the truth lay in the interval, of the time and of the epochs.
	seconds, epochs int
}

// judge forecasts when a share of all epochs is trained.
func (v *verdicts) judge(r replay, runs []replayedRun, end, share float64) {
	var ends []float64
	for _, run := range runs {
		ends = append(ends, run.ends...)
	}
	slices.Sort(ends)
	trained := int(share * float64(len(ends)))
	now := ends[trained-1]
	f := Make(Input{Study: r.tally(runs, now), Workers: []Worker{{"w", r.slots}}}).Forecast
	v.wrong = append(v.wrong, math.Abs(now+f.GetSeconds().GetExpected()-end)/end)
	if within(f.GetSeconds(), end-now) {
		v.seconds++
	}
	if within(f.GetEpochs(), float64(len(ends)-trained)) {
		v.epochs++
	}
}

func within(e *trellisv1.Estimate, truth float64) bool {
	return e.GetLow() <= truth && truth <= e.GetHigh()
}

// accurate is the share of forecasts whose finish time is at most 15% off.
func (v *verdicts) accurate() float64 {
	good := 0
	for _, wrong := range v.wrong {
		if wrong <= 0.15 {
			good++
		}
	}
	return float64(good) / float64(len(v.wrong))
}

func (v *verdicts) String() string {
	sorted := slices.Sorted(slices.Values(v.wrong))
	n := len(sorted)
	return fmt.Sprintf("finish off by %4.1f%% (median) %4.1f%% (90 of 100) %4.1f%% (worst); at most 15%% off: %3.0f "+
		"of 100; truth in the "+
		"interval: %3d of 100 times, %3d of 100 epochs", 100*sorted[n/2], 100*sorted[n*9/10], 100*sorted[n-1],
		100*v.accurate(),
		100*v.seconds/n, 100*v.epochs/n)
}

// scattered is an order of runs.
func scattered(n int, random *rand.Rand) []int { return random.Perm(n) }

// asInTheGrid is the order of the file.
func asInTheGrid(n int, _ *rand.Rand) (order []int) {
	for i := range n {
		order = append(order, i)
	}
	return order
}

// orders is how many orders each study is replayed in. DESIGN.md has the table of 100, which -v prints.
var orders = flag.Int("orders", defaultOrders, "in how many orders studies are replayed")

// TestReplayedStudiesEndWhenForecast trains real curves again in many orders: after a tenth of the epochs the finish
// time that is forecast is at most 15% off, and the truth lies in the interval about as often as it is to.
func TestReplayedStudiesEndWhenForecast(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of work for one goroutine")
	}
	paper := replay{
		curves: readCurves(t, "testdata/paper.csv", 150),
		rule:   &trellisv1.EarlyStopping{Patience: 10, MinDelta: 1e-5},
	}
	small := replay{
		curves: readCurves(t, "testdata/small.csv", 100),
		rule:   &trellisv1.EarlyStopping{Patience: 6, MinDelta: 1e-5},
	}
	disturbed := paper
	disturbed.slowed = func(now float64) float64 {
		// A minute of half an hour.
		if 20 <= now && now < 80 {
			return 10
		}
		return 1
	}
	for _, test := range []struct {
		name string
		replay
		order func(int, *rand.Rand) []int
		load  float64
		// accurate is the share of forecasts that must be at most 15% off after a tenth of the epochs.
		accurate float64
	}{
		{"paper, scattered", paper, scattered, 0.02, 0.9},
		{"paper, in grid order", paper, asInTheGrid, 0.02, 0.9},
		{"paper, scattered, a burst of load", disturbed, scattered, 0.02, 0.9},
		{"paper, scattered, load varies by 10%", paper, scattered, 0.1, 0},
		{"small, scattered", small, scattered, 0.02, 0},
	} {
		for _, slots := range []int{2, 4} {
			r := test.replay
			r.slots, r.load = slots, test.load
			for _, share := range []float64{0.1, 0.25, 0.5} {
				v := r.judge(test.order, share)
				t.Logf("%-37s %d slots, %2.0f%% trained: %v", test.name, slots, 100*share, &v)
				if share == 0.1 && v.accurate() < test.accurate {
					t.Errorf("%s, %d slots, %2.0f%% trained: %v", test.name, slots, 100*share, &v)
				}
				if v.seconds < *orders*7/10 || v.epochs < *orders*7/10 {
					t.Errorf("%s, %d slots, %2.0f%% trained: the truth lay in the intervals too seldom: %v", test.name,
						slots, 100*share, &v)
				}
			}
		}
	}
}

// judge replays a study in many orders, each with a seed of its own.
func (r replay) judge(order func(int, *rand.Rand) []int, share float64) (v verdicts) {
	for seed := range *orders {
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		runs, end := r.train(order(len(r.curves), random), random)
		v.judge(r, runs, end, share)
	}
	return v
}
