package results

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// MaxGrants is the maximum number of grants in one command.
const MaxGrants = 1024

// AttemptNumber returns the number of the attempt that a grant starts, given the log index of its command and its
// position in the command. Later grants have greater numbers.
func AttemptNumber(index uint64, place int) uint64 { return index*MaxGrants + uint64(place) }

// Grant leases PENDING runs of RUNNING studies to READY workers with a free slot, in one transaction. It returns one
// error per grant. The error is nil if the grant was accepted, ErrIllegalMove if run, study or worker are in other
// states or a twin of the run is being trained, and ErrNotFound if one of them does not exist. If there are more than
// MaxGrants grants, all of them fail with ErrInvalid.
func (s *Store) Grant(index uint64, now *timestamppb.Timestamp, grants []*trellisv1.Grant) []error {
	c := s.begin(index, now)
	defer c.abort()
	refused := c.grantAll(grants)
	if err := c.commit(); err != nil {
		for i := range refused {
			refused[i] = errors.Join(refused[i], err)
		}
	}
	return refused
}

func (c *change) grantAll(grants []*trellisv1.Grant) []error {
	refused := make([]error, len(grants))
	for i, grant := range grants {
		if len(grants) > MaxGrants {
			refused[i] = fmt.Errorf("%d grants in one command, but at most %d are allowed: %w", len(grants), MaxGrants,
				ErrInvalid)
			continue
		}
		if err := c.grant(grant, AttemptNumber(c.index, i)); err != nil {
			refused[i] = fmt.Errorf("grant run %s of study %q to worker %q: %w",
				grant.GetRun(), grant.GetStudy(), grant.GetWorker(), err)
		}
	}
	return refused
}

func (c *change) grant(request *trellisv1.Grant, attempt uint64) error {
	study, err := c.studies.get(textKey(request.GetStudy()))
	if err != nil {
		return err
	}
	run, err := c.sections.requested(request)
	if err != nil {
		return err
	}
	worker, err := c.workers.get(textKey(request.GetWorker()))
	if err != nil {
		return err
	}
	if study.State != lifecycle.StudyRunning {
		return fmt.Errorf("the study is %s: %w", lifecycle.Name(study.State), ErrIllegalMove)
	}
	if worker.State != lifecycle.WorkerReady {
		return fmt.Errorf("the worker is %s: %w", lifecycle.Name(worker.State), ErrIllegalMove)
	}
	if worker.Runs+c.granted[worker.Name] >= worker.Slots {
		return fmt.Errorf("all %d slots of the worker are taken: %w", worker.Slots, ErrIllegalMove)
	}
	event := lifecycle.Grant
	if auditable(run.run()) {
		event = lifecycle.Audit
	}
	if awaitsSharing(study, run.catalog, run.number) && event == lifecycle.Grant {
		return fmt.Errorf("what other studies have trained of it is not known yet: %w", ErrIllegalMove)
	}
	state, err := lifecycle.Run.Next(run.run().State, event)
	if err != nil {
		return err
	}
	if err := c.checkNotTrained(study.Name, run.run()); err != nil {
		return err
	}
	granted := run.edit().Run
	granted.State, granted.Attempt, granted.Worker = state, attempt, worker.Name
	granted.AttemptEpochs = trajectory.LastCheckpoint(granted).GetEpoch()
	if auditing.FromStart(granted) {
		granted.AttemptEpochs = 0
	}
	c.granted[worker.Name]++
	return nil
}

