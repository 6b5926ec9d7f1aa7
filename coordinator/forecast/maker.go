package coordinator

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

const (
	// forecastLife is how long a forecast is good for, at least.
	forecastLife = 2 * time.Second
	// forecastShare is how many times longer forecasts are good for than it took to make them, so that all forecasts together
	// take a core at most a twentieth of its time.
	forecastShare = 20
	// listPatience is how much time one list of studies spends on forecasts. Beyond it, studies have those that were made before.
	listPatience = 200 * time.Millisecond
	// likeStudies is of how many studies of the same model and data something is learned: the latest.
	likeStudies = 8
	// aheadStudies is of how many older studies it is forecast what they leave to do. Of others it is what they have at most.
	aheadStudies = 8
)

// forecasts makes forecasts of studies, and keeps them for a while.
type forecasts struct {
	logger *slog.Logger
	// making is held while a forecast is made: one at a time, so that they leave room for others.
	making sync.Mutex

	mu sync.Mutex
	// made are the forecasts, by the studies' create_index.
	made map[uint64]*madeForecast
}

// madeForecast is a forecast, and when and of what it was made.
type madeForecast struct {
	outlook forecast.Outlook
	at      time.Time
	took    time.Duration
	state   trellisv1.StudyState
	runs    uint64
}

func newForecasts(logger *slog.Logger) *forecasts {
	return &forecasts{logger: logger, made: map[uint64]*madeForecast{}}
}

// on returns the study with what is to come of it, which is unset once it has ended. The study itself stays as it is.
func (f *forecasts) on(snapshot *results.Snapshot, study *trellisv1.Study) *trellisv1.Study {
	if study == nil || ended(study) {
		return study
	}
	outlook, ok := f.of(snapshot, study)
	if !ok {
		return study
	}
	// The parts are shared with the stored study, which nobody changes.
	with := &trellisv1.Study{}
	study.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		with.ProtoReflect().Set(field, value)
		return true
	})
	with.Forecast = outlook.Forecast
	return with
}

// onAll puts the running studies of a list, with what is to come of them, in their own place.
func (f *forecasts) onAll(snapshot *results.Snapshot, studies []*trellisv1.Study) {
	began := time.Now()
	for i, study := range studies {
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			continue
		}
		if _, known := f.latest(study); !known && time.Since(began) > listPatience {
			continue
		}
		studies[i] = f.on(snapshot, study)
	}
}

// of returns a study's forecast. While it is made for somebody else, the one before will do.
func (f *forecasts) of(snapshot *results.Snapshot, study *trellisv1.Study) (forecast.Outlook, bool) {
	latest, known := f.latest(study)
	if known && f.good(latest, study) {
		return latest.outlook, true
	}
	if !f.making.TryLock() {
		if known {
			return latest.outlook, true
		}
		f.making.Lock()
	}
	defer f.making.Unlock()
	return f.renew(snapshot, study)
}

// latest returns the last forecast of a study.
func (f *forecasts) latest(study *trellisv1.Study) (*madeForecast, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	made, known := f.made[study.GetCreateIndex()]
	return made, known
}

// good says whether a forecast will still do.
func (f *forecasts) good(made *madeForecast, study *trellisv1.Study) bool {
	if made.state != study.GetState() || made.runs != study.GetProgress().GetRuns() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var all time.Duration
	for _, each := range f.made {
		all += each.took
	}
	return time.Since(made.at) < max(forecastLife, forecastShare*all)
}

// renew makes a study's forecast, unless there is one that will do. The caller holds making.
func (f *forecasts) renew(snapshot *results.Snapshot, study *trellisv1.Study) (forecast.Outlook, bool) {
	if latest, known := f.latest(study); known && f.good(latest, study) {
		return latest.outlook, true
	}
	began := time.Now()
	tally, err := tallyOf(snapshot, study)
	if err == nil {
		var in forecast.Input
		if in, err = f.input(snapshot, study, tally); err == nil {
			outlook := forecast.Make(in)
			f.keep(study, &madeForecast{
				outlook: outlook, at: time.Now(), took: time.Since(began), state: study.GetState(), runs: study.GetProgress().GetRuns(),
			})
			return outlook, true
		}
	}
	f.logger.Error("forecast a study", "study", study.GetName(), "error", err)
	return forecast.Outlook{}, false
}

// keep remembers a forecast, and forgets those that nobody has asked for for long.
func (f *forecasts) keep(study *trellisv1.Study, made *madeForecast) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for index, old := range f.made {
		if made.at.Sub(old.at) > time.Minute+2*forecastShare*old.took {
			delete(f.made, index)
		}
	}
	f.made[study.GetCreateIndex()] = made
}

