package listing

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// maxFilterMemory is what compiling a filter and computing it for a few trials may take in all, in bytes.
const maxFilterMemory = 256 << 20

// FuzzFilter: whatever somebody asks for, it is refused as invalid, or is computed for any trial with little work.
func FuzzFilter(f *testing.F) {
	for _, expression := range []string{
		"", " ", "objective < 0.02", "state == 'succeeded' && epochs >= 3u", "state == 'sucseeded'", "index + 1",
		"latent_dim in [4, 8] || !(learning_rate > 1e-3)", "loss > 1", "state.matches('^su+')", "(", "1 / 0 == 1",
		"1 / (index - index) == 1", "9223372036854775807 + index > 0", "weight_decay == 0 && best_epoch % 2 == 1",
		`state.matches("\\pL{1000}")`, `state.matches(state + "x")`, "[1, 2, 3].all(x, x > 0)",
		"objective == test_loss",
		"state > 3", "index && 'a'", "!state", "-state == 1", "state.matches(3)", "unknown(3)",
		"index > 99999999999999999999",
		"state = failed", "epochs > 3 and index < 5", "accuracy > 0.5 ? index > 1 : test_accuracy < 1.0",
		strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300), strings.Repeat("!", 400) + "true",
		strings.Repeat("state + ", 100) + "state == 'x'", "size(state) > 3 && state.contains('a') && state < 'z'",
		"timestamp('2026-01-01T00:00:00Z') > timestamp('x')", "duration('1s') < duration('2s')", "dyn(index) == 'a'",
		"{'a': 1}['b'] == 1", "[1][5] == 1", "type(index) == int", "b'\\xff' == bytes(state)", "\x00", "\xff",
		"a\nb\r\n< 'é",
	} {
		f.Add(expression)
	}
	fields := WithMetrics([]string{"accuracy"}, modelFields)
	objective := 0.25
	trials := []*trellisv1.Trial{
		{},
		{
			Index: 7, State: trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, Epochs: 3, BestEpoch: 2,
			Objective:  &objective,
			Parameters: &trellisv1.Parameters{MaxEpochs: 3, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0})},
			Metrics:    map[string]float64{"accuracy": 0.9},
		},
		{Index: 1<<64 - 1, State: 99, Epochs: 1<<32 - 1},
	}
	f.Fuzz(func(t *testing.T, expression string) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		defer func() {
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > maxFilterMemory {
				t.Errorf("%d bytes of memory for %d bytes", took, len(expression))
			}
		}()
		filter, err := NewFilter(expression, fields)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
			return
		}
		for _, trial := range trials {
			first, err := filter(trial)
			if err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("trial %d: %v", trial.Index, err)
			}
			if again, failure := filter(trial); again != first || (err == nil) != (failure == nil) {
				t.Errorf("trial %d: %v and %v, then %v and %v", trial.Index, first, err, again, failure)
			}
		}
	})
}
