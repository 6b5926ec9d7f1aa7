package results

import (
	"testing"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestWatch: what a loop waits for wakes it up.
func TestWatch(t *testing.T) {
	nextRun := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.NextRuns(ws, 1)
		return err
	}
	held := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.RunsHeldBy(ws, "w")
		return err
	}
	free := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.FreeWorkers(ws)
		return err
	}
	workers := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.Workers(ws)
		return err
	}
	study := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.Study(ws, "s")
		return err
	}
	best := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.Best(ws, "s")
		return err
	}
	run := func(s *Snapshot, ws memdb.WatchSet) error {
		_, err := s.Run(ws, "s", "failed")
		return err
	}
	noRun := func(s *Snapshot, ws memdb.WatchSet) error {
		if _, err := s.Run(ws, "new", "a"); !isNotFound(err) {
			return err
		}
		return nil
	}
	create := func(t *testing.T, store *Store) {
		run, trials := testRun("a", 16, 0, 2)
		ok(t, store.CreateListed(30, at(30), &trellisv1.Study{Name: "new"}, []*trellisv1.Run{run}, trials))
	}
	grantPending := func(t *testing.T, store *Store) { grant1(t, store, 31, "s", "pending", "w") }
	report := func(t *testing.T, store *Store) {
		record(t, store, 32, reportEntry("s", "running", AttemptNumber(6, 0), 2, 1, 1, nil))
	}
	giveBack := func(t *testing.T, store *Store) {
		record(t, store, 33, returnEntry("s", "running", AttemptNumber(6, 0)))
	}
	pauseStudy := func(t *testing.T, store *Store) {
		ok(t,
			store.SetStudyState(34, at(34), "s", lifecycle.StudyPaused))
	}
	resumeStudy := func(t *testing.T, store *Store) {
		ok(t,
			store.SetStudyState(35, at(35), "s", lifecycle.StudyRunning))
	}
	register := func(t *testing.T, store *Store) {
		ok(t, store.SetWorker(36, at(36), trajectory.LatestRules,
			&trellisv1.Worker{Name: "v", State: lifecycle.WorkerReady, Slots: 1}))
	}
	loseWorker := func(t *testing.T, store *Store) {
		ok(t, store.SetWorker(37, at(37), trajectory.LatestRules,
			&trellisv1.Worker{Name: "w", State: lifecycle.WorkerLost}))
	}
	for _, test := range []struct {
		name   string
		before []func(*testing.T, *Store)
		query  func(*Snapshot, memdb.WatchSet) error
		then   func(*testing.T, *Store)
		fires  bool
	}{
		{"a new study has a next run", []func(*testing.T, *Store){grantPending}, nextRun, create, true},
		{"a run that is given back is the next", []func(*testing.T, *Store){grantPending}, nextRun, giveBack, true},
		{"a resumed study has a next run", []func(*testing.T, *Store){pauseStudy}, nextRun, resumeStudy, true},
		{"the next run is granted", nil, nextRun, grantPending, true},
		{"a lost worker's run is the next", []func(*testing.T, *Store){grantPending}, nextRun, loseWorker, true},
		{"a registration is no next run", nil, nextRun, register, false},
		{"a grant concerns the worker's runs", nil, held, grantPending, true},
		{"a pause takes the worker's runs", nil, held, pauseStudy, true},
		{"a new study takes nothing from a worker", nil, held, create, false},
		{"a new worker", nil, workers, register, true},
		{"a new worker is free", nil, free, register, true},
		{"a slot that was free is taken", nil, free, grantPending, true},
		{"a slot gets free for a run", nil, free, giveBack, true},
		{"a lost worker is not free", nil, free, loseWorker, true},
		{"a report frees nothing", nil, free, report, false},
		{"a slot is taken", nil, workers, grantPending, true},
		{"a slot gets free", nil, workers, giveBack, true},
		{"a report changes the study", nil, study, report, true},
		{"a pause changes the study", nil, study, pauseStudy, true},
		{"a registration does not", nil, study, register, false},
		{"an answer changes the best", nil, best, report, true},
		{"a new study does not change a run", nil, run, create, false},
		{"a report takes nothing from a worker", nil, held, report, false},
		{"a run that was not there", nil, noRun, create, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newListStore(t)
			for _, change := range test.before {
				change(t, store)
			}
			ws := memdb.NewWatchSet()
			ok(t, test.query(store.Snapshot(), ws))
			test.then(t, store)
			fired := false
			for channel := range ws {
				select {
				case <-channel:
					fired = true
				default:
				}
			}
			if fired != test.fires {
				t.Errorf("fired: %v, want %v", fired, test.fires)
			}
		})
	}
}
