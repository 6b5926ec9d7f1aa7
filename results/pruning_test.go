package results

import (
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestPruningModel checks the store against the model where mostly stages end: with a replica that is restored now and then,
// with lost workers, and with studies that are paused.
func TestPruningModel(t *testing.T) {
	pruned := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := newStoreMachine(t)
		m.create(rt)
		m.apply(rt, &trellisv1.Worker{Name: "w", State: workerReady, Slots: 3})
		m.grant(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"create":  m.create,
			"study":   m.setStudy,
			"worker":  m.setWorker,
			"grant":   m.grantNext,
			"grant 2": m.grantNext,
			"stage":   m.endStageNext,
			"stage 2": m.endStageNext,
			"stage 3": m.endStageNext,
			"success": m.succeedNext,
			"lose":    m.loseHolder,
			"restore": m.restore,
		})
		for _, run := range m.model.allRuns() {
			if run.state == runPruned {
				pruned++
			}
		}
	})
	if pruned == 0 {
		t.Error("no run has been pruned")
	}
}

func ashaOf(minEpochs, factor uint32) *trellisv1.Pruning {
	return &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{
		MinEpochs: minEpochs, ReductionFactor: factor,
	}}}
}

func medianOf(minEpochs, interval, minRuns uint32) *trellisv1.Pruning {
	return &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{
		MinEpochs: minEpochs, Interval: interval, MinRuns: minRuns,
	}}}
}
