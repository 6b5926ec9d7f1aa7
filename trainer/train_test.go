package trainer

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"maps"
	"math"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trellis/trainer/kernel"
)

// Recorded losses: any change of a bit fails here, on whichever path of the kernels. Then NumericsVersion must be
// raised.
func TestRecordedBits(t *testing.T) {
	skipShort(t)
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	for _, path := range kernel.Paths() {
		t.Run(path, func(t *testing.T) {
			if err := kernel.SetPath(path); err != nil {
				t.Fatal(err)
			}
			config := small(t)
			config.BatchSize, config.Data = 17, mnist(t, 40, 18, 10) // Little, for the portable path's sake.
			result, reports := collect(t, config)
			for i, want := range [][2]uint64{
				{0x3fcd37a39999999a, 0x3fccb96bc0000000},
				{0x3fccdee9cccccccd, 0x3fcc5024e0000000},
				{0x3fcc737be8000000, 0x3fcbc500e0000000},
			} {
				r := reports[i]
				if got := [2]uint64{math.Float64bits(r.TrainLoss), math.Float64bits(r.ValidationLoss)}; got != want {
					t.Errorf("epoch %d: got {%#x, %#x} (%v, %v), want {%#x, %#x}",
						r.Epoch, got[0], got[1], r.TrainLoss, r.ValidationLoss, want[0], want[1])
				}
			}
			testLoss := *reports[2].TestLoss
			if got, want := math.Float64bits(testLoss), uint64(0x3fcc250dc0000000); got != want {
				t.Errorf("test loss: got %#x (%v), want %#x", got, testLoss, want)
			}
			// Rounded to float32, losses may hide a changed bit of a weight.
			h := fnv.New64a()
			for _, name := range slices.Sorted(maps.Keys(result.Weights)) {
				binary.Write(h, binary.LittleEndian, result.Weights[name])
			}
			if got, want := h.Sum64(), uint64(0xc2d7c8ee6d2b673d); got != want {
				t.Errorf("hash of all weights: got %#x, want %#x", got, want)
			}
		})
	}
}

func TestTrainLearns(t *testing.T) {
	skipShort(t)
	config := small(t)
	config.MaxEpochs = 8
	result, reports := collect(t, config)
	first, last := reports[0], reports[len(reports)-1]
	if last.ValidationLoss > 0.8*first.ValidationLoss || last.TrainLoss > 0.8*first.TrainLoss {
		t.Errorf("losses went from %v and %v to %v and %v only",
			first.TrainLoss, first.ValidationLoss, last.TrainLoss, last.ValidationLoss)
	}
	if result.StopReason != MaxEpochs || result.Epochs != 8 || len(reports) != 8 {
		t.Errorf("ended after %d epochs for reason %d with %d reports, want 8, MaxEpochs, 8",
			result.Epochs, result.StopReason, len(reports))
	}
	if result.BestValue != reports[result.BestEpoch-1].ValidationLoss {
		t.Errorf("best loss %v is not epoch %d's", result.BestValue, result.BestEpoch)
	}
	if len(result.Weights) != 20 || len(result.Weights["encoder.l.2.weight"]) != 6*64 {
		t.Errorf("result has %d tensors, and %d weights for the latent layer, want 20 and %d",
			len(result.Weights), len(result.Weights["encoder.l.2.weight"]), 6*64)
	}
}

// The prefix property: how far a run may go does not change the epochs before, nor do milestones, checkpoints, or what
// runs beside it.
func TestMaxEpochsAndMilestonesDoNotInfluence(t *testing.T) {
	for name, config := range map[string]Config{
		"network": small(t),
		"shifted": withValues(smallModel(t, Classifier), map[string]float64{"fine_tune": 1, "shift": 2}),
	} {
		t.Run(name, func(t *testing.T) { checkPrefix(t, config) })
	}
}

func checkPrefix(t *testing.T, config Config) {
	t.Helper()
	_, short := collect(t, config)
	config.MaxEpochs = 5
	config.Milestones = []int{1, 3}
	config.Checkpoint = func(*Checkpoint) error { return nil }
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			var reports []Report
			if _, err := Train(context.Background(), config, func(r Report) error {
				r.Elapsed = 0
				reports = append(reports, r)
				return nil
			}); err != nil {
				t.Error(err)
				return
			}
			for i, r := range reports {
				if hasTest := r.TestLoss != nil; hasTest != (r.Epoch == 1 || r.Epoch == 3 || r.Epoch == 5) {
					t.Errorf("epoch %d: test loss reported: %v", r.Epoch, hasTest)
				}
				if i < len(short) &&
					(r.TrainLoss != short[i].TrainLoss || r.ValidationLoss != short[i].ValidationLoss) {
					t.Errorf("epoch %d: losses %v and %v, in the shorter run %v and %v",
						r.Epoch, r.TrainLoss, r.ValidationLoss, short[i].TrainLoss, short[i].ValidationLoss)
				}
			}
			if *reports[2].TestLoss != *short[2].TestLoss {
				t.Errorf("test loss after epoch 3 is %v, in the shorter run %v", *reports[2].TestLoss,
					*short[2].TestLoss)
			}
		})
	}
	wait.Wait()
}

