package worker

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		wrong  []string
	}{
		{"defaults", Config{}, nil},
		{"all well", Config{Coordinator: "dns:///host:7070", Name: "node", Slots: 1024}, nil},
		{"negative slots", Config{Slots: -1}, []string{"invalid slots -1: must be between 1 and 1024"}},
		{"too many slots", Config{Slots: 1025}, []string{"invalid slots 1025: must be between 1 and 1024"}},
		{"long name", Config{Name: strings.Repeat("n", 201)}, []string{"at most 200 bytes"}},
		{"name that is not UTF-8", Config{Name: "\xff"}, []string{"must be UTF-8 text"}},
		{"several nodes", Config{Coordinator: "a:1,b:1,[::1]:1"}, nil},
		{
			"a URL",
			Config{Coordinator: "http://host:7070"},
			[]string{`coordinator: "http://host:7070" begins with http://: use host:7070`},
		},
		{"one of several nodes", Config{Coordinator: "a:1,b"}, []string{`coordinator: "b" has no port: use b:7070`}},
		{"all wrong", Config{Coordinator: " ", Name: "\xff", Slots: -1}, []string{"slots", "name", "coordinator"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.config.Validate()
			if (err != nil) != (len(test.wrong) > 0) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.wrong {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if _, newErr := New(test.config); (newErr != nil) != (err != nil) {
				t.Errorf("New returned %v", newErr)
			}
		})
	}
}

// Workers that share a machine announce its memory once.
func TestMemoryIsShared(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/meminfo"), []byte("MemTotal: 16384 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		config Config
		want   uint64
	}{
		{Config{}, 16 << 20},
		{Config{Sharers: 1}, 16 << 20},
		{Config{Sharers: 4}, 4 << 20},
		{Config{Sharers: 4, Memory: 7 << 20}, 7 << 20},
	} {
		test.config.Root = root
		if got := test.config.capacity(t.Context()).GetMemory(); got != test.want {
			t.Errorf("%d sharers, memory %d: %d bytes, want %d", test.config.Sharers, test.config.Memory, got, test.want)
		}
	}
}

// They have cores of their own, though one each at least, and GPUs.
func TestCoresAndGPUsAreShared(t *testing.T) {
	root := t.TempDir()
	for _, gpu := range []string{"a", "b", "c"} {
		folder := filepath.Join(root, "proc/driver/nvidia/gpus", gpu)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		text := "Model: \t\t " + gpu + "\nGPU UUID: \t GPU-" + gpu + "\n"
		if err := os.WriteFile(filepath.Join(folder, "information"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := Config{Root: root}.capacity(t.Context())
	if len(all.GetGpus()) != 3 || all.GetCpus() < 1 {
		t.Fatalf("the machine has %v", all)
	}
	seen := map[string]bool{}
	for n, gpus := range []int{2, 1} {
		its := Config{Root: root, Sharers: 2, Sharer: n}.capacity(t.Context())
		for _, gpu := range its.GetGpus() {
			seen[gpu.GetId()] = true
		}
		if want := max(1, all.GetCpus()/2); len(its.GetGpus()) != gpus || its.GetCpus() != want {
			t.Errorf("worker %d of 2 has %v, want %v cores and %d GPUs", n, its, want, gpus)
		}
	}
	if len(seen) != 3 {
		t.Errorf("the workers have %d GPUs of 3", len(seen))
	}
}

// What was set of a worker is its own, and not divided.
func TestWhatWasSetIsNotShared(t *testing.T) {
	gpus := []*trellisv1.Gpu{{Id: "a"}, {Id: "b"}}
	its := Config{Root: t.TempDir(), Sharers: 4, Sharer: 3, CPUs: 6, Memory: 7 << 20, GPUs: gpus}.capacity(t.Context())
	if its.GetCpus() != 6 || its.GetMemory() != 7<<20 || len(its.GetGpus()) != 2 {
		t.Errorf("got %v, want 6 cores, 7 MiB and 2 GPUs", its)
	}
}

func TestDefaults(t *testing.T) {
	c := Config{}.withDefaults()
	if c.Coordinator != DefaultCoordinator || c.Name == "" || c.Slots < 1 || !strings.HasSuffix(c.CacheDir, "trellis") ||
		c.Version != DefaultVersion || c.Logger == nil || c.train == nil {
		t.Errorf("got %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	if c := (Config{}).withDefaults(); !strings.HasSuffix(c.CacheDir, "trellis") {
		t.Errorf("without a home, the cache is %q", c.CacheDir)
	}
}

func TestName(t *testing.T) {
	names := map[string]bool{}
	for range 100 {
		w, err := New(Config{Name: "host"})
		if err != nil {
			t.Fatal(err)
		}
		name := w.Name()
		if !strings.HasPrefix(name, "host-") || len(name) != len("host-")+8 || name != strings.ToLower(name) {
			t.Fatalf("name is %q", name)
		}
		if names[name] {
			t.Fatalf("two workers have the name %q", name)
		}
		names[name] = true
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	withRegistry := func(_ *harness, c *Config) {
		c.Registerer = registry
		c.train = func(ctx context.Context, c trainer.Config, report func(trainer.Report) error) (trainer.Result, error) {
			if c.Model == trainer.ConvAutoencoder {
				return trainer.Result{Epochs: 1}, report(trainer.Report{Epoch: 1})
			}
			return trainer.Train(ctx, c, report)
		}
	}
	inBubble(t, withRegistry, func(h *harness) {
		data := serve(h)
		p := h.connect()
		p.assign(data.assignment(5))
		p.reports(5, 1, 1)
		p.outcome(5)
		p.acknowledgeOutcome(5)
		p.assign(synthetic(1, "a", 3))
		p.reports(1, 1, 3)
		p.outcome(1)
		p.acknowledgeOutcome(1)
		failing := synthetic(2, "b", 3)
		failing.Config.Numerics = ""
		p.assign(failing)
		p.outcome(2)
		p.acknowledgeOutcome(2)
		p.assign(synthetic(3, "c", 100))
		p.reports(3, 1, 2)
		p.stop(3)
		p.assign(synthetic(4, "d", 100))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		h.leave()
		h.comeBack()
		h.connect(4)
		synctest.Wait()
		want := map[string]float64{
			"trellis_worker_checkpoints_total failure":  0, // from the beginning, so that alerts see the first
			"trellis_worker_checkpoints_total uploaded": 0,
			"trellis_worker_epochs_total":               6,
			"trellis_worker_images_total":               30, // the synthetic model has none
			"trellis_worker_runs_total failure":         1,
			"trellis_worker_runs_total return":          1,
			"trellis_worker_runs_total success":         2,
			"trellis_worker_sessions_total":             2,
			"trellis_worker_slots":                      2,
			"trellis_worker_slots_borrowed":             0,
			"trellis_worker_slots_busy":                 1,
		}
		if got := gather(t, registry); !maps.Equal(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
	})
	if _, err := New(Config{Registerer: registry}); !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		t.Errorf("a second worker under the same labels got %v", err)
	}
}

// gather returns the metrics by name and label.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			metrics[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return metrics
}