func tallyOf(snapshot *results.Snapshot, study *trellisv1.Study) (*forecast.Tally, error) {
	trajectories, err := snapshot.Trajectories(study.GetName())
	if err != nil {
		return nil, err
	}
	tally := forecast.NewTally(study.GetSpec())
	for run, losses := range trajectories {
		tally.Add(run, losses)
	}
	return tally, nil
}

// input collects what a forecast of a study depends on, besides its own runs. The study need not have been created.
func (f *forecasts) input(snapshot *results.Snapshot, study *trellisv1.Study, tally *forecast.Tally) (forecast.Input, error) {
	in := forecast.Input{Study: tally}
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return in, err
	}
	for _, like := range latestLike(studies, study) {
		other, err := tallyOf(snapshot, like)
		if err != nil {
			return in, err
		}
		in.Others = append(in.Others, other)
	}
	in.Ahead = f.ahead(snapshot, studies, study)
	return in, f.slots(snapshot, studies, study, &in)
}

// latestLike returns the studies of the same model and data that have something to tell, the latest first.
func latestLike(studies []*trellisv1.Study, study *trellisv1.Study) (like []*trellisv1.Study) {
	for _, other := range studies {
		if other.GetName() != study.GetName() && other.GetProgress().GetTrainingSeconds() > 0 &&
			other.GetSpec().GetModel() == study.GetSpec().GetModel() &&
			other.GetDataSet().GetDigest() == study.GetDataSet().GetDigest() {
			like = append(like, other)
		}
	}
	slices.SortFunc(like, func(a, b *trellisv1.Study) int { return cmp.Compare(b.GetModifyIndex(), a.GetModifyIndex()) })
	return like[:min(len(like), likeStudies)]
}

// ahead is what running studies that are older have in the queue. The oldest are forecast first, so that this does not go in
// circles.
func (f *forecasts) ahead(snapshot *results.Snapshot, studies []*trellisv1.Study, study *trellisv1.Study) (ahead []*trellisv1.Estimate) {
	for _, older := range studies {
		if older.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING ||
			study.GetCreateIndex() > 0 && older.GetCreateIndex() >= study.GetCreateIndex() {
			continue
		}
		if len(ahead) < aheadStudies {
			if outlook, ok := f.renew(snapshot, older); ok {
				ahead = append(ahead, outlook.Queue)
				continue
			}
		}
		seconds := float64(older.GetProgress().GetEpochsLeft()) * secondsPerEpoch(older)
		ahead = append(ahead, &trellisv1.Estimate{Expected: seconds, Low: 0, High: seconds})
	}
	return ahead
}

// slots notes the slots of the workers that take runs, and what those are held by that belong to other studies.
func (f *forecasts) slots(snapshot *results.Snapshot, studies []*trellisv1.Study, study *trellisv1.Study, in *forecast.Input) error {
	paces := map[string]float64{}
	for _, other := range studies {
		paces[other.GetName()] = secondsPerEpoch(other)
	}
	workers, err := snapshot.Workers(nil)
	if err != nil {
		return err
	}
	for _, worker := range workers {
		if worker.GetState() != trellisv1.WorkerState_WORKER_STATE_READY {
			continue
		}
		in.Workers = append(in.Workers, forecast.Worker{Name: worker.GetName(), Slots: int(worker.GetSlots())})
		runs, err := snapshot.RunsHeldBy(nil, worker.GetName())
		if err != nil {
			return err
		}
		for _, run := range runs {
			if run.GetStudy() == study.GetName() && study.GetCreateIndex() > 0 {
				continue
			}
			epochs := float64(run.GetParameters().GetMaxEpochs() - run.GetAttemptEpochs())
			in.Held = append(in.Held, forecast.Held{Worker: worker.GetName(), Seconds: epochs * paces[run.GetStudy()]})
		}
	}
	return nil
}

// secondsPerEpoch is what an epoch of a study has taken on average, or is to take by its spec, 0 if neither is known.
func secondsPerEpoch(study *trellisv1.Study) float64 {
	progress := study.GetProgress()
	trained := progress.GetEpochs() - min(progress.GetEpochs(), progress.GetEpochsShared())
	if trained == 0 || progress.GetTrainingSeconds() == 0 {
		return study.GetSpec().GetSynthetic().GetEpochTime().AsDuration().Seconds()
	}
	return progress.GetTrainingSeconds() / float64(trained)
}
