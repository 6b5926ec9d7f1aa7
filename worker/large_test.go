package worker

import (
	"runtime"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/network"
)

// A run of a large network uses no more cores than leave memory for as many such runs as there would be room for.
func TestCoresOfLargeNetworks(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16))
	small := &trainer.Config{Model: "variational-autoencoder", LatentDim: 8, LearningRate: 1e-3, BatchSize: 256}
	large := *small
	large.Input = trainer.Input{Image: network.Image{Channels: 3, Height: 64, Width: 64}, Classes: 10}
	size, err := large.Size()
	if err != nil || size.Memory < largeRun {
		t.Fatalf("size %v, error %v", size, err)
	}
	for name, test := range map[string]struct {
		config         *trainer.Config
		memory, images int
		slots, threads int
		want           int
	}{
		"small network":            {small, 1, 0, 4, 0, 4},
		"unknown memory":           {&large, 0, 0, 4, 0, 4},
		"no room for another core": {&large, size.Memory, 0, 4, 0, 1},
		"room for one run more":    {&large, 2 * size.Memory, 0, 4, 0, 1},
		"room for another core":    {&large, size.Memory + size.CoreMemory, 0, 4, 0, 2},
		"images take room":         {&large, size.Memory + size.CoreMemory, 1, 4, 0, 1},
		"less than the run takes":  {&large, size.Memory / 2, 0, 4, 0, 1},
		"enough for all":           {&large, 100 * size.Memory, 0, 4, 0, 4},
		"limit":                    {&large, 100 * size.Memory, 0, 4, 2, 2},
		"more cores than slots":    {&large, 100 * size.Memory, 0, 4, 64, 4},
		"more than a run can use":  {small, 1, 0, 16, 64, 8},
	} {
		w := &Worker{
			config: Config{Threads: test.threads}, slots: make(chan struct{}, test.slots),
			capacity: &trellisv1.Capacity{Memory: uint64(test.memory)},
		}
		if got := w.coresFor(test.config, test.images); got != test.want {
			t.Errorf("%s: %d cores, want %d", name, got, test.want)
		}
		// The coordinator counts memory for as many as the worker announces.
		announced := w.config
		announced.Slots = test.slots
		if got := announced.capacity(t.Context()).GetThreads(); got < uint32(test.want) || got > uint32(min(test.slots, 8)) {
			t.Errorf("%s: %d cores are announced, want %d to %d", name, got, test.want, min(test.slots, 8))
		}
	}
}
