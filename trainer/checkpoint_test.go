//go:build !race

package trainer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"slices"
	"testing"

	"trellis/trainer/kernel"
	"trellis/trainer/model"
)

// A run that is interrupted after any epoch and goes on from an encoded checkpoint has the bits of one that is not.
func TestResume(t *testing.T) {
	base := small(t)
	base.MaxEpochs = 5
	base.LearningRate = 0.03 // Losses go up and down, so that best epochs and the last one differ.
	synthetic := syntheticConfig()
	synthetic.EarlyStopping = EarlyStopping{Patience: 3, MinDelta: 1e-5}
	configs := map[string]Config{"network": base, "synthetic": synthetic}
	for _, name := range networks[1:] {
		config := smallModel(t, name)
		config.MaxEpochs = 4
		configs[name] = config
	}
	fineTuned := smallModel(t, Classifier)
	fineTuned.MaxEpochs, fineTuned.Values = 4, map[string]float64{"fine_tune": 1}
	configs["fine-tuned classifier"] = fineTuned
	configs["shifted classifier"] = withValues(fineTuned, map[string]float64{"fine_tune": 1, "shift": 2})
	for name, config := range configs {
		t.Run(name, func(t *testing.T) {
			var encoded [][]byte
			config.Checkpoint = func(c *Checkpoint) error {
				b, err := c.MarshalBinary()
				encoded = append(encoded, b)
				return err
			}
			want, wantReports := collect(t, config)
			checkpoints := encoded
			if len(checkpoints) != want.Epochs {
				t.Fatalf("took %d checkpoints in %d epochs", len(checkpoints), want.Epochs)
			}
			for _, epoch := range []int{1, 3, want.Epochs} {
				encoded = nil
				resumed := config
				resumed.Resume = new(Checkpoint)
				if err := resumed.Resume.UnmarshalBinary(checkpoints[epoch-1]); err != nil {
					t.Fatal(err)
				}
				result, reports := collect(t, resumed)
				if !reflect.DeepEqual(result, want) {
					t.Errorf("resumed after epoch %d: result differs: best epoch %d with loss %v, want %d with %v",
						epoch,
						result.BestEpoch, result.BestValue, want.BestEpoch, want.BestValue)
				}
				if len(reports) != want.Epochs-epoch || len(reports) > 0 &&
					!reflect.DeepEqual(reports, wantReports[epoch:]) {
					t.Errorf("resumed after epoch %d: reports %+v, want %+v", epoch, reports, wantReports[epoch:])
				}
				if len(encoded) != want.Epochs-epoch || len(encoded) > 0 &&
					!reflect.DeepEqual(encoded, checkpoints[epoch:]) {
					t.Errorf("resumed after epoch %d: %d later checkpoints differ", epoch, len(encoded))
				}
			}
		})
	}
}

// A run that was interrupted after an epoch and goes on, on whichever path of the kernels, has the bits of one that was
// not: losses, weights and moments.
func TestResumeOnEachPath(t *testing.T) {
	skipShort(t)
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	config := small(t)
	config.BatchSize, config.Data = 19, mnist(t, 37, 5, 3) // Little, for the portable path's sake.
	var checkpoints [][]byte
	config.Checkpoint = func(c *Checkpoint) error {
		b, err := c.MarshalBinary()
		checkpoints = append(checkpoints, b)
		return err
	}
	wantResult, wantReports := collect(t, config)
	want := checkpoints
	for _, path := range kernel.Paths() {
		if err := kernel.SetPath(path); err != nil {
			t.Fatal(err)
		}
		for epoch := range want {
			checkpoints, config.Resume = nil, nil
			if epoch > 0 {
				config.Resume = new(Checkpoint)
				if err := config.Resume.UnmarshalBinary(want[epoch-1]); err != nil {
					t.Fatal(err)
				}
			}
			result, reports := collect(t, config)
			if !reflect.DeepEqual(result, wantResult) || !reflect.DeepEqual(reports, wantReports[epoch:]) ||
				!reflect.DeepEqual(checkpoints, want[epoch:]) {
				t.Errorf("path %s after epoch %d: %+v, want %+v; or checkpoints or the result differ", path, epoch,
					reports,
					wantReports[epoch:])
			}
		}
	}
}

// A checkpoint of a run with fewer epochs continues one with more.
func TestResumeWithMoreEpochs(t *testing.T) {
	config := small(t)
	config.MaxEpochs = 4
	want, _ := collect(t, config)
	var last *Checkpoint
	config.MaxEpochs = 2
	config.Checkpoint = func(c *Checkpoint) error { last = c.Clone(); return nil }
	collect(t, config)
	config.MaxEpochs, config.Resume, config.Milestones = 4, last, []int{3}
	if got, reports := collect(t, config); !reflect.DeepEqual(got, want) || len(reports) != 2 {
		t.Errorf("result differs, or %d reports, want 2", len(reports))
	}
}

