//go:build !race

package trainer

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"testing"
)

// Every network learns, reports its metrics, and is written whole.
func TestEachModelLearns(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		epochs int
		// fall is what may be left of the first training loss.
		fall float64
		// tensors of the model's file, and one of them.
		tensors int
		tensor  string
	}{
		"denoising":   {smallModel(t, DenoisingAutoencoder), 6, 0.9, 20, "decoder.c.4.weight"},
		"variational": {smallModel(t, VariationalAutoencoder), 6, 0.8, 14, "encoder.lv.weight"},
		// The codes of a barely trained encoder say little.
		"frozen classifier": {
			withRate(smallModel(t, Classifier), 0.02), 40, 0.985, 14, "encoder.c.0.weight",
		},
		"fine-tuned classifier": {
			withValues(withRate(smallModel(t, Classifier), 5e-3),
				map[string]float64{"fine_tune": 1}), 40, 0.9, 14, "head.2.bias",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := test.config
			config.MaxEpochs, config.Milestones = test.epochs, []int{2}
			var last *Checkpoint
			config.Checkpoint = func(c *Checkpoint) error { last = c.Clone(); return nil }
			result, reports := collect(t, config)
			first, end := reports[0], reports[len(reports)-1]
			if end.TrainLoss > test.fall*first.TrainLoss {
				t.Errorf("training loss went from %v to %v only", first.TrainLoss, end.TrainLoss)
			}
			checkMetrics(t, config, reports)
			if len(result.Weights) != test.tensors || len(result.Weights[test.tensor]) == 0 {
				t.Errorf("result has the tensors %v, want %d with %s", slices.Sorted(maps.Keys(result.Weights)),
					test.tensors,
					test.tensor)
			}
			var file bytes.Buffer
			if err := WriteModel(&file, config, last, nil); err != nil {
				t.Fatal(err)
			}
			if read := readModel(t, file.Bytes()); !maps.EqualFunc(read.weights, result.Weights, slices.Equal) {
				t.Error("the file's weights are not the result's")
			}
		})
	}
}

func withRate(config Config, rate float64) Config {
	config.LearningRate = rate
	return config
}

// checkMetrics looks whether a run's reports have all metrics, and what each must be at least and at most.
func checkMetrics(t *testing.T, config Config, reports []Report) {
	t.Helper()
	var want, wantTest []string
	for _, metric := range config.describe().Metrics {
		want = append(want, "train_"+metric.Name, "validation_"+metric.Name)
		wantTest = append(wantTest, metric.Name)
	}
	slices.Sort(want)
	slices.Sort(wantTest)
	for _, r := range reports {
		if got := slices.Sorted(maps.Keys(r.Metrics)); !slices.Equal(got, want) {
			t.Errorf("epoch %d has metrics %q, want %q", r.Epoch, got, want)
		}
		if got := slices.Sorted(maps.Keys(r.TestMetrics)); r.TestLoss != nil && !slices.Equal(got, wantTest) ||
			r.TestLoss == nil && got != nil {
			t.Errorf("epoch %d has test metrics %q, want %q where there is a test loss", r.Epoch, got, wantTest)
		}
		switch config.Model {
		case Classifier:
			for name, accuracy := range r.Metrics {
				if accuracy < 0 || accuracy > 1 {
					t.Errorf("epoch %d has %s %v", r.Epoch, name, accuracy)
				}
			}
		case VariationalAutoencoder:
			for part, test := range map[string]struct{ loss, weight float64 }{
				"train_": {r.TrainLoss, config.Values["divergence_weight"]}, "validation_": {r.ValidationLoss, 1},
			} {
				sum := r.Metrics[part+"reconstruction"] + test.weight*r.Metrics[part+"divergence"]
				if math.Abs(test.loss-sum) > 1e-5*test.loss {
					t.Errorf("epoch %d: %sloss is %v, its parts come to %v", r.Epoch, part, test.loss, sum)
				}
			}
		}
	}
}

// A frozen encoder keeps the pretrained weights to the end; a fine-tuned one begins with them.
func TestClassifierBeginsWithPretrainedWeights(t *testing.T) {
	pretrained := smallPretrained()
	for name, fineTune := range map[string]float64{"frozen": 0, "fine-tuned": 1} {
		t.Run(name, func(t *testing.T) {
			config := withValues(smallModel(t, Classifier), map[string]float64{"fine_tune": fineTune})
			trainee, err := begin(&config)
			if err != nil {
				t.Fatal(err)
			}
			// The encoder's weights come first in both networks.
			const encoder = 80 + 1168 + 4640 + 18496 + 390
			weights := trainee.State().Weights
			if !slices.Equal(weights[:encoder], pretrained.state.BestWeights[:encoder]) {
				t.Error("the run does not begin with the pretrained weights")
			}
			if _, err := trainee.TrainEpoch(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			state := trainee.State()
			same := slices.Equal(state.Weights[:encoder], pretrained.state.BestWeights[:encoder])
			zeros := slices.Equal(state.FirstMoments[:encoder], make([]float32, encoder))
			if frozen := fineTune == 0; same != frozen || zeros != frozen {
				t.Errorf("after an epoch the encoder is as it was: %v; its moments are zero: %v; want %v", same, zeros,
					frozen)
			}
		})
	}
}

// The noise on validation and test images is the same in every epoch, that on training images is not.
func TestNoiseOfEpochs(t *testing.T) {
	for _, name := range []string{DenoisingAutoencoder, VariationalAutoencoder} {
		config := withRate(smallModel(t, name), 1e-30) // The weights stay as they are.
		config.WeightDecay = 0
		if name == DenoisingAutoencoder {
			config.Values = map[string]float64{"noise": 10} // Untrained weights see little of less.
		}
		_, reports := collect(t, config)
		first, second := reports[0], reports[1]
		if first.ValidationLoss != second.ValidationLoss {
			t.Errorf("%s: validation losses of the same weights are %v and %v", name, first.ValidationLoss,
				second.ValidationLoss)
		}
		// Batches differ from epoch to epoch too, which moves the mean by rounding only.
		if difference := math.Abs(first.TrainLoss/second.TrainLoss - 1); difference < 1e-6 {
			t.Errorf("%s: training losses of the same weights are %v and %v: the noise is the same", name,
				first.TrainLoss,
				second.TrainLoss)
		}
	}
}
