package forecast

import (
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// basis returns what a forecast is based on.
func (in Input) basis(pace *pace) *trellisv1.ForecastBasis {
	own := in.Study.counts
	basis := &trellisv1.ForecastBasis{
		Epochs:    own.epochs,
		RunsEnded: uint64(own.ended), RunsStopped: uint64(own.stopped), RunsDiverged: uint64(own.diverged),
		RunsBegun:   uint64(len(in.Study.open)),
		AfterOthers: ahead(in.Ahead) > 0, Unsuited: in.Unsuited,
	}
	for _, other := range in.Others {
		if other == in.Itself {
			basis.Epochs += other.counts.epochs
			continue
		}
		basis.OtherStudies++
		basis.OtherEpochs += other.counts.epochs
	}
	basis.EpochTime = basis.Epochs == 0 && basis.OtherEpochs == 0 && pace.known()
	if in.Study.spec.GetEarlyStopping() != nil {
		basis.OtherRuns = uint64(len(in.trajectories()) - len(in.Study.open) - len(in.Study.finished))
	}
	return basis
}

// mayPrune lowers the lower ends of a forecast to the work that remains if a heuristic prunes as much as it can: each
// run continues to the first epoch at which it is judged.
func (t *Tally) mayPrune(f *trellisv1.Forecast) {
	first := int(pruning.First(t.spec.GetPruning()))
	if first == 0 || f.Epochs.Low == 0 {
		return
	}
	least := 0.0
	count := func(number, runs int) {
		class := &t.classes.list[number]
		least += float64(runs * max(0, min(first, class.maxEpochs)-class.from))
	}
	for _, held := range t.held {
		count(int(held.class), 1)
	}
	for number, runs := range t.queue.bulk {
		count(number, runs)
	}
	for _, number := range t.queue.last {
		count(int(number), 1)
	}
	share := min(1, least/f.Epochs.Low)
	f.Epochs.Low *= share
	if f.Seconds != nil {
		f.Seconds.Low *= share
	}
}
