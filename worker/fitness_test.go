package worker

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	trellisv1 "trellis/proto/trellis/v1"
)

// A worker that could train nothing says so at its start, and takes no runs that would fail.
func TestUnfitAtStart(t *testing.T) {
	blocked := func(_ *harness, c *Config) {
		file := filepath.Join(c.CacheDir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			panic(err)
		}
		c.CacheDir = filepath.Join(file, "cache")
	}
	broken := errors.New("adds wrongly")
	for _, test := range []struct {
		name      string
		configure func(*harness, *Config)
		want      error
		message   string
	}{
		{"cache", blocked, nil, "its cache can't be used: mkdir "},
		{"arithmetic", func(*harness, *Config) { arithmetic = func() error { return broken } }, broken, "adds wrongly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sound := arithmetic
			defer func() { arithmetic = sound }()
			inBubble(t, test.configure, func(h *harness) {
				err := h.returned()
				if !errors.Is(err, ErrUnfit) || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) {
					t.Errorf("Run returned %v, want %v with %q", err, ErrUnfit, test.message)
				}
				if h.mu.Lock(); len(h.dials) > 0 {
					t.Error("it connected nevertheless")
				}
				h.mu.Unlock()
			})
		})
	}
}

// A worker whose cache breaks says that it is the worker's fault, hands back what it trains and leaves.
func TestUnfitLater(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		s := serve(h)
		p := h.connect()
		p.assign(synthetic(1, "long", 100))
		p.reports(1, 1, 1)
		if err := os.RemoveAll(h.config.CacheDir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.config.CacheDir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		p.assign(s.assignment(2))
		var outcomes []*trellisv1.Outcome
		drains := 0
		for len(outcomes) < 2 {
			request := p.next()
			if request.GetDrain() != nil {
				drains++
				select {
				case <-h.worker.drain:
				default:
					t.Error("the uploads are not told that the worker drains")
				}
				h.worker.Drain() // A signal now changes nothing.
				synctest.Wait()
			}
			if outcome := request.GetOutcome(); outcome != nil {
				outcomes = append(outcomes, outcome)
				p.acknowledgeOutcome(outcome.GetAttempt())
			}
		}
		for _, outcome := range outcomes {
			switch outcome.GetAttempt() {
			case 1:
				if outcome.GetReturn() == nil {
					t.Errorf("the other run's outcome is %v, want return", outcome)
				}
			case 2:
				failure := outcome.GetFailure()
				if failure.GetClass() != trellisv1.FailureClass_FAILURE_CLASS_WORKER || !strings.Contains(failure.GetMessage(), h.config.CacheDir) {
					t.Errorf("the outcome is %v, want a failure of the worker's", outcome)
				}
			}
		}
		p.goodbye()
		if err := h.returned(); !errors.Is(err, ErrUnfit) || drains != 1 {
			t.Errorf("Run returned %v after %d drains; want %v after 1", err, drains, ErrUnfit)
		}
	})
}
