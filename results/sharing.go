package results

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// A run's id is the hash of all that determines its digits, so that runs of the same id in different studies, twins, have the
// same losses bit for bit. The rule is: what any study has recorded of a run, every study that asks for it has, as far as it
// asks. It is kept by every change as it is committed: a run that is PENDING takes over what its twins know beyond it, and
// may thereby come to its end. A run that is LEASED is being told by its worker, and one that has ended is left alone, so
// that nothing that happens to one study takes anything from another. Studies that are fresh take nothing over.

// twin is a run of a change, and the study that it belongs to.
type twin struct {
	handle
	relative
}

// takes says whether the run is to take over what its twins know.
func (t twin) takes() bool { return !t.fresh && t.run().State == lifecycle.RunPending }

// share lets the twins of all runs that the change has brought on, or made PENDING, take over what there is.
func (c *change) share() error {
	// Those that take over here have nothing new to tell, so that sections which come to the change meanwhile are left out.
	for _, edit := range c.sections.inOrder {
		if edit.after == nil {
			continue
		}
		its, err := c.familyOf(edit.after.study)
		if err != nil {
			return err
		}
		if its == nil {
			continue
		}
		for slot, now := range edit.after.members {
			if !concernsTwins(edit.stored(slot), now) {
				continue
			}
			if err := c.shareRun(its, now.run.Id); err != nil {
				return fmt.Errorf("share run %s of study %s: %w", now.run.Id, its.study, err)
			}
		}
	}
	return nil
}

// familyOf returns a study's relatives, nil if it has none.
func (c *change) familyOf(study string) (*relatives, error) {
	its, looked := c.family[study]
	if looked {
		return its, nil
	}
	its, err := c.relativesOf(study)
	c.family[study] = its
	return its, err
}

// concernsTwins says whether a change of a run is one that its twins may learn from, or by which it may learn from them.
func concernsTwins(before, after *member) bool {
	if before == after {
		return false
	}
	return before == nil || before.losses != after.losses || len(before.run.Milestones) != len(after.run.Milestones) ||
		before.run.State != after.run.State && after.run.State != lifecycle.RunLeased ||
		!slices.Equal(before.run.Checkpoints, after.run.Checkpoints)
}

// twins returns the runs of an id in a family of studies, those of the oldest study first.
func (c *change) twins(its *relatives, id string) ([]twin, error) {
	var twins []twin
	for _, relative := range its.family {
		catalog, err := c.sections.catalog(relative.study)
		if err != nil {
			return nil, err
		}
		place, ok := catalog.places[id]
		if !ok {
			continue
		}
		run, err := c.sections.at(catalog, place)
		if err != nil {
			return nil, err
		}
		twins = append(twins, twin{run, relative})
	}
	return twins, nil
}

// shareRun brings the runs of an id that are to take over to what all of them together know.
func (c *change) shareRun(its *relatives, id string) error {
	twins, err := c.twins(its, id)
	if err != nil || len(twins) < 2 {
		return err
	}
	for _, to := range twins {
		if !to.takes() {
			continue
		}
		for _, from := range sources(twins) {
			if from.study == to.study {
				continue
			}
			if err := c.takeOver(to.handle, from.member()); err != nil {
				return err
			}
			if !to.takes() {
				break
			}
		}
	}
	return nil
}

// sources are twins in the order in which they are to be asked: those that know most first, among these the ones that were
// trained rather than have taken over themselves, and then the oldest.
func sources(twins []twin) []twin {
	sorted := slices.Clone(twins)
	slices.SortStableFunc(sorted, func(a, b twin) int {
		return cmp.Or(cmp.Compare(b.run().Epochs, a.run().Epochs), cmp.Compare(a.run().SharedEpochs, b.run().SharedEpochs))
	})
	return sorted
}

// takeOver gives a PENDING run what is known of its twin beyond it, up to the run's own end: epochs, checkpoints, and the end.
// Twins that contradict each other, which only faulty machines can bring about, share nothing.
func (c *change) takeOver(to handle, from *member) error {
	run := to.run()
	known := min(from.run.Epochs, run.Parameters.GetMaxEpochs())
	if known <= run.Epochs && !hasCheckpointFor(from.run, run) {
		if _, ended := endFrom(from.run, run); !ended {
			return nil
		}
	}
	if !sameBeginning(to.member().losses, from.losses) {
		return nil
	}
	edited := to.edit()
	if known > edited.run.Epochs {
		if err := c.takeEpochs(edited, from, known); err != nil {
			return err
		}
	}
	takeCheckpoints(edited.run, from.run)
	reason, ended := endFrom(from.run, edited.run)
	if !ended {
		return nil
	}
	edited.run.State, edited.run.StopReason = lifecycle.Run.Must(edited.run.State, lifecycle.Learn), reason
	return c.answerRest(edited)
}

// sameBeginning says whether losses agree as far as both go. Those that have been taken over share their arrays, so that as a
// rule nothing has to be compared.
func sameBeginning(a, b *trellisv1.Losses) bool {
	same := func(a, b []float64) bool {
		n := min(len(a), len(b))
		return n == 0 || &a[0] == &b[0] || slices.EqualFunc(a[:n], b[:n], sameBits)
	}
	if !same(a.GetTrainLoss(), b.GetTrainLoss()) || !same(a.GetValidationLoss(), b.GetValidationLoss()) {
		return false
	}
	if a == nil || b == nil {
		return true
	}
	for name, series := range a.Metrics {
		if !same(series.Values, b.Metrics[name].GetValues()) {
			return false
		}
	}
	return sameKeys(a.Metrics, b.Metrics)
}