// Once the losses have ended a run, its last checkpoint trains nothing more.
func TestResumeEndedRun(t *testing.T) {
	for name, test := range map[string]struct {
		rate float64
		want StopReason
	}{"early stopped": {1e-3, EarlyStopped}, "diverged": {0.5, Diverged}} {
		t.Run(name, func(t *testing.T) {
			config := syntheticConfig()
			config.LearningRate = test.rate
			config.EarlyStopping = EarlyStopping{Patience: 4, MinDelta: 1e-4}
			var last *Checkpoint
			config.Checkpoint = func(c *Checkpoint) error { last = c.Clone(); return nil }
			want, _ := collect(t, config)
			config.Resume, config.MaxEpochs = last, 1000
			got, reports := collect(t, config)
			if len(reports) != 0 || got.StopReason != test.want || got.Epochs != want.Epochs {
				t.Errorf("%d more reports, reason %d after %d epochs, want none, %d, %d",
					len(reports), got.StopReason, got.Epochs, test.want, want.Epochs)
			}
		})
	}
}

func TestResumeRefusesOtherRuns(t *testing.T) {
	base := small(t)
	base.MaxEpochs = 1
	var checkpoint *Checkpoint
	base.Checkpoint = func(c *Checkpoint) error { checkpoint = c.Clone(); return nil }
	collect(t, base)
	base.Resume, base.Checkpoint, base.MaxEpochs = checkpoint, nil, 2
	for name, test := range map[string]struct {
		change func(*Config)
		want   error
	}{
		"model":               {func(c *Config) { c.Model = Synthetic }, ErrCheckpointMismatch},
		"latent dim":          {func(c *Config) { c.LatentDim++ }, ErrCheckpointMismatch},
		"learning rate":       {func(c *Config) { c.LearningRate *= 2 }, ErrCheckpointMismatch},
		"weight decay":        {func(c *Config) { c.WeightDecay *= 2 }, ErrCheckpointMismatch},
		"batch size":          {func(c *Config) { c.BatchSize++ }, ErrCheckpointMismatch},
		"seed":                {func(c *Config) { c.Seed++ }, ErrCheckpointMismatch},
		"patience":            {func(c *Config) { c.EarlyStopping.Patience++ }, ErrCheckpointMismatch},
		"min delta":           {func(c *Config) { c.EarlyStopping.MinDelta = 1 }, ErrCheckpointMismatch},
		"data set":            {func(c *Config) { c.Data.Digest = "another" }, ErrCheckpointMismatch},
		"training images":     {func(c *Config) { c.Data.Train = c.Data.Validation }, ErrCheckpointMismatch},
		"validation images":   {func(c *Config) { c.Data.Validation = c.Data.Train }, ErrCheckpointMismatch},
		"fewer epochs":        {func(c *Config) { c.MaxEpochs, c.Resume.progress.epoch = 2, 3 }, ErrInvalidConfig},
		"other number of it":  {func(c *Config) { c.Resume.state.Weights = nil }, ErrCheckpointMismatch},
		"other step count":    {func(c *Config) { c.Resume.state.Steps++ }, ErrCheckpointMismatch},
		"zero checkpoint":     {func(c *Config) { c.Resume = new(Checkpoint) }, ErrCheckpointMismatch},
		"nothing of all this": {func(*Config) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			config := base
			config.Resume = checkpoint.Clone()
			test.change(&config)
			if _, err := Train(t.Context(), config, func(Report) error { return nil }); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
		})
	}
}

// A run that is canceled leaves the checkpoint before, from which it goes on.
func TestResumeAfterCancel(t *testing.T) {
	config := small(t)
	want, _ := collect(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last *Checkpoint
	config.Checkpoint = func(c *Checkpoint) error {
		last = c.Clone()
		if c.Epoch() == 2 {
			cancel()
		}
		return nil
	}
	if _, err := Train(ctx, config, func(Report) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v, want %v", err, context.Canceled)
	}
	config.Resume, config.Checkpoint = last, nil
	if got, _ := collect(t, config); !reflect.DeepEqual(got, want) {
		t.Error("result differs from that of the run without interruption")
	}
}

func testCheckpoint() *Checkpoint {
	c := &Checkpoint{identity: [32]byte{1, 2, 31: 3}, progress: newProgress(&Config{})}
	observe(&c.progress, 1, 0.5, EarlyStopping{})
	observe(&c.progress, 1, 0.75, EarlyStopping{})
	nan := float32(math.NaN())
	c.state = model.State{
		Steps: 77, Weights: []float32{1, -2, 3}, FirstMoments: []float32{4, nan, 6},
		SecondMoments: []float32{7, 8, 1e-45},
		BestWeights:   []float32{0, 1, 2},
	}
	return c
}

func TestCheckpointRoundTrip(t *testing.T) {
	c := testCheckpoint()
	prefix := []byte("before")
	encoded, err := c.AppendBinary(slices.Clone(prefix))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(encoded, prefix) || len(encoded) != len(prefix)+c.EncodedSize() {
		t.Fatalf("appended %d bytes, want %d", len(encoded)-len(prefix), c.EncodedSize())
	}
	var decoded Checkpoint
	if err := decoded.UnmarshalBinary(encoded[len(prefix):]); err != nil {
		t.Fatal(err)
	}
	again, err := decoded.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, encoded[len(prefix):]) || decoded.progress != c.progress || decoded.Epoch() != 2 {
		t.Errorf("decoded %+v, want %+v", decoded, *c)
	}
	buffer := make([]byte, 0, c.EncodedSize())
	if allocations := testing.AllocsPerRun(10, func() { c.AppendBinary(buffer) }); allocations != 0 {
		t.Errorf("encoding into a buffer takes %v allocations", allocations)
	}
}

