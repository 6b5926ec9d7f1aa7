package results

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/consistency"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

// Restore replaces everything in the store with what WriteTo wrote. It does so atomically: readers see either the old
// state or the new one, and if Restore fails, nothing has changed. All watch sets of snapshots of the old state fire.
// Restore reads to the end of r, and needs no more memory than the rows take. Its errors are ErrCorrupt, ErrNewer, and
// those of r.
func (s *Store) Restore(r io.Reader) error {
	restored, err := restoreTables(snapshotfile.NewReader(r))
	if err != nil {
		return fmt.Errorf("restore the snapshot: %w", err)
	}
	replaced := s.tables.Swap(restored)
	close(replaced.replaced)
	return nil
}

func restoreTables(file *snapshotfile.Reader) (*generation, error) {
	version, err := file.Begin()
	if err != nil {
		return nil, err
	}
	restored, err := newGeneration()
	if err != nil {
		return nil, err
	}
	txn := restored.db.Txn(true)
	defer txn.Abort()
	restorer := newRestorer(txn, version)
	defer restorer.end()
	for {
		table, err := file.Next()
		if err != nil {
			return nil, err
		}
		if table == "" {
			break
		}
		if err := restorer.block(table, file.Rows()); err != nil {
			return nil, fmt.Errorf("block %d: %w", file.Block(), err)
		}
	}
	if err := restorer.finish(); err != nil {
		return nil, err
	}
	txn.Commit()
	return restored, restored.addTimes()
}

// addTimes notes the times of commands that rows have: of those that created studies, of those that ended them, if
// nothing else has happened to them since, and of what principals have changed.
func (g *generation) addTimes() error {
	r, times := reader{txn: g.db.Txn(false)}, map[uint64]time.Time{}
	studies, err := scan[*trellisv1.Study](r, nil, tableStudies, indexID, nil)
	if err != nil {
		return err
	}
	for study := range studies {
		if study.CreateTime != nil {
			times[study.CreateIndex] = study.CreateTime.AsTime()
		}
		if lifecycle.StudyEnded(study.State) && study.EndTime != nil {
			index, err := r.endOf(study)
			if err != nil {
				return err
			}
			times[index] = study.EndTime.AsTime()
		}
	}
	events, err := scan[*trellisv1.Event](r, nil, tableEvents, indexID, nil)
	if err != nil {
		return err
	}
	for event := range events {
		times[event.Index] = event.Time.AsTime()
	}
	g.times.Add(times)
	return nil
}

// endOf returns the index of the command that ended a study, if nothing but a deletion of checkpoints has happened to
// it since. Such a deletion leaves the indices of its runs, the last of which ended with the study.
func (r reader) endOf(study *trellisv1.Study) (uint64, error) {
	deleted := study.CheckpointsDeleteTime
	if deleted == nil || deleted.AsTime().Before(study.EndTime.AsTime()) {
		return study.ModifyIndex, nil
	}
	sections, err := r.sectionsOf(study.Name)
	if err != nil {
		return 0, err
	}
	last := study.CreateIndex
	for section := range sections {
		last = max(last, section.changed)
	}
	return last, nil
}

// restorer puts the rows of a snapshot's blocks into an empty store.
type restorer struct {
	txn *memdb.Txn
	// version is the version of the snapshot's format.
	version uint32
	// content is the index in contents of the last block's table, and key is the key of the last row.
	content int
	key     []byte
	// studies are the studies whose rows have been read, in order.
	studies []*restoredStudy
	byName  map[string]*restoredStudy
	// created has the log indices at which studies were created. leases counts the LEASED runs of each worker.
	created map[uint64]bool
	leases  map[string]int
	// names has the names of workers and machines.
	names map[string]string
	// hooks are the hooks whose rows have been read, and told has the number of the last delivery that was read of each.
	hooks []*trellisv1.Hook
	told  map[string]uint64
}

func newRestorer(txn *memdb.Txn, version uint32) *restorer {
	return &restorer{
		txn: txn, version: version, content: -1,
		byName: map[string]*restoredStudy{}, created: map[uint64]bool{}, leases: map[string]int{},
		names: map[string]string{}, told: map[string]uint64{},
	}
}

// block reads the rows of a block.
func (r *restorer) block(table string, rows iter.Seq2[[]byte, error]) error {
	if err := r.begin(table); err != nil {
		return err
	}
	for data, err := range rows {
		if err != nil {
			return err
		}
		if err := r.row(contents[r.content], data); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
	}
	return nil
}

// begin moves on to a block's table.
func (r *restorer) begin(name string) error {
	for place, content := range contents {
		if content.name != name {
			continue
		}
		if place < r.content {
			return fmt.Errorf("table %s comes after table %s: %w", name, contents[r.content].name, ErrCorrupt)
		}
		if place > r.content {
			r.content, r.key = place, nil
		}
		return nil
	}
	return fmt.Errorf("unknown table %q: %w", name, ErrNewer)
}

