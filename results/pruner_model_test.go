package results

import (
	"math"
	"slices"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// The model's pruning: every rung is looked at anew from all losses whenever something has happened.

// drawPruning draws how a study prunes, if it does.
func drawPruning(t *rapid.T) *trellisv1.Pruning {
	switch rapid.SampledFrom([]string{"none", "asha", "asha", "median"}).Draw(t, "pruning") {
	case "asha":
		return &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{
			MinEpochs: rapid.Uint32Range(1, 2).Draw(t, "min epochs"), ReductionFactor: rapid.Uint32Range(2, 3).Draw(t,
				"factor"),
		}}}
	case "median":
		return &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{
			MinEpochs: rapid.Uint32Range(1, 2).Draw(t, "min epochs"), Interval: rapid.Uint32Range(1, 2).Draw(t,
				"interval"),
			MinRuns: rapid.Uint32Range(1, 2).Draw(t, "min runs"),
		}}}
	}
	return nil
}

// rungs are the epochs at which the study judges runs, as far as they may come.
func (s *modelStudy) rungs() (rungs []int) {
	const far = 10
	if asha := s.pruning.GetAsha(); asha != nil {
		for rung := int(asha.MinEpochs); rung <= far; rung *= int(asha.ReductionFactor) {
			rungs = append(rungs, rung)
		}
	}
	if median := s.pruning.GetMedian(); median != nil {
		for rung := int(median.MinEpochs); rung <= far; rung += int(median.Interval) {
			rungs = append(rungs, rung)
		}
	}
	return rungs
}

// stage is where the run's next attempt is to end.
func (s *modelStudy) stage(run *modelRun) uint32 {
	for _, rung := range s.rungs() {
		if rung > len(run.train) && rung < int(run.Parameters.MaxEpochs) && !run.spared {
			return uint32(rung)
		}
	}
	return run.Parameters.MaxEpochs
}

// reached is the epoch that the run counts up to.
func (r *modelRun) reached() int {
	if r.state == lifecycle.RunSucceeded {
		return int(r.Parameters.MaxEpochs)
	}
	return len(r.train)
}

// at are the run's finite validation losses up to a rung, and whether there is another among them.
func (r *modelRun) at(rung int) (losses []float64, spoilt bool) {
	for _, loss := range r.validation[:min(rung, len(r.validation))] {
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			spoilt = true
		} else {
			losses = append(losses, loss)
		}
	}
	return losses, spoilt
}

func (r *modelRun) lowest(rung int) float64 {
	losses, _ := r.at(rung)
	return slices.Min(append(losses, math.Inf(1)))
}

func (r *modelRun) mean(rung int) float64 {
	losses, spoilt := r.at(rung)
	if spoilt {
		return math.Inf(1)
	}
	sum := 0.0
	for _, loss := range losses {
		sum += loss
	}
	return sum / float64(len(losses))
}

// best are the runs that a rung of ASHA lets go on.
func (s *modelStudy) best(rung int) []*modelRun {
	if s.pruning.GetAsha() == nil {
		return nil
	}
	var come []*modelRun
	for _, run := range s.runs {
		if run.reached() >= rung {
			come = append(come, run)
		}
	}
	slices.SortFunc(come, func(a, b *modelRun) int {
		if x, y := a.lowest(rung), b.lowest(rung); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return int(a.FirstTrial) - int(b.FirstTrial)
	})
	return come[:len(come)/int(s.pruning.GetAsha().ReductionFactor)]
}

// passes says whether a run may go on from a rung.
func (s *modelStudy) passes(run *modelRun, rung int) bool {
	if s.pruning.GetAsha() != nil {
		return slices.Contains(s.best(rung), run)
	}
	var others []float64
	for _, other := range s.runs {
		if other != run && other.reached() >= rung {
			others = append(others, other.mean(rung))
		}
	}
	if len(others) < int(s.pruning.GetMedian().MinRuns) {
		return true
	}
	slices.Sort(others)
	return !(run.lowest(rung) > others[(len(others)-1)/2]/2+others[len(others)/2]/2)
}

// rungOf is the last rung that the run has come to, 0 if there is none or it is at its end.
func (s *modelStudy) rungOf(run *modelRun) (last int) {
	for _, rung := range s.rungs() {
		if rung <= len(run.train) && rung < int(run.Parameters.MaxEpochs) {
			last = rung
		}
	}
	return last
}

// follow does what follows from a command: runs take over what their twins know and are pruned, until nothing more
// follows, and studies end that have nothing left to do.
func (m *model) follow(index uint64) {
	for again := true; again; {
		again = false
		m.shareAll(index)
		for _, study := range m.studies {
			again = study.state != lifecycle.StudyCanceled && study.prune(index) || again
		}
	}
	for _, run := range m.allRuns() {
		run.before, run.cameTo, run.counted, run.judged = run.state, run.reached(), run.reached(), 0
	}
	m.complete()
}

// prune says whether it has taken up any run.
func (s *modelStudy) prune(index uint64) (takenUp bool) {
	for _, rung := range s.rungs() {
		came := func(r *modelRun) bool { return r.reached() >= rung && r.counted < rung }
		if !slices.ContainsFunc(s.runs, came) {
			continue
		}
		for _, run := range s.best(rung) {
			if run.state == lifecycle.RunPruned && s.rungOf(run) == rung {
				run.state, run.changed, takenUp = lifecycle.RunPending, index, true
			}
		}
	}
	for _, run := range s.runs {
		rung := s.rungOf(run)
		came := run.cameTo < rung
		released := run.before != lifecycle.RunPending && run.before != lifecycle.RunPruned && len(run.train) == rung
		run.counted = run.reached()
		if run.state == lifecycle.RunPending && !run.spared && rung > 0 && (came || released) && run.judged != rung {
			run.judged = rung
			if !s.passes(run, rung) {
				run.state, run.changed = lifecycle.RunPruned, index
			}
		}
	}
	if takenUp {
		return true
	}
	if len(s.rungs()) == 0 || slices.ContainsFunc(s.runs, func(r *modelRun) bool { return !r.ended() }) {
		return false
	}
	var best *modelRun
	for _, run := range s.runs {
		if lowest := run.lowest(math.MaxInt); run.state != lifecycle.RunFailed && !math.IsInf(lowest, 1) &&
			(best == nil || lowest < best.lowest(math.MaxInt)) {
			best = run
		}
	}
	if best != nil && best.state == lifecycle.RunPruned {
		best.state, best.changed = lifecycle.RunPending, index
		return true
	}
	return false
}