func TestParametersInfluence(t *testing.T) {
	skipShort(t)
	base := small(t)
	base.MaxEpochs = 1
	_, want := collect(t, base)
	for name, change := range map[string]func(*Config){
		"seed":          func(c *Config) { c.Seed++ },
		"learning rate": func(c *Config) { c.LearningRate *= 2 },
		"weight decay":  func(c *Config) { c.WeightDecay = 0.1 },
		"batch size":    func(c *Config) { c.BatchSize = 51 },
		"latent dim":    func(c *Config) { c.LatentDim = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			config := base
			change(&config)
			if _, got := collect(t, config); got[0].ValidationLoss == want[0].ValidationLoss {
				t.Errorf("another %s gives the same validation loss %v", name, got[0].ValidationLoss)
			}
		})
	}
}

func TestDivergence(t *testing.T) {
	skipShort(t)
	config := small(t)
	config.LearningRate = 1e30
	config.MaxEpochs = 20
	result, reports := collect(t, config)
	if result.StopReason != Diverged || result.Epochs != len(reports) || result.Epochs == 20 {
		t.Fatalf("ended after %d epochs with %d reports for reason %d, want Diverged",
			result.Epochs, len(reports), result.StopReason)
	}
	last := reports[len(reports)-1]
	if finite(last.TrainLoss) && finite(last.ValidationLoss) || last.TestLoss == nil {
		t.Errorf("last report is %+v, want a loss that is not finite, and a test loss", last)
	}
	if result.BestEpoch == 0 != (result.Weights == nil) ||
		result.BestEpoch == 0 != math.IsNaN(result.BestValue) {
		t.Errorf("best epoch %d has loss %v and %d weights", result.BestEpoch, result.BestValue,
			len(result.Weights))
	}
}

// The weights and the test loss are the best epoch's, not the last one's.
func TestBestWeightsAreKept(t *testing.T) {
	skipShort(t)
	config := small(t)
	config.LearningRate = 0.03 // High enough that losses go up and down.
	config.MaxEpochs = 12
	config.EarlyStopping = EarlyStopping{Patience: 2}
	result, reports := collect(t, config)
	if result.StopReason != EarlyStopped || result.BestEpoch != result.Epochs-2 {
		t.Fatalf("stopped after epoch %d for reason %d with best epoch %d, want patience 2 to end it",
			result.Epochs, result.StopReason, result.BestEpoch)
	}
	config.EarlyStopping = EarlyStopping{}
	config.MaxEpochs = result.BestEpoch
	want, wantReports := collect(t, config)
	if !reflect.DeepEqual(result.Weights, want.Weights) {
		t.Error("weights are not those after the best epoch")
	}
	if got, want := *reports[len(reports)-1].TestLoss, *wantReports[len(wantReports)-1].TestLoss; got != want {
		t.Errorf("test loss at the end is %v, with the best epoch's weights %v", got, want)
	}
}

// Testing the best weights at a milestone leaves the current ones in place, when the two differ.
func TestMilestonesAfterTheBestEpoch(t *testing.T) {
	skipShort(t)
	config := small(t)
	config.LearningRate = 0.03
	config.MaxEpochs = 12
	want, wantReports := collect(t, config)
	if want.BestEpoch > 9 {
		t.Fatalf("best epoch is %d, want one before the milestones", want.BestEpoch)
	}
	config.Milestones = []int{10, 11}
	_, reports := collect(t, config)
	for i, r := range reports {
		if w := wantReports[i]; r.TrainLoss != w.TrainLoss || r.ValidationLoss != w.ValidationLoss {
			t.Errorf("epoch %d: losses %v and %v, without milestones %v and %v",
				r.Epoch, r.TrainLoss, r.ValidationLoss, w.TrainLoss, w.ValidationLoss)
		}
	}
}

func TestReportErrorEndsTheRun(t *testing.T) {
	broken := errors.New("broken")
	calls := 0
	_, err := Train(t.Context(), syntheticConfig(), func(Report) error { calls++; return broken })
	if !errors.Is(err, broken) || calls != 1 {
		t.Errorf("got error %v after %d reports, want %v after 1", err, calls, broken)
	}
	config := syntheticConfig()
	config.Checkpoint = func(*Checkpoint) error { return broken }
	if _, err := Train(t.Context(), config, func(Report) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("got error %v of the checkpoint, want %v", err, broken)
	}
}

// A batch that takes seconds is given up after a tile, which takes milliseconds.
func TestCancelWithinABatch(t *testing.T) {
	config := small(t)
	config.Data = mnist(t, 50000, 10000, 10000)
	config.BatchSize = MaxBatchSize
	const limit = time.Second
	late := time.Hour
	// What else the machine does holds up some of them, a batch that is not given up each.
	for tries := 0; tries < 5 && late > limit; tries++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan time.Time, 1)
		timer := time.AfterFunc(20*time.Millisecond, func() {
			ended <- time.Now()
			cancel(errors.New("enough"))
		})
		_, err := Train(ctx, config, func(Report) error { return nil })
		timer.Stop()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got error %v, want %v", err, context.Canceled)
		}
		late = min(late, time.Since(<-ended))
	}
	if late > limit {
		t.Errorf("returned %v after the context's end", late)
	}
}

func TestStepsAreCounted(t *testing.T) {
	skipShort(t)
	config := small(t)
	config.MaxEpochs = 2
	config.Steps = new(atomic.Uint64)
	collect(t, config)
	// Each epoch has three batches and a validation pass; the last one a test pass too.
	if got := config.Steps.Load(); got != 2*(3+1)+1 {
		t.Errorf("counted %d steps, want 9", got)
	}
}
