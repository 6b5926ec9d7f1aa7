package worker

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/network"
)

// Some time after a run that takes much memory, the worker gives back what nothing uses any more; after others, it does
// not.
func TestMemoryIsGivenBack(t *testing.T) {
	for name, test := range map[string]struct {
		side     uint32
		released int32
	}{"a small network": {28, 0}, "a large network": {64, 1}} {
		t.Run(name, func(t *testing.T) {
			var released atomic.Int32
			inBubble(t, func(_ *harness, c *Config) {
				c.release = func() { released.Add(1) }
				c.train = func(context.Context, trainer.Config, func(trainer.Report) error) (trainer.Result, error) {
					return trainer.Result{}, nil
				}
			}, func(h *harness) {
				p := h.connect()
				p.assign(&trellisv1.Assignment{Study: "s", Run: "a", Attempt: 1, Config: &trellisv1.RunConfig{
					Model: "variational-autoencoder", Numerics: trainer.NumericsVersion,
					Input: &trellisv1.ModelInput{Channels: 3, Height: test.side, Width: test.side, Classes: 10},
					Parameters: &trellisv1.Parameters{MaxEpochs: 1, Values: trellisv1.ValuesOf(map[string]any{
						"latent_dim": 8, "learning_rate": 1e-3, "batch_size": 256,
					})},
				}})
				p.outcome(1)
				p.acknowledgeOutcome(1)
				synctest.Wait()
				if released.Load() != 0 {
					t.Error("memory is given back at once, before another run can use it")
				}
				time.Sleep(2 * releaseDelay)
				if got := released.Load(); got != test.released {
					t.Errorf("memory was given back %d times, want %d", got, test.released)
				}
			})
		})
	}
}

// Values that are not to be kept are forgotten, except those that are being fetched.
func TestTrimShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetched := map[string]int{}
		s := newShared(t.Context(), slog.New(slog.DiscardHandler), "value",
			func(_ context.Context, key string, _ func()) (string, error) {
				fetched[key]++
				return key, nil
			})
		for range 2 {
			for _, key := range []string{"kept", "not kept"} {
				if value, err := s.get(t.Context(), key, new(atomic.Uint64)); err != nil || value != key {
					t.Fatal(value, err)
				}
			}
			s.trim(func(key, value string) bool { return key == "kept" && value == key })
		}
		if want := map[string]int{"kept": 1, "not kept": 2}; !maps.Equal(fetched, want) {
			t.Errorf("fetched %v, want %v", fetched, want)
		}
	})
}

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
	codes := &trainer.Config{Model: "classifier", LatentDim: 128, LearningRate: 1e-3, BatchSize: 256}
	codes.Data.Train.Labels = make([]byte, (200<<20)/4/codes.LatentDim)
	withCodes, err := codes.Size()
	if err != nil || withCodes.Memory < largeRun {
		t.Fatalf("size %v, error %v", withCodes, err)
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
		"codes of images":          {codes, withCodes.Memory, 0, 4, 0, 1},
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
		got := announced.capacity(t.Context()).GetThreads()
		if got < uint32(test.want) || got > uint32(min(test.slots, 8)) {
			t.Errorf("%s: %d cores are announced, want %d to %d", name, got, test.want, min(test.slots, 8))
		}
	}
}

// A worker keeps its heap within what it has for runs, unless GOMEMLIMIT says what it may take.
func TestHeapIsKeptWithinMemory(t *testing.T) {
	var within atomic.Uint64
	inBubble(t, func(_ *harness, c *Config) {
		c.Memory, c.keepWithin = 5<<30, within.Store
	}, func(h *harness) {
		h.connect()
	})
	if within.Load() != 5<<30 {
		t.Errorf("kept within %d bytes, want 5 GiB", within.Load())
	}
	standard := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(standard) })
	for _, test := range []struct {
		variable string
		memory   uint64
		want     int64
	}{{"", 0, standard}, {"1GiB", 5 << 30, standard}, {"", 5 << 30, 5 << 30}, {"", 5, leastLimit}} {
		t.Setenv("GOMEMLIMIT", test.variable)
		if keepHeapWithin(test.memory); debug.SetMemoryLimit(-1) != test.want {
			t.Errorf("with %d bytes and GOMEMLIMIT=%q: %d, want %d", test.memory, test.variable, debug.SetMemoryLimit(-1), test.want)
		}
	}
}