// requested returns the run of a grant. Its place may be wrong, or that in another study of the name.
func (e *sectionEdits) requested(grant *trellisv1.Grant) (handle, error) {
	if grant.Place == nil {
		return e.find(grant.GetStudy(), grant.GetRun())
	}
	c, err := e.catalog(grant.GetStudy())
	if err == nil && c != nil && c.Has(grant.GetPlace()) {
		var run handle
		if run, err = e.at(c, grant.GetPlace()); err == nil && run.run().Id == grant.GetRun() {
			return run, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("the run: %w", ErrNotFound)
	}
	return handle{}, err
}

// endAttempt changes a run's state by an event, and takes it from the worker that holds it, if any. The weights of a run
// that is disputed are dropped: whoever saved them may have been wrong. See contest for those of a program.
func (h handle) endAttempt(event string) *trajectory.Trajectory {
	edited := h.edit()
	run := edited.Run
	run.State = lifecycle.Run.Must(run.State, event)
	run.Attempt, run.Worker, run.AttemptEpochs = 0, "", 0
	if run.Dispute != nil && !edited.Terms.OfProgram() {
		trajectory.DropWeights(run)
	}
	return edited
}

// failAttempt ends the attempt that holds the run as a failure. The run becomes PENDING again, or FAILED if its budget
// is used up.
func (c *change) failAttempt(h handle, class trellisv1.FailureClass, message string) error {
	run := h.run()
	if auditing.BeingAudited(run) {
		return c.failAudit(h, class, message)
	}
	worker, err := c.workers.get(textKey(run.Worker))
	if err != nil {
		return err
	}
	ready, err := c.readyWorkersFor(run.Study)
	if err != nil {
		return err
	}
	failures, verdict, err := c.rules.Fail(run, worker.Machine, class, message, ready)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	event := lifecycle.Release
	if verdict != "" {
		event = lifecycle.Fail
	}
	run = h.endAttempt(event).Run
	run.Failures, run.Error = failures, verdict
	return nil
}

// Run returns a run, or ErrNotFound. The watch set fires when the run or one of its neighbors changes.
func (s *Snapshot) Run(ws memdb.WatchSet, study, id string) (*trellisv1.Run, error) {
	member, err := s.member(ws, study, id)
	if err != nil {
		return nil, fmt.Errorf("run %s of study %q: %w", id, study, err)
	}
	return member.Run, nil
}

// Granted returns the run of a grant, or ErrNotFound. One whose place the grant says is not looked for by its id.
func (s *Snapshot) Granted(grant *trellisv1.Grant) (*trellisv1.Run, error) {
	if grant.Place == nil {
		return s.Run(nil, grant.GetStudy(), grant.GetRun())
	}
	c, err := s.catalog(grant.GetStudy())
	if err != nil {
		return nil, err
	}
	if c.Has(grant.GetPlace()) {
		member, err := s.memberAt(nil, c, grant.GetPlace())
		if err != nil {
			return nil, err
		}
		if member.Run.Id == grant.GetRun() {
			return member.Run, nil
		}
	}
	return nil, fmt.Errorf("run %q of study %q: %w", grant.GetRun(), grant.GetStudy(), ErrNotFound)
}

// Place returns the place of a run in the order in which its study's runs are trained, or ErrNotFound if its study is gone.
func (s *Snapshot) Place(run *trellisv1.Run) (uint32, error) {
	c, err := s.catalog(run.GetStudy())
	if err != nil {
		return 0, err
	}
	return c.PlaceOf(run), nil
}

// LatestRuns returns the runs that RunsChangedSince returns if they are no more than few. Otherwise all is false: it returns
// those that workers hold, and about most of those that have changed last.
func (s *Snapshot) LatestRuns(study string, index uint64, few, most int) (runs []*trellisv1.Run, all bool, err error) {
	rows, err := s.sectionsOf(study)
	if err != nil {
		return nil, false, err
	}
	var sections []*section
	touched := 0
	for section := range rows {
		if section.changed > index {
			sections = append(sections, section)
			touched += section.size() - bits.OnesCount64(untouchedBits(section))
		}
	}
	if touched <= few || s.Err() != nil {
		runs, err = s.RunsChangedSince(study, index)
		return runs, true, err
	}
	c, err := s.catalog(study)
	if err != nil {
		return nil, false, err
	}
	slices.SortStableFunc(sections, func(a, b *section) int { return cmp.Compare(b.changed, a.changed) })
	for _, section := range sections {
		if len(runs) >= most {
			break
		}
		for slot := range section.size() {
			if member := section.member(c, slot); member != nil && member.Run.ModifyIndex > index {
				runs = append(runs, member.Run)
			}
		}
	}
	latest := func(a, b *trellisv1.Run) int { return cmp.Compare(a.ModifyIndex, b.ModifyIndex) }
	slices.SortStableFunc(runs, latest)
	runs = runs[max(0, len(runs)-most):]
	known := make(map[string]bool, len(runs))
	for _, run := range runs {
		known[run.Id] = true
	}
	workers, err := scan[*leases](s.reader, nil, tableHeld, indexID, nil)
	if err != nil {
		return nil, false, err
	}
	for held := range workers {
		for _, lease := range held.its {
			if lease.study != study || known[lease.run] {
				continue
			}
			member, err := s.memberAt(nil, c, lease.place)
			if err != nil {
				return nil, false, err
			}
			runs = append(runs, member.Run)
		}
	}
	slices.SortStableFunc(runs, latest)
	return runs, false, s.Err()
}

// NextRuns returns at most n runs that are to be leased next: PENDING runs of RUNNING studies. Runs of the oldest study
// come first, within a study those with the most epochs, and among these in the order of the grid. Of several twins it
// returns one, and none if one of them is LEASED. When there are no more of these, it returns runs that are to be
// audited. The watch set fires when the result may have changed.
func (s *Snapshot) NextRuns(ws memdb.WatchSet, n int) ([]*trellisv1.Run, error) {
	return s.nextRuns(ws, n, everything{})
}

// Choice decides which of the next runs to return.
type Choice interface {
	// Study says whether any more runs of a study may be chosen. It is called from time to time, so that a long list of
	// runs that can't be chosen is skipped.
	Study(name string) bool
	// Run says whether a run is chosen.
	Run(run *trellisv1.Run) bool
}

// everything chooses all runs.
type everything struct{}

func (everything) Study(string) bool       { return true }
func (everything) Run(*trellisv1.Run) bool { return true }

// ChooseRuns is like NextRuns, but only returns runs that are chosen.
func (s *Snapshot) ChooseRuns(n int, choice Choice) ([]*trellisv1.Run, error) {
	return s.nextRuns(nil, n, choice)
}

func (s *Snapshot) nextRuns(ws memdb.WatchSet, n int, choice Choice) ([]*trellisv1.Run, error) {
	studies, err := scan[*trellisv1.Study](s.reader, ws, tableStudies, indexRunning, nil)
	if err != nil {
		return nil, err
	}
	running := slices.Collect(studies)
	next, queue := []*trellisv1.Run(nil), newQueue(s.reader, ws)
	for _, table := range []string{tableWaiting, tableDue} {
		for _, study := range running {
			if next, err = s.nextOf(ws, table, study, next, n, queue, choice); err != nil || len(next) >= n {
				return next, err
			}
		}
	}
	return next, nil
}

// nextOf adds a study's runs in a table of runs that wait to those that are next, until there are n.
func (s *Snapshot) nextOf(
	ws memdb.WatchSet, table string, study *trellisv1.Study, next []*trellisv1.Run, n int, queue *queue, choice Choice,
) ([]*trellisv1.Run, error) {
	its, err := first[*relatives](s.reader, ws, tableRelatives, indexID, textKey(study.Name))
	if err != nil {
		return nil, err
	}
	c, err := first[*catalog.Catalog](s.reader, ws, tableCatalogs, indexID, textKey(study.Name))
	if err != nil {
		return nil, err
	}
	sections, err := s.waitingSections(ws, table, c, study.Sharing)
	if err != nil {
		return nil, err
	}
	for section, runs := range sections {
		if len(next) >= n || !choice.Study(study.Name) {
			return next, nil
		}
		if table == tableWaiting && awaitsSharing(study, c, section.number) {
			continue
		}
		for ; runs != 0 && len(next) < n; runs &= runs - 1 {
			run := section.run(c, bits.TrailingZeros64(runs))
			admitted, err := queue.admits(its, run)
			if err != nil {
				return nil, err
			}
			if admitted && choice.Run(run) {
				queue.choose(its, run)
				next = append(next, run)
			}
		}
	}
	return next, nil
}

// waitingSections returns a study's sections with runs in a table of runs that wait, and which runs these are, in the order
// of their places. Among them are those sections whose runs are all untouched, up to the one at which sharing is.
func (s *Snapshot) waitingSections(
	ws memdb.WatchSet, table string, c *catalog.Catalog, sharing *trellisv1.Sharing,
) (iter.Seq2[*section, uint64], error) {
	pending, err := scan[*waiting](s.reader, ws, table, indexID, textKey(c.Study))
	if err != nil {
		return nil, err
	}
	at, err := first[*frontier](s.reader, ws, tableFrontiers, indexID, textKey(c.Study))
	if err != nil {
		return nil, err
	}
	next, end := uint32(0), uint32(0)
	if table == tableWaiting && at != nil && c.Base.Untouched == nil {
		next, end = at.number, (c.BaseRuns()+sectionSize-1)/sectionSize
		if sharing != nil {
			end = min(end, sharing.NextSection)
		}
	}
	return func(yield func(*section, uint64) bool) {
		untouched := func(until uint32) bool {
			for ; next < min(until, end); next++ {
				// A lookup of a key that the index has to have fails only where the schema is wrong.
				if there, err := s.hasSection(c.Study, next); err != nil || there {
					continue
				}
				if section := untouchedSection(c, next); !yield(section, section.pending) {
					return false
				}
			}
			return true
		}
		for its := range pending {
			section, err := first[*section](s.reader, nil, tableSections, indexID, sectionKey(c.Study, its.number))
			if err != nil || !untouched(its.number) || !yield(section, its.runs) {
				return
			}
		}
		untouched(end)
	}, nil
}

// run returns the run in a slot of the section, as it is stored or as it follows from the spec.
func (s *section) run(c *catalog.Catalog, slot int) *trellisv1.Run {
	if member := s.member(c, slot); member != nil {
		return member.Run
	}
	return c.Untouched(s.number*sectionSize + uint32(slot)).Run
}

// WaitingRuns returns a study's runs that wait for a worker: those that are PENDING, and those that are to be audited. It
// can be ranged over once, and reads only their sections.
func (s *Snapshot) WaitingRuns(study string) (iter.Seq[*trellisv1.Run], error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	var tables []iter.Seq2[*section, uint64]
	for _, table := range []string{tableWaiting, tableDue} {
		sections, err := s.waitingSections(nil, table, c, nil)
		if err != nil {
			return nil, err
		}
		tables = append(tables, sections)
	}
	return func(yield func(*trellisv1.Run) bool) {
		for _, sections := range tables {
			for section, runs := range sections {
				for ; runs != 0; runs &= runs - 1 {
					if !yield(section.run(c, bits.TrailingZeros64(runs))) {
						return
					}
				}
			}
		}
	}, nil
}

// Losses returns the losses that have been reported for a run, or ErrNotFound before its first epoch. The watch set
// fires when they change, or when anything of one of the run's neighbors changes.
func (s *Snapshot) Losses(ws memdb.WatchSet, study, run string) (*trellisv1.Losses, error) {
	member, err := s.member(ws, study, run)
	if err == nil && member.Losses == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("losses of run %s of study %q: %w", run, study, err)
	}
	return member.Losses, nil
}

// LastMetrics returns the metrics on the validation images that a study's runs have reported after their last epochs,
// by run id. Runs without metrics are left out. It fails with ErrNotFound if there is no such run.
func (s *Snapshot) LastMetrics(study string, runs []*trellisv1.Run) (map[string]*trellisv1.Metrics, error) {
	var last map[string]*trellisv1.Metrics
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		if run.Epochs == 0 {
			continue
		}
		member, err := s.memberAt(nil, c, c.PlaceOf(run))
		if err != nil {
			return nil, fmt.Errorf("metrics of run %s of study %q: %w", run.Id, study, err)
		}
		values := trajectory.ValidationMetrics(member.Losses, run.Epochs)
		if values == nil && member.Losses.GetEpochs() > 0 {
			continue
		}
		if values == nil {
			// All runs of a model report the same metrics.
			return last, nil
		}
		if last == nil {
			last = make(map[string]*trellisv1.Metrics, len(runs))
		}
		last[run.Id] = &trellisv1.Metrics{Values: values}
	}
	return last, nil
}

// isNotFound says whether a query by key failed because there is no such row.
func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