func (r *restorer) row(content content, data []byte) error {
	row := content.row()
	if err := proto.Unmarshal(data, row); err != nil {
		return fmt.Errorf("a row is not a message: %w: %w", err, ErrCorrupt)
	}
	grid.Upgrade(row)
	return content.restore(r, row)
}

// follows checks that the rows of a table are in the order of their keys, without duplicates.
func (r *restorer) follows(k key) error {
	if bytes.Compare(k, r.key) <= 0 {
		return fmt.Errorf("a row is out of order: %w", ErrCorrupt)
	}
	r.key = k
	return nil
}

func (r *restorer) study(study *trellisv1.Study) error {
	if err := validName(study.Name); err != nil {
		return corrupt(err)
	}
	if err := r.follows(studyKey(study)); err != nil {
		return err
	}
	if r.created[study.CreateIndex] {
		return fmt.Errorf("two studies were created at index %d: %w", study.CreateIndex, ErrCorrupt)
	}
	r.created[study.CreateIndex] = true
	restored := &restoredStudy{
		study: study, terms: trajectory.TermsOf(study.Spec), shared: grid.NewShared(), places: map[string]int{},
	}
	if u := study.Untouched; u != nil && (!study.Indexed ||
		u.State != lifecycle.TrialFailed && u.State != lifecycle.TrialCanceled) {
		return fmt.Errorf("the untouched runs of study %q are %v: %w", study.Name, u.State, ErrCorrupt)
	}
	if study.Indexed {
		var err error
		if restored.base, err = newBase(study); err != nil {
			return corrupt(fmt.Errorf("study %q: %w", study.Name, err))
		}
	}
	r.studies, r.byName[study.Name] = append(r.studies, restored), restored
	return insert(r.txn, tableStudies, study)
}

func (r *restorer) worker(worker *trellisv1.Worker) error {
	if err := validName(worker.Name); err != nil {
		return corrupt(err)
	}
	if err := r.follows(workerKey(worker)); err != nil {
		return err
	}
	if err := consistency.CheckWorker(worker, r.leases[worker.Name]); err != nil {
		return err
	}
	delete(r.leases, worker.Name)
	return insert(r.txn, tableWorkers, worker)
}

// of returns what has been read of a study.
func (r *restorer) of(study string) (*restoredStudy, error) {
	restored := r.byName[study]
	if restored == nil {
		return nil, fmt.Errorf("a row of study %q, which does not exist: %w", study, ErrCorrupt)
	}
	return restored, nil
}

func (r *restorer) run(run *trellisv1.Run) error {
	study, err := r.of(run.Study)
	if err != nil {
		return err
	}
	place, based := study.placeOf(run)
	if err := r.follows(newKey(len(run.Study) + 5).text(run.Study).number32(place)); err != nil {
		return err
	}
	if n := len(study.runs); r.version == 1 && n > 0 && catalog.CompareRuns(study.runs[n-1], run) >= 0 {
		return fmt.Errorf("run %s of study %q is out of order: %w", run.Id, run.Study, ErrCorrupt)
	}
	if err := consistency.CheckRun(run); err != nil {
		return err
	}
	if auditing.Held(run) {
		r.leases[run.Worker]++
	}
	run.Study = study.study.Name
	if run.Parameters != nil {
		run.Parameters.Values = study.shared.Values(run.Parameters)
	}
	for _, training := range run.Trainings {
		// As in the store that was written, a million runs share the names of their workers.
		training.Worker, training.Machine = r.shared(training.Worker), r.shared(training.Machine)
	}
	member := &trajectory.Trajectory{Run: run, Terms: study.terms}
	if based {
		study.touched = append(study.touched, placedMember{place, member})
		return nil
	}
	if _, again := study.places[run.Id]; again {
		return corrupt(fmt.Errorf("run %s: it occurs twice", run.Id))
	}
	study.places[run.Id] = len(study.runs)
	study.runs = append(study.runs, run)
	study.members = append(study.members, member)
	return nil
}

// shared returns the string of a name that all rows share.
func (r *restorer) shared(name string) string {
	known, ok := r.names[name]
	if !ok {
		known, r.names[name] = name, name
	}
	return known
}

// trial reads a trial's row. Values that it has in common with its run are shared with the run, as in the store that
// was written: names and parameters of a million trials would take much memory.
func (r *restorer) trial(trial *trellisv1.Trial) error {
	study, err := r.of(trial.Study)
	if err != nil {
		return err
	}
	if study.base != nil && trial.Index < study.base.Indices() {
		return r.basedTrial(study, trial)
	}
	if err := r.follows(newKey(0).text(trial.Study).number32(0).number(trial.Index)); err != nil {
		return err
	}
	number, listed := study.places[trial.Run]
	if listed {
		return study.listedTrial(trial, study.members[number], uint32(number)+study.firstListed())
	}
	if study.base == nil {
		return corrupt(fmt.Errorf("trial %d: run %s not found", trial.Index, trial.Run))
	}
	place, ok := study.base.PlaceOf(trial.Parameters)
	if !ok {
		return corrupt(fmt.Errorf("trial %d: run %s not found", trial.Index, trial.Run))
	}
	at, touched := slices.BinarySearchFunc(study.touched, place, func(m placedMember, place uint32) int {
		return cmp.Compare(m.place, place)
	})
	if touched {
		return study.listedTrial(trial, study.touched[at].Trajectory, place)
	}
	study.listed = append(study.listed, catalog.Trial{
		Index: trial.Index, Place: place, Epochs: trial.GetParameters().GetMaxEpochs(),
	})
	return nil
}