func TestCheckpointCopies(t *testing.T) {
	first, second := testCheckpoint(), testCheckpoint()
	observe(&second.progress, 1, 0.25, EarlyStopping{})
	second.state.Steps++
	for _, values := range second.state.All() {
		(*values)[0]++
	}
	encode := func(c *Checkpoint) []byte {
		b, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := encode(second)
	kept := first.Clone()
	if !bytes.Equal(encode(kept), encode(first)) {
		t.Error("the clone differs")
	}
	second.CopyTo(kept)
	if !bytes.Equal(encode(kept), want) {
		t.Error("a copy over an earlier one differs")
	}
	if bytes.Equal(encode(first), want) {
		t.Error("a copy over a clone has changed what was cloned")
	}
	for _, values := range second.state.All() {
		(*values)[0]++
	}
	if !bytes.Equal(encode(kept), want) {
		t.Error("a copy shares memory with the run")
	}
	if allocations := testing.AllocsPerRun(10, func() { second.CopyTo(kept) }); allocations != 0 {
		t.Errorf("copying over an earlier copy takes %v allocations", allocations)
	}
	smaller := &Checkpoint{progress: first.progress}
	smaller.CopyTo(kept)
	if !bytes.Equal(encode(kept), encode(smaller)) {
		t.Error("a copy of fewer weights differs")
	}
}

func TestCheckpointRefusesAlteredBytes(t *testing.T) {
	encoded, err := testCheckpoint().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(data []byte, want error, what string, at int) {
		var c Checkpoint
		if err := c.UnmarshalBinary(data); !errors.Is(err, want) {
			t.Errorf("%s at %d: got error %v, want %v", what, at, err, want)
		}
		if !reflect.DeepEqual(c, Checkpoint{}) {
			t.Errorf("%s at %d: the checkpoint was changed", what, at)
		}
	}
	for at := range encoded {
		refuse(encoded[:at], ErrCheckpointCorrupt, "cut", at)
		altered := slices.Clone(encoded)
		altered[at] ^= 0x10
		want := ErrCheckpointCorrupt
		if at >= 8 && at < 12 {
			want = ErrCheckpointVersion
		}
		refuse(altered, want, "altered", at)
	}
	refuse(append(slices.Clone(encoded), 0), ErrCheckpointCorrupt, "extended", len(encoded))
	// Fields that contradict each other, under a checksum that is right.
	for name, field := range map[string]struct {
		at    int
		value uint32
	}{
		"epoch 0":            {44, 0},
		"best epoch later":   {48, 9},
		"no best epoch":      {48, 0},
		"waited longer":      {68, 7},
		"unknown reason":     {72, 9},
		"reason max epochs":  {72, uint32(MaxEpochs)},
		"too many weights":   {84, 4},
		"a great many":       {84, math.MaxUint32},
		"fewer weights":      {84, 2},
		"overflowing number": {84, 1 << 28},
	} {
		altered := slices.Clone(encoded[:len(encoded)-checkpointTrailer])
		binary.LittleEndian.PutUint32(altered[field.at:], field.value)
		altered = binary.LittleEndian.AppendUint32(altered, crc32.Checksum(altered, castagnoli))
		refuse(altered, ErrCheckpointCorrupt, name, field.at)
	}
}

func FuzzCheckpoint(f *testing.F) {
	encoded, err := testCheckpoint().MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add(encoded[:50])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		// The checksum would stop nearly everything: try each input with a right one too.
		fixed := binary.LittleEndian.AppendUint32(slices.Clone(data), crc32.Checksum(data, castagnoli))
		for _, data := range [][]byte{data, fixed} {
			var c Checkpoint
			if err := c.UnmarshalBinary(data); err != nil {
				continue
			}
			again, err := c.MarshalBinary()
			if err != nil || !bytes.Equal(again, data) {
				t.Fatalf("a decoded checkpoint is encoded differently (error %v)", err)
			}
			config := syntheticConfig()
			config.Resume = &c
			if _, err := Train(t.Context(), config, func(Report) error { return nil }); err == nil {
				t.Fatal("a checkpoint of another run was accepted")
			}
		}
	})
}
