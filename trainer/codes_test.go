//go:build !race

package trainer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"trellis/trainer/dataset"
	"trellis/trainer/kernel"
)

// A classifier on a frozen encoder trains on codes that are kept. All that it reports and its checkpoints have the bits
// that were recorded when each epoch encoded the images anew. Those of images that move are never kept.
func TestKeptCodesBits(t *testing.T) {
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	frozen := smallModel(t, Classifier)
	for _, test := range []struct {
		name   string
		config Config
		want   uint64
	}{
		{"frozen", frozen, 0xe95e3aa571dd9d22},
		{"shifted", withValues(frozen, map[string]float64{"shift": 2}), 0x2506141b6b29b2d},
	} {
		for _, path := range kernel.Paths() {
			if path == "portable" && testing.Short() {
				continue
			}
			if err := kernel.SetPath(path); err != nil {
				t.Fatal(err)
			}
			if got := runDigest(t, test.config); got != test.want {
				t.Errorf("the run of the %s classifier on path %s has the digest %#x, want %#x", test.name, path, got,
					test.want)
			}
		}
	}
}

// runDigest is a digest of all that a run reports, and of its checkpoints.
func runDigest(t *testing.T, config Config) uint64 {
	t.Helper()
	text := ""
	config.Milestones = []int{2}
	config.Checkpoint = func(c *Checkpoint) error {
		encoded, err := c.MarshalBinary()
		text += fmt.Sprintf("%x\n", encoded)
		return err
	}
	_, reports := collect(t, config)
	for _, r := range reports {
		text += fmt.Sprintf("%x %x %x\n", r.TrainLoss, r.ValidationLoss, r.Metrics)
		if r.TestLoss != nil {
			text += fmt.Sprintf("%x %x\n", *r.TestLoss, r.TestMetrics)
		}
	}
	return digest(text)
}

// Codes are kept where they are the same in each epoch, and where there is room for them.
func TestWhichCodesAreKept(t *testing.T) {
	frozen := smallModel(t, Classifier)
	// So many images that their codes of 6 values are too large by one image.
	large := frozen
	large.Data.Train = dataset.Images{Labels: make([]byte, maxCodes/4/6+1-37-21)}
	for name, test := range map[string]struct {
		config               Config
		training, validation bool
	}{
		"frozen":     {frozen, true, true},
		"shifted":    {withValues(frozen, map[string]float64{"shift": 1}), false, true},
		"fine-tuned": {withValues(frozen, map[string]float64{"fine_tune": 1}), false, false},
		"large":      {large, false, false},
		"not frozen": {small(t), false, false},
	} {
		trainee, err := begin(&test.config)
		if err != nil {
			t.Fatal(err)
		}
		m := trainee.(*training)
		if m.codes.training.keep != test.training || m.codes.validation.keep != test.validation ||
			m.codes.test.keep != test.validation {
			t.Errorf("%s: codes are kept: %+v, want those of training %t, of validation and test %t", name, m.codes,
				test.training, test.validation)
		}
	}
}

// Encoding that is interrupted leaves nothing that a later epoch would take for all codes.
func TestInterruptedEncoding(t *testing.T) {
	config := smallModel(t, Classifier)
	trainee, err := begin(&config)
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trainee.TrainEpoch(canceled, 1); !errors.Is(err, context.Canceled) {
		t.Fatalf("an epoch after the end of its context: %v, want %v", err, context.Canceled)
	}
	m := trainee.(*training)
	if m.codes.training.values != nil {
		t.Errorf("kept %d values of an interrupted encoding", len(m.codes.training.values))
	}
	if _, err := trainee.TrainEpoch(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got, want := len(m.codes.training.values), 6*config.Data.Train.Len(); got != want {
		t.Errorf("kept %d values, want %d", got, want)
	}
}
