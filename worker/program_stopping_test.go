package worker

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestProgramsStopEarly(t *testing.T) {
	rule := &trellisv1.EarlyStopping{
		Patience: 2, Metric: "acc", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE, MinDelta: 0.01,
	}
	values := []float64{0.5, 0.6, 0, 0.605, 0.59}
	missing := []uint32{2}
	// However many epochs were trained by an earlier attempt, the run ends with the same one.
	for before := range len(values) + 1 {
		history := map[string]*trellisv1.Series{"acc": {Values: values[:before]}}
		if before > 2 {
			history["acc"].Missing = missing
		}
		stopping := newProgramStopping(rule, history, before)
		if ended := stopping.endedAt(); (ended == len(values)) != (before == len(values)) || ended > 0 && ended < before {
			t.Errorf("after %d epochs of an earlier attempt, it has ended at epoch %d", before, ended)
		}
		for i := before; i < len(values); i++ {
			metrics := map[string]float64{"acc": values[i], "other": 1}
			if i == 2 {
				delete(metrics, "acc")
			}
			if stop := stopping.observe(metrics); stop != (i == 4) {
				t.Errorf("after %d epochs of an earlier attempt, it stops at epoch %d: %t", before, i+1, stop)
			}
		}
	}
	if stopping := newProgramStopping(nil, nil, 0); stopping.observe(nil) || stopping.endedAt() > 0 {
		t.Error("a run without a rule stops")
	}
}
