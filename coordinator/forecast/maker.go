package forecast

import (
	"context"
	"log/slog"
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
)

const (
	// Life is the minimum time for which a forecast is reused.
	Life = 2 * time.Second
	// share says that a forecast is reused for this many times as long as it took to make, and those of a list for as
	// many times as long as all of them took, so that either takes at most a twentieth of a core's time.
	share = 20
	// oldest is how old the forecasts that lists show may be. They are renewed at half of this at the latest, even if
	// they take more of a core's time then, so that there are others in time.
	oldest = 10 * time.Minute
	// outdated is how old a forecast must be at least so that a list of studies waits for another.
	outdated = 10 * time.Second
	// listPatience is how long one list of studies waits for forecasts. After that, the remaining studies get earlier
	// forecasts, or none.
	listPatience = 20 * time.Millisecond
	// renewingTime is how long one list of studies has forecasts made after it, and renewingRest how many times as long as
	// each took nothing is made after it, so that other calls and the log are hardly slower.
	renewingTime = 2 * time.Second
	renewingRest = 4
	// renewPatience is how long a new forecast is waited for if there is an earlier one.
	renewPatience = 20 * time.Millisecond
)

// Maker makes forecasts of studies, and caches them for a while.
type Maker struct {
	logger *slog.Logger
	// waits says whether a study's runs wait for something without which none of them begins, as far as is known.
	waits func(study string) bool
	// making has an element while a forecast is made: one at a time, so that forecasts leave the other cores free.
	making chan struct{}
	// listed has an element while the forecasts of a list are made.
	listed chan struct{}

	mu sync.Mutex
	// made are the forecasts, by the studies' create_index, and learned what other studies say.
	made    map[uint64]*made
	learned map[uint64]*learned
	// forgot is when those of other studies than are there were last dropped.
	forgot time.Time
	// due is how many forecasts the list before still lacks, and complete is closed once it has them.
	due      int
	complete <-chan struct{}
}

// made is a forecast, with the time at which it was made and the version of the study that it is for.
type made struct {
	study   string
	outlook Outlook
	at      time.Time
	took    time.Duration
	state   trellisv1.StudyState
	runs    uint64
}

// NewMaker returns a maker without forecasts. Work of studies that wait, as waits says, is put before nobody's.
func NewMaker(logger *slog.Logger, waits func(study string) bool) *Maker {
	return &Maker{
		logger: logger, waits: waits, making: make(chan struct{}, 1), listed: make(chan struct{}, 1), made: map[uint64]*made{},
		learned: map[uint64]*learned{},
	}
}

// On returns a copy of the study with its forecast, which is unset once the study has ended. It does not change the
// study itself.
func (m *Maker) On(snapshot *results.Snapshot, study *trellisv1.Study) *trellisv1.Study {
	if study == nil || lifecycle.StudyEnded(study.GetState()) {
		return study
	}
	outlook, ok := m.of(snapshot, study)
	if !ok {
		return study
	}
	return with(study, outlook)
}

// with returns a copy of the study with a forecast. It shares its parts with the stored study, which nobody changes.
func with(study *trellisv1.Study, outlook Outlook) *trellisv1.Study {
	copied := results.CopyStudy(study)
	copied.Forecast = outlook.Forecast
	return copied
}

// OnAll replaces the running studies of a list with copies that have their forecasts. Those that can't be used any more are
// made anew after the list, which waits only for those that it lacks, and not long. It doesn't wait if they are so many that
// they would not be made in time.
func (m *Maker) OnAll(snapshot *results.Snapshot, studies []*trellisv1.Study) {
	m.forget(snapshot)
	life := m.life()
	var missing, old []*trellisv1.Study
	for _, study := range studies {
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			continue
		}
		latest, known := m.latest(study)
		switch {
		case !known || !latest.fits(study) || time.Since(latest.at) >= max(outdated, 2*life):
			missing = append(missing, study)
		case time.Since(latest.at) >= life:
			old = append(old, study)
		}
	}
	if len(missing)+len(old) > 0 {
		hopeful := m.inTime(len(missing))
		made := m.renewAll(snapshot.Within(context.Background()), missing, old)
		if hopeful && made != nil {
			patience := time.NewTimer(listPatience)
			defer patience.Stop()
			select {
			case <-made:
			case <-patience.C:
			case <-snapshot.Done():
			}
		}
	}
	for i, study := range studies {
		if latest, known := m.latest(study); known && latest.fits(study) &&
			study.GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING {
			studies[i] = with(study, latest.outlook)
		}
	}
}

// inTime says whether so many forecasts of a list may be made in the time for which it waits, as far as those before tell.
func (m *Maker) inTime(missing int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	took, count := m.running()
	usual := took / time.Duration(max(1, count))
	return time.Duration(m.due+missing)*usual <= listPatience
}

// running returns how many forecasts there are of running studies, which lists show, and how long it took to make them.
// The caller holds mu.
func (m *Maker) running() (took time.Duration, count int) {
	for _, one := range m.made {
		if one.state == trellisv1.StudyState_STUDY_STATE_RUNNING {
			took += one.took
			count++
		}
	}
	return took, count
}