// answer gives a run a result of one of its trials.
func answer(its *trajectory.Trajectory, trial *trellisv1.Trial) {
	run := its.Run
	trial.Study, trial.Run = run.Study, run.Id
	trial.Parameters = trajectory.ParametersAt(run, trial.GetParameters().GetMaxEpochs())
	its.Answers = append(its.Answers, trial)
}

// basedTrial takes up the result of a trial that follows from the spec. They are in the order of their runs.
func (r *restorer) basedTrial(study *restoredStudy, trial *trellisv1.Trial) error {
	place, milestone, ok := study.base.Find(trial.Index)
	if !ok || trial.State != lifecycle.TrialSucceeded {
		return fmt.Errorf("trial %d of study %q, which has no result of it: %w", trial.Index, trial.Study, ErrCorrupt)
	}
	k := newKey(0).text(trial.Study).number32(1).number32(place).number32(milestone)
	if err := r.follows(k); err != nil {
		return err
	}
	its := study.next(place)
	if its == nil || its.Run.Id != trial.Run {
		return fmt.Errorf("trial %d of run %q, which has no row: %w", trial.Index, trial.Run, ErrCorrupt)
	}
	answer(its, trial)
	return nil
}

func (r *restorer) losses(losses *trellisv1.Losses) error {
	study, err := r.of(losses.Study)
	if err != nil {
		return err
	}
	if err := study.complete(r.version); err != nil {
		return err
	}
	member, place, err := study.ofLosses(losses)
	if err != nil {
		return err
	}
	if err := r.follows(newKey(0).text(losses.Study).number32(place)); err != nil {
		return err
	}
	if err := member.CheckLosses(losses); err != nil {
		return fmt.Errorf("%w of run %s: %w", err, losses.Run, ErrCorrupt)
	}
	if seconds := len(losses.Seconds); seconds > int(member.Run.Epochs) {
		return fmt.Errorf("times of %d epochs, but run %[3]s has %[2]d: %[4]w", seconds, member.Run.Epochs, losses.Run,
			ErrCorrupt)
	}
	losses.Study, losses.Run = member.Run.Study, member.Run.Id
	member.Losses = losses
	return nil
}

// finish stores the studies' runs when all rows have been read.
func (r *restorer) finish() error {
	if len(r.leases) > 0 {
		return fmt.Errorf("%d workers that do not exist have runs: %w", len(r.leases), ErrCorrupt)
	}
	for _, study := range r.studies {
		if err := study.complete(r.version); err != nil {
			return err
		}
		if err := study.insert(r.txn); err != nil {
			return err
		}
	}
	if err := r.toldAll(); err != nil {
		return err
	}
	return restoreRelatives(r.txn, r.studies)
}

// end ends what still checks what has been read.
func (r *restorer) end() {
	for _, study := range r.studies {
		study.checks.end()
	}
}

// sealedChecks are goroutines that check sealed sections, one for each core.
type sealedChecks struct {
	sections chan *section
	all      sync.WaitGroup
	// parts are what the checked runs count for, and errs the first errors.
	parts []*trellisv1.Progress
	errs  []error
	// keys are those of their trials in the ranking, in order.
	keys [][]listing.Key
}

func (s *restoredStudy) startChecks() *sealedChecks {
	cores := runtime.GOMAXPROCS(0)
	checks := &sealedChecks{
		sections: make(chan *section, 4*cores),
		parts:    make([]*trellisv1.Progress, cores), errs: make([]error, cores),
		keys: make([][]listing.Key, cores),
	}
	ranking := listing.RankingOf(s.study.Spec)
	for part := range cores {
		checks.parts[part] = &trellisv1.Progress{}
		checks.all.Go(func() {
			var with sectionReader
			for its := range checks.sections {
				if checks.errs[part] == nil {
					checks.keys[part], checks.errs[part] = s.checkSection(&with, its, checks.parts[part], ranking,
						checks.keys[part])
				}
			}
			slices.SortFunc(checks.keys[part], listing.Key.Compare)
		})
	}
	return checks
}

// end waits until all sections have been checked that were sent so far.
func (c *sealedChecks) end() {
	if c != nil && c.sections != nil {
		close(c.sections)
		c.all.Wait()
		c.sections = nil
	}
}

// corrupt turns an error that would be ErrInvalid in a command into ErrCorrupt.
func corrupt(err error) error { return fmt.Errorf("%w: %w", err, ErrCorrupt) }

// numericsOfVersion1 is the version of the trainer's arithmetic of every study in a snapshot of version 1: there was no
// other yet.
const numericsOfVersion1 = "1"
