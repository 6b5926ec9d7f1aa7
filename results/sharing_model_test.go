package results

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// shareAll lets all runs that wait take over what their twins know.
func (m *model) shareAll(index uint64) {
	var ids []string
	for _, run := range m.allRuns() {
		ids = append(ids, run.Id)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		m.share(index, id)
	}
}

// twins returns the runs of an id, those of the oldest study first.
func (m *model) twins(id string) []*modelRun {
	return slices.DeleteFunc(m.allRuns(), func(r *modelRun) bool { return r.Id != id })
}

// share lets all runs of an id that wait, but for those of fresh studies, take over from one another.
func (m *model) share(index uint64, id string) {
	twins := m.twins(id)
	for _, to := range twins {
		sources := slices.Clone(twins)
		slices.SortStableFunc(sources, func(a, b *modelRun) int {
			return cmp.Or(cmp.Compare(len(b.train), len(a.train)), cmp.Compare(a.shared, b.shared))
		})
		for _, from := range sources {
			if from != to && to.state == lifecycle.RunPending && !m.study(to.study).fresh && to.takeOver(from) {
				to.changed = index
			}
		}
	}
}

// takeOver says whether it has taken anything over.
func (r *modelRun) takeOver(from *modelRun) (taken bool) {
	for i := range min(len(r.train), len(from.train)) {
		if !sameLoss(r.train[i], from.train[i]) || !sameLoss(r.validation[i], from.validation[i]) {
			return false
		}
	}
	if len(r.train) > 0 && len(from.train) > 0 && !maps.EqualFunc(r.metrics, from.metrics, func(a, b []float64) bool {
		n := min(len(a), len(b))
		return slices.EqualFunc(a[:n], b[:n], sameLoss)
	}) {
		return false
	}
	maxEpochs := int(r.Parameters.MaxEpochs)
	for epoch := len(r.train) + 1; epoch <= min(len(from.train), maxEpochs); epoch++ {
		r.train, r.validation = append(r.train, from.train[epoch-1]), append(r.validation, from.validation[epoch-1])
		for name, values := range from.metrics {
			r.metrics[name] = append(r.metrics[name], values[epoch-1])
		}
		at, known := from.testedAt(epoch)
		if _, ok := from.test[uint32(epoch)]; ok {
			at, known = uint32(epoch), true
		} else if !slices.Contains(r.Milestones, uint32(epoch)) {
			known = false
		}
		if known {
			r.test[uint32(epoch)] = from.test[at]
			if metrics := from.testMetrics[at]; metrics != nil {
				r.testMetrics[uint32(epoch)] = metrics
			}
		}
		r.shared++
		r.sharedFrom, taken = from.study, true
	}
	for _, checkpoint := range from.keptCheckpoints() {
		kept, last := r.keptCheckpoints(), uint32(0)
		if len(kept) > 0 {
			last = kept[len(kept)-1].Epoch
		}
		has := slices.ContainsFunc(kept, func(c *trellisv1.Checkpoint) bool { return c.Epoch == checkpoint.Epoch })
		wants := checkpoint.Epoch > last || slices.Contains(r.Milestones, checkpoint.Epoch)
		if !has && wants && int(checkpoint.Epoch) <= len(r.train) {
			r.checkpoints, taken = append(r.checkpoints, proto.CloneOf(checkpoint)), true
		}
	}
	ended := from.state == lifecycle.RunSucceeded && len(from.train) == len(r.train)
	byItself := ended && from.reason != trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	switch {
	case byItself || ended && len(r.train) == maxEpochs:
		r.state, r.reason = lifecycle.RunSucceeded, from.reason
		return true
	case len(r.train) == maxEpochs && len(from.train) > maxEpochs:
		r.state, r.reason = lifecycle.RunSucceeded, trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
		return true
	}
	return taken
}

// testedAt is the first epoch with a test loss whose best weights are those of the given one.
func (r *modelRun) testedAt(epoch int) (uint32, bool) {
	for other := range r.validation {
		_, ok := r.test[uint32(other+1)]
		if ok && bestEpoch(r.validation[:other+1]) == bestEpoch(r.validation[:epoch]) {
			return uint32(other + 1), true
		}
	}
	return 0, false
}

// bestEpoch is the first with the lowest finite loss, 0 if there is none.
func bestEpoch(losses []float64) (epoch int) {
	best := math.NaN()
	for i, loss := range losses {
		if !math.IsNaN(loss) && !math.IsInf(loss, 0) && !(loss >= best) {
			best, epoch = loss, i+1
		}
	}
	return epoch
}

// isTrained says whether a twin of the run is being trained, so that the run has to wait.
func (m *model) isTrained(run *modelRun) bool {
	return !m.study(run.study).fresh && slices.ContainsFunc(m.twins(run.Id), func(twin *modelRun) bool {
		return twin.state == lifecycle.RunLeased && !m.study(twin.study).fresh
	})
}
