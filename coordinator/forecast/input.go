package forecast

import (
	"cmp"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/resources"
)

const (
	// likeStudies is how many studies of the same model and data, the latest ones, are learned from.
	likeStudies = 8
	// aheadStudies is for how many older studies the remaining work is forecast. For other older studies, the maximum
	// is used.
	aheadStudies = 8
	// sampledRuns is how many runs of a larger study are looked at.
	sampledRuns = 1 << 15
)

func studyTally(snapshot *results.Snapshot, study *trellisv1.Study) (*Tally, error) {
	runs, err := snapshot.Sample(study.GetName(), sampledRuns)
	if err != nil {
		return nil, err
	}
	tally := NewTally(study.GetSpec())
	for like := range runs {
		tally.AddLike(like.Run, like.Losses, like.Runs)
	}
	return tally, snapshot.Err()
}

// input collects what a study's forecast depends on besides the study's own runs. The study need not exist.
func (m *Maker) input(snapshot *results.Snapshot, study *trellisv1.Study, tally *Tally) (Input, error) {
	in := Input{Study: tally}
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return in, err
	}
	for _, like := range latestLike(studies, study) {
		other, err := m.learnFrom(snapshot, like)
		if err != nil {
			return in, err
		}
		if in.Others = append(in.Others, other); like.GetName() == study.GetSpec().GetName() {
			in.Itself = other
		}
	}
	ready, err := snapshot.ReadyWorkers()
	if err != nil {
		return in, err
	}
	some := len(ready) > 0
	ready = resources.Serving(study, ready)
	in.Unsuited = some && len(ready) == 0
	in.Ahead = m.ahead(snapshot, studies, study, ready)
	return in, m.slots(snapshot, studies, study, ready, &in)
}

// learned is what another study's runs say, and when it was found.
type learned struct {
	tally   *Tally
	version uint64
	at      time.Time
	took    time.Duration
}

// learnFrom returns what another study's runs say. While they change, it is reused for a while, as forecasts are: reading a large
// study takes longer than anything else.
func (m *Maker) learnFrom(snapshot *results.Snapshot, study *trellisv1.Study) (*Tally, error) {
	m.mu.Lock()
	before := m.learned[study.GetCreateIndex()]
	m.mu.Unlock()
	if before != nil && (before.version == study.GetModifyIndex() || time.Since(before.at) < max(Life, share*before.took)) {
		return before.tally, nil
	}
	began := time.Now()
	tally, err := studyTally(snapshot, study)
	if err != nil {
		return nil, err
	}
	tally.queue, tally.held = queue{}, nil // Nobody asks what remains of it.
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for index, old := range m.learned {
		if now.Sub(old.at) > time.Minute+2*share*old.took {
			delete(m.learned, index)
		}
	}
	m.learned[study.GetCreateIndex()] = &learned{tally, study.GetModifyIndex(), now, now.Sub(began)}
	return tally, nil
}

// latestLike returns the studies of the same model and data that have measurements, latest first: those that have not
// ended, and then the others by when they ended. Deleting their checkpoints changes nothing of that.
func latestLike(studies []*trellisv1.Study, study *trellisv1.Study) (like []*trellisv1.Study) {
	for _, other := range studies {
		if other.GetName() != study.GetName() && other.GetProgress().GetTrainingSeconds() > 0 &&
			other.GetSpec().GetModel() == study.GetSpec().GetModel() &&
			other.GetDataSet().GetDigest() == study.GetDataSet().GetDigest() {
			like = append(like, other)
		}
	}
	slices.SortFunc(like, func(a, b *trellisv1.Study) int {
		if (a.EndTime == nil) != (b.EndTime == nil) {
			if a.EndTime == nil {
				return -1
			}
			return 1
		}
		return cmp.Or(b.GetEndTime().AsTime().Compare(a.GetEndTime().AsTime()), cmp.Compare(b.GetModifyIndex(), a.GetModifyIndex()))
	})
	return like[:min(len(like), likeStudies)]
}

// ahead returns the work that older running studies have in the queue of those workers, if there are any. The oldest are forecast first, so that there is
// no circle. Those that can't be trained now delay nobody.
func (m *Maker) ahead(
	snapshot *results.Snapshot, studies []*trellisv1.Study, study *trellisv1.Study, workers []*trellisv1.Worker,
) (ahead []*trellisv1.Estimate) {
	for _, older := range studies {
		if older.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING ||
			study.GetCreateIndex() > 0 && older.GetCreateIndex() >= study.GetCreateIndex() {
			continue
		}
		if len(workers) > 0 && !slices.ContainsFunc(workers, resources.Of(older).Suits) || m.waits(older.GetName()) {
			continue
		}
		if len(ahead) < aheadStudies {
			if outlook, ok := m.renew(snapshot, older); ok {
				ahead = append(ahead, outlook.Queue)
				continue
			}
		}
		seconds := float64(older.GetProgress().GetEpochsLeft()) * secondsPerEpoch(older)
		ahead = append(ahead, &trellisv1.Estimate{Expected: seconds, Low: 0, High: seconds})
	}
	return ahead
}

// slots collects the slots of workers that accept runs, as many as have room for a run of the study each, and the runs of
// other studies that hold such slots.
func (m *Maker) slots(
	snapshot *results.Snapshot, studies []*trellisv1.Study, study *trellisv1.Study, ready []*trellisv1.Worker, in *Input,
) error {
	paces := map[string]float64{}
	for _, other := range studies {
		paces[other.GetName()] = secondsPerEpoch(other)
	}
	need := resources.Of(study)
	for _, worker := range ready {
		in.Workers = append(in.Workers, Worker{Name: worker.GetName(), Slots: int(need.Slots(worker))})
		runs, err := snapshot.RunsHeldBy(nil, worker.GetName())
		if err != nil {
			return err
		}
		for _, run := range runs {
			if run.GetStudy() == study.GetName() && study.GetCreateIndex() > 0 {
				continue
			}
			epochs := float64(run.GetParameters().GetMaxEpochs() - run.GetAttemptEpochs())
			in.Held = append(in.Held, Held{Worker: worker.GetName(), Seconds: epochs * paces[run.GetStudy()]})
		}
	}
	return nil
}

// secondsPerEpoch returns how long an epoch of a study has taken on average, or how long it takes according to its
// spec, or 0 if neither is known.
func secondsPerEpoch(study *trellisv1.Study) float64 {
	progress := study.GetProgress()
	trained := progress.GetEpochs() - min(progress.GetEpochs(), progress.GetEpochsShared())
	if trained == 0 || progress.GetTrainingSeconds() == 0 {
		return study.GetSpec().GetSynthetic().GetEpochTime().AsDuration().Seconds()
	}
	return progress.GetTrainingSeconds() / float64(trained)
}