// takeEpochs takes a run on to an epoch that its twin knows, and notes where that came from.
func (c *change) takeEpochs(edited, from *member, known uint32) error {
	run, first := edited.run, edited.run.Epochs+1
	train, validation := from.losses.TrainLoss, from.losses.ValidationLoss
	// The arrays are shared without the room behind them, which only the run that they grow with may fill: see appendLosses.
	taken := &trellisv1.Losses{
		Study: run.Study, Run: run.Id, TrainLoss: train[:known:known], ValidationLoss: validation[:known:known],
		Metrics: metricsUpTo(from.losses.Metrics, known), Seconds: edited.losses.GetSeconds(),
	}
	takeTests(taken, edited, from.losses)
	edited.losses = taken
	err := c.advance(edited, &trellisv1.Reports{
		FirstEpoch: first, TrainLoss: train[run.Epochs:known], ValidationLoss: validation[run.Epochs:known],
	}, 0)
	epochs := known + 1 - first
	run.SharedEpochs += epochs
	run.SharedSeconds += (from.run.TrainingSeconds + from.run.SharedSeconds) * float64(epochs) / float64(from.run.Epochs)
	run.SharedFrom = from.run.Study
	return err
}

// takeTests gives the losses that a run takes over from its twin the results on the test images: its own and its twin's, and at
// its own milestones also those that follow from them.
func takeTests(taken *trellisv1.Losses, edited *member, from *trellisv1.Losses) {
	first, known := edited.run.Epochs+1, uint32(len(taken.ValidationLoss))
	taken.TestLoss, taken.TestMetrics = edited.losses.GetTestLoss(), edited.losses.GetTestMetrics()
	tests := testResults{Losses: taken}
	if first == 1 && int(known) == len(from.ValidationLoss) {
		taken.TestLoss, taken.TestMetrics = from.TestLoss, from.TestMetrics
	} else {
		for epoch, loss := range from.TestLoss {
			if first <= epoch && epoch <= known {
				tests.add(epoch, loss, from.TestMetrics[epoch])
			}
		}
	}
	for _, milestone := range edited.run.Milestones {
		if _, has := taken.TestLoss[milestone]; has || milestone < first || milestone > known {
			continue
		}
		if at, follows := testedAt(from, milestone); follows {
			tests.add(milestone, from.TestLoss[at], from.TestMetrics[at])
		}
	}
}

// testedAt is an epoch of which results on the test images were reported that are those of the given one too, since both have
// the same best weights.
func testedAt(losses *trellisv1.Losses, epoch uint32) (at uint32, follows bool) {
	best, bestEpoch := math.Inf(1), uint32(1)
	for i, loss := range losses.ValidationLoss[:epoch] {
		if loss < best && !math.IsInf(loss, 0) {
			best, bestEpoch = loss, uint32(i+1)
		}
	}
	for at = bestEpoch; int(at) <= len(losses.ValidationLoss); at++ {
		if validation := losses.ValidationLoss[at-1]; validation < best && !math.IsInf(validation, 0) {
			break
		}
		if _, reported := losses.TestLoss[at]; reported {
			return at, true
		}
	}
	return 0, false
}

// hasCheckpointFor says whether a twin has a checkpoint of the run's epochs that the run would keep and does not have.
func hasCheckpointFor(from, run *trellisv1.Run) bool {
	return slices.ContainsFunc(from.Checkpoints, func(checkpoint *trellisv1.Checkpoint) bool { return wanted(run, checkpoint) })
}

// wanted says whether a run would keep a checkpoint that it does not have.
func wanted(run *trellisv1.Run, checkpoint *trellisv1.Checkpoint) bool {
	if checkpoint.Epoch > run.Epochs {
		return false
	}
	if _, has := placeOfCheckpoint(run.Checkpoints, checkpoint.Epoch); has {
		return false
	}
	return checkpoint.Epoch > LastCheckpoint(run).GetEpoch() || slices.Contains(run.Milestones, checkpoint.Epoch)
}

// takeCheckpoints gives a run those of its twin's checkpoints that it would keep.
func takeCheckpoints(run, from *trellisv1.Run) {
	for _, checkpoint := range from.Checkpoints {
		if wanted(run, checkpoint) {
			run.Checkpoints = keepCheckpoint(run, checkpoint)
		}
	}
}

// endFrom returns why a run has ended, if that is known from its twin: it has come to its own end, which the twin has passed,
// or to that of the twin, which ended by itself or at the same maximum of epochs.
func endFrom(from, run *trellisv1.Run) (reason trellisv1.StopReason, ended bool) {
	maxEpochs := trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	last := run.Epochs == run.Parameters.GetMaxEpochs()
	switch {
	case last && from.Epochs > run.Epochs:
		return maxEpochs, true
	case from.State == lifecycle.RunSucceeded && from.Epochs == run.Epochs && (last || from.StopReason != maxEpochs):
		return from.StopReason, true
	default:
		return 0, false
	}
}
