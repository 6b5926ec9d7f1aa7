package trainer

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"trellis/trainer/dataset"
	"trellis/trainer/network"
)

// Size says how much memory a run takes: of networks with many weights and of those with many values, on one core and
// on two.
func TestSizeSaysMemory(t *testing.T) {
	skipShort(t) // With the race detector, a run allocates more.
	for name, test := range map[string]struct {
		image  network.Image
		values map[string]float64
	}{
		"many weights": {
			network.Image{Channels: 1, Height: 28, Width: 28},
			map[string]float64{"filters": 64, "hidden": 784, "kernel": 5},
		},
		"many values": {network.Image{Channels: 3, Height: 128, Width: 128}, nil},
	} {
		config := func(images int) *Config {
			its := func(n int) dataset.Images {
				return dataset.Images{Pixels: make([]byte, n*test.image.Size()), Labels: make([]byte, n)}
			}
			return &Config{
				Model: "conv-autoencoder", LatentDim: 8, LearningRate: 1e-3, BatchSize: 64, Seed: 1, MaxEpochs: 1,
				Values: test.values, Input: Input{Image: test.image, Classes: 10},
				Data: dataset.Split{
					Height: test.image.Height, Width: test.image.Width, Channels: test.image.Channels,
					Train: its(images), Validation: its(1), Test: its(1),
				},
			}
		}
		size, err := config(1).Size()
		if err != nil {
			t.Fatal(err)
		}
		one := allocated(t, config(1))
		if share := float64(one) / float64(size.Memory); share < 0.75 || share > 1.15 {
			t.Errorf("%s: a run allocates %d bytes, and its size says %d", name, one, size.Memory)
		}
		two := config(64)
		two.Cores = &oneCore{}
		more := allocated(t, two) - allocated(t, config(64))
		if share := float64(more) / float64(size.CoreMemory); share < 0.75 || share > 1.25 {
			t.Errorf("%s: a further core allocates %d bytes, and its size says %d", name, more, size.CoreMemory)
		}
	}
}

// oneCore lends a core that is always idle.
type oneCore struct{ lent atomic.Bool }

func (c *oneCore) TryTake() bool { return c.lent.CompareAndSwap(false, true) }
func (c *oneCore) Return()       { c.lent.Store(false) }
func (c *oneCore) Wanted() bool  { return false }

// allocated is how many bytes a run allocates, with a checkpoint and its encoding.
func allocated(t *testing.T, config *Config) int {
	t.Helper()
	var kept Checkpoint
	var encoded []byte
	config.Checkpoint = func(checkpoint *Checkpoint) (err error) {
		checkpoint.CopyTo(&kept)
		encoded, err = checkpoint.AppendBinary(encoded[:0])
		return err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Train(context.Background(), *config, func(Report) error { return nil }); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}