// renewAll makes the forecasts of a list of studies in the background, unless those of another list are being made. What
// it returns is closed once there are those that were missing, of this list or of the other. It is nil if none of them is
// being made: the other list lacks none, and only renews its own.
func (m *Maker) renewAll(snapshot *results.Snapshot, missing, old []*trellisv1.Study) <-chan struct{} {
	made := make(chan struct{})
	if len(missing) == 0 {
		close(made)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case m.listed <- struct{}{}:
		m.due, m.complete = len(missing), made
	default:
		if m.due == 0 {
			return nil
		}
		return m.complete
	}
	go func() {
		defer func() { <-m.listed }()
		defer m.setDue(0)
		began := time.Now()
		for i, study := range append(missing, old...) {
			if time.Since(began) > renewingTime {
				return
			}
			m.setDue(max(0, len(missing)-i))
			m.making <- struct{}{}
			before := time.Now()
			m.renew(snapshot, study)
			<-m.making
			if i == len(missing)-1 {
				close(made)
			}
			if i >= len(missing) || time.Since(began) > listPatience { // Nobody waits for it: others come first.
				time.Sleep(renewingRest * time.Since(before))
			}
		}
	}()
	return made
}

// setDue says how many forecasts the last list lacks.
func (m *Maker) setDue(due int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.due = due
}

// of returns a study's forecast. While another one is being made, or if that takes long, it returns the previous one,
// unless that was of other runs or of another state: then it waits.
func (m *Maker) of(snapshot *results.Snapshot, study *trellisv1.Study) (Outlook, bool) {
	latest, known := m.latest(study)
	if known && latest.good(study) {
		return latest.outlook, true
	}
	usable := known && latest.fits(study)
	select {
	case m.making <- struct{}{}:
	default:
		if usable {
			return latest.outlook, true
		}
		if m.begin(snapshot) != nil {
			return Outlook{}, false
		}
	}
	if !usable {
		defer func() { <-m.making }()
		return m.renew(snapshot, study)
	}
	renewed := make(chan Outlook, 1)
	// It ends by itself, and nobody else makes a forecast before it does.
	go func() {
		defer func() { <-m.making }()
		if outlook, ok := m.renew(snapshot.Within(context.Background()), study); ok {
			renewed <- outlook
		}
	}()
	patience := time.NewTimer(renewPatience)
	defer patience.Stop()
	select {
	case outlook := <-renewed:
		return outlook, true
	case <-patience.C:
	case <-snapshot.Done():
	}
	return latest.outlook, true
}

// begin waits until no other forecast is made, or nobody waits for this one any more.
func (m *Maker) begin(snapshot *results.Snapshot) error {
	select {
	case m.making <- struct{}{}:
		return nil
	case <-snapshot.Done():
		return snapshot.Err()
	}
}

// latest returns the last forecast of a study.
func (m *Maker) latest(study *trellisv1.Study) (*made, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	latest, known := m.made[study.GetCreateIndex()]
	return latest, known
}

// fits says whether a forecast is of the same runs, in the same state.
func (old *made) fits(study *trellisv1.Study) bool {
	return old.state == study.GetState() && old.runs == study.GetProgress().GetRuns()
}

// good says whether a forecast can still be used for its study alone, whatever those of other studies took.
func (old *made) good(study *trellisv1.Study) bool {
	return old.fits(study) && time.Since(old.at) < max(Life, share*old.took)
}

// life is for how long the forecasts of a list are reused.
func (m *Maker) life() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	took, _ := m.running()
	return min(max(Life, share*took), oldest/2)
}

// forget drops the forecasts of studies that have been deleted or are in another state by now, since what they took says
// how long those of others are reused, and those that are too old to be shown. It looks once in Life at most.
func (m *Maker) forget(snapshot *results.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.forgot) < Life {
		return
	}
	m.forgot = now
	for index, one := range m.made {
		study, err := snapshot.Study(nil, one.study)
		if err != nil || study.GetCreateIndex() != index || study.GetState() != one.state || now.Sub(one.at) > oldest {
			delete(m.made, index)
		}
	}
}

// renew makes a study's forecast, unless there is one that can still be used. The caller holds making.
func (m *Maker) renew(snapshot *results.Snapshot, study *trellisv1.Study) (Outlook, bool) {
	if latest, known := m.latest(study); known && latest.good(study) {
		return latest.outlook, true
	}
	m.forget(snapshot)
	began := time.Now()
	tally, err := studyTally(snapshot, study)
	if err == nil {
		var in Input
		if in, err = m.input(snapshot, study, tally); err == nil {
			outlook := Make(in)
			if snapshot.Err() != nil { // What it is made from may be incomplete, and nobody waits for it any more.
				return Outlook{}, false
			}
			m.keep(study, &made{
				study: study.GetName(), outlook: outlook, at: time.Now(), took: time.Since(began),
				state: study.GetState(), runs: study.GetProgress().GetRuns(),
			})
			return outlook, true
		}
	}
	if snapshot.Err() != nil { // Nobody waits for it any more.
		return Outlook{}, false
	}
	m.logger.Error("forecast a study", "study", study.GetName(), "error", err)
	return Outlook{}, false
}

// keep caches a forecast, and drops those that have not been requested for long: not before the others can't be used any more
// either, or else a long list would never have all.
func (m *Maker) keep(study *trellisv1.Study, made *made) {
	m.mu.Lock()
	defer m.mu.Unlock()
	took, _ := m.running()
	kept := min(time.Minute+2*share*took, oldest)
	m.made[study.GetCreateIndex()] = made
	for index, old := range m.made {
		if made.at.Sub(old.at) > kept {
			delete(m.made, index)
		}
	}
}

// For forecasts a study that need not exist. The tally describes its runs.
func (m *Maker) For(snapshot *results.Snapshot, study *trellisv1.Study, tally *Tally) (*trellisv1.Forecast, error) {
	if err := m.begin(snapshot); err != nil {
		return nil, err
	}
	defer func() { <-m.making }()
	in, err := m.input(snapshot, study, tally)
	if err != nil {
		return nil, err
	}
	return Make(in).Forecast, nil
}
