package results

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"slices"

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
	return restored, nil
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
}

// restoredStudy is what has been read of a study.
type restoredStudy struct {
	study *trellisv1.Study
	terms *trajectory.Terms
	// shared is what the points of its runs share.
	shared  *grid.Shared
	runs    []*trellisv1.Run
	members []*trajectory.Trajectory
	// catalog is made when all runs have been read. answered has the trials with results, by number.
	catalog  *catalog.Catalog
	answered []*trellisv1.Trial
}

func newRestorer(txn *memdb.Txn, version uint32) *restorer {
	return &restorer{
		txn: txn, version: version, content: -1,
		byName: map[string]*restoredStudy{}, created: map[uint64]bool{}, leases: map[string]int{},
		names: map[string]string{},
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
	restored := &restoredStudy{study: study, terms: trajectory.TermsOf(study.Spec), shared: grid.NewShared()}
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
	place := len(study.runs)
	if err := r.follows(newKey(len(run.Study) + 5).text(run.Study).number32(uint32(place))); err != nil {
		return err
	}
	if r.version == 1 && place > 0 && catalog.CompareRuns(study.runs[place-1], run) >= 0 {
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
	study.runs = append(study.runs, run)
	study.members = append(study.members, &trajectory.Trajectory{Run: run, Terms: study.terms})
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
	if err := r.follows(newKey(0).text(trial.Study).number(trial.Index)); err != nil {
		return err
	}
	if study.catalog == nil {
		if study.catalog, err = newCatalog(study.study.Name, study.runs); err != nil {
			return corrupt(err)
		}
		study.answered = make([]*trellisv1.Trial, len(study.catalog.Indexes))
	}
	number, err := study.catalog.AddTrial(study.runs, trial)
	if err != nil {
		return corrupt(fmt.Errorf("trial %d: %w", trial.Index, err))
	}
	if trial.State != lifecycle.TrialSucceeded {
		return nil
	}
	run := study.runs[study.catalog.Places[trial.Run]]
	trial.Study, trial.Run, trial.Parameters = run.Study, run.Id, trajectory.ParametersAt(run,
		trial.GetParameters().GetMaxEpochs())
	study.answered[number] = trial
	return nil
}

func (r *restorer) losses(losses *trellisv1.Losses) error {
	study, err := r.of(losses.Study)
	if err != nil {
		return err
	}
	if study.catalog == nil {
		return fmt.Errorf("losses of study %q, which has no trials: %w", study.study.Name, ErrCorrupt)
	}
	place, ok := study.catalog.Places[losses.Run]
	if !ok {
		return fmt.Errorf("losses of run %q, which does not exist: %w", losses.Run, ErrCorrupt)
	}
	if err := r.follows(newKey(0).text(losses.Study).number32(place)); err != nil {
		return err
	}
	member := study.members[place]
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
		if study.catalog == nil {
			return fmt.Errorf("study %q has no trials: %w", study.study.Name, ErrCorrupt)
		}
		if err := study.catalog.Complete(); err != nil {
			return corrupt(fmt.Errorf("study %q: %w", study.study.Name, err))
		}
		if r.version == 1 {
			study.complete()
		}
		study.dropUnranked()
		if err := consistency.CheckStudy(study.study, study.runs, study.catalog.Indices()); err != nil {
			return err
		}
		for place, member := range study.members {
			if member.Run.Epochs > 0 && member.Losses == nil {
				return fmt.Errorf("run %s of study %q has no losses: %w", member.Run.Id, study.study.Name, ErrCorrupt)
			}
			trials := study.answered[study.catalog.First[place]:study.catalog.First[place+1]]
			for milestone, trial := range trials {
				answered := milestone < trajectory.AnsweredTrials(member.Run)
				if (trial != nil) != answered || answered && trial.Epochs != min(member.Run.Epochs,
					member.Run.Milestones[milestone]) {
					return fmt.Errorf("the results of run %s of study %q do not follow from its %d epochs: %w",
						member.Run.Id, study.study.Name, member.Run.Epochs, ErrCorrupt)
				}
			}
			member.Answers = slices.Clone(trials[:trajectory.AnsweredTrials(member.Run)])
		}
		ranked := slices.DeleteFunc(study.answered, func(trial *trellisv1.Trial) bool { return trial == nil })
		ranking := listing.RankingOf(study.study.Spec)
		slices.SortFunc(ranked, ranking.Compare)
		if err := insertRanks(r.txn, ranking, &rankPage{study: study.study.Name}, ranked); err != nil {
			return err
		}
		if err := insertMembers(r.txn, study.catalog, study.members); err != nil {
			return err
		}
		if err := insertRungs(r.txn, study.study, study.members); err != nil {
			return err
		}
	}
	return restoreRelatives(r.txn, r.studies)
}

// corrupt turns an error that would be ErrInvalid in a command into ErrCorrupt.
func corrupt(err error) error { return fmt.Errorf("%w: %w", err, ErrCorrupt) }

// numericsOfVersion1 is the version of the trainer's arithmetic of every study in a snapshot of version 1: there was no
// other yet.
const numericsOfVersion1 = "1"

// dropUnranked takes the results of runs that have not reported the objective's metric: at first, programs' trials got
// theirs without it.
func (s *restoredStudy) dropUnranked() {
	dropped := false
	for place, member := range s.members {
		if run := member.Run; run.State == lifecycle.RunSucceeded || !trajectory.Unranked(run) {
			continue
		}
		trials := s.answered[s.catalog.First[place]:s.catalog.First[place+1]]
		dropped = dropped || slices.ContainsFunc(trials, func(trial *trellisv1.Trial) bool { return trial != nil })
		clear(trials)
	}
	if !dropped || s.study.Progress == nil {
		return
	}
	progress := consistency.ProgressOf(s.runs)
	progress.TrainingSeconds, progress.SecondsShared = s.study.Progress.TrainingSeconds, s.study.Progress.SecondsShared
	s.study.Progress = progress
}

// complete fills in the fields that a snapshot of version 1 does not have, as if the study had been created today.
func (s *restoredStudy) complete() {
	s.study.Numerics = numericsOfVersion1
	s.study.Indices = s.catalog.Indices()
	if s.study.Progress != nil {
		s.study.Progress.EpochsAlone = consistency.ProgressOf(s.runs).EpochsAlone
	}
}
