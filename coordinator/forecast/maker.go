package forecast

import (
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
)

const (
	// Life is how long a forecast is good for, at least.
	Life = 2 * time.Second
	// share is how many times longer forecasts are good for than it took to make them, so that all forecasts together
	// take a core at most a twentieth of its time.
	share = 20
	// listPatience is how much time one list of studies spends on forecasts. Beyond it, studies have those that were
	// made before.
	listPatience = 200 * time.Millisecond
)

// Maker makes forecasts of studies, and keeps them for a while.
type Maker struct {
	logger *slog.Logger
	// making is held while a forecast is made: one at a time, so that they leave room for others.
	making sync.Mutex

	mu sync.Mutex
	// made are the forecasts, by the studies' create_index.
	made map[uint64]*made
}

// made is a forecast, and when and of what it was made.
type made struct {
	outlook Outlook
	at      time.Time
	took    time.Duration
	state   trellisv1.StudyState
	runs    uint64
}

// NewMaker returns a maker that has made none yet.
func NewMaker(logger *slog.Logger) *Maker {
	return &Maker{logger: logger, made: map[uint64]*made{}}
}

// On returns the study with what is to come of it, which is unset once it has ended. The study itself stays as it is.
func (m *Maker) On(snapshot *results.Snapshot, study *trellisv1.Study) *trellisv1.Study {
	if study == nil || lifecycle.StudyEnded(study.GetState()) {
		return study
	}
	outlook, ok := m.of(snapshot, study)
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

// OnAll puts the running studies of a list, with what is to come of them, in their own place.
func (m *Maker) OnAll(snapshot *results.Snapshot, studies []*trellisv1.Study) {
	began := time.Now()
	for i, study := range studies {
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			continue
		}
		if _, known := m.latest(study); !known && time.Since(began) > listPatience {
			continue
		}
		studies[i] = m.On(snapshot, study)
	}
}

// of returns a study's forecast. While it is made for somebody else, the one before will do.
func (m *Maker) of(snapshot *results.Snapshot, study *trellisv1.Study) (Outlook, bool) {
	latest, known := m.latest(study)
	if known && m.good(latest, study) {
		return latest.outlook, true
	}
	if !m.making.TryLock() {
		if known {
			return latest.outlook, true
		}
		m.making.Lock()
	}
	defer m.making.Unlock()
	return m.renew(snapshot, study)
}

// latest returns the last forecast of a study.
func (m *Maker) latest(study *trellisv1.Study) (*made, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	latest, known := m.made[study.GetCreateIndex()]
	return latest, known
}

// good says whether a forecast will still do.
func (m *Maker) good(old *made, study *trellisv1.Study) bool {
	if old.state != study.GetState() || old.runs != study.GetProgress().GetRuns() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all time.Duration
	for _, each := range m.made {
		all += each.took
	}
	return time.Since(old.at) < max(Life, share*all)
}

// renew makes a study's forecast, unless there is one that will do. The caller holds making.
func (m *Maker) renew(snapshot *results.Snapshot, study *trellisv1.Study) (Outlook, bool) {
	if latest, known := m.latest(study); known && m.good(latest, study) {
		return latest.outlook, true
	}
	began := time.Now()
	tally, err := studyTally(snapshot, study)
	if err == nil {
		var in Input
		if in, err = m.input(snapshot, study, tally); err == nil {
			outlook := Make(in)
			m.keep(study, &made{
				outlook: outlook, at: time.Now(), took: time.Since(began), state: study.GetState(),
				runs: study.GetProgress().GetRuns(),
			})
			return outlook, true
		}
	}
	m.logger.Error("forecast a study", "study", study.GetName(), "error", err)
	return Outlook{}, false
}

// keep remembers a forecast, and forgets those that nobody has asked for for long.
func (m *Maker) keep(study *trellisv1.Study, made *made) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for index, old := range m.made {
		if made.at.Sub(old.at) > time.Minute+2*share*old.took {
			delete(m.made, index)
		}
	}
	m.made[study.GetCreateIndex()] = made
}

// For forecasts a study that need not have been created, of whose runs the tally tells.
func (m *Maker) For(snapshot *results.Snapshot, study *trellisv1.Study, tally *Tally) (*trellisv1.Forecast, error) {
	m.making.Lock()
	defer m.making.Unlock()
	in, err := m.input(snapshot, study, tally)
	if err != nil {
		return nil, err
	}
	return Make(in).Forecast, nil
}
