package results

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// tableStudies has the studies.
const tableStudies = "studies"

func studiesSchema() *memdb.TableSchema {
	return tableSchema(tableStudies,
		index(indexID, studyKey),
		index(indexCreated, func(s *trellisv1.Study) key { return newKey(8).number(s.CreateIndex) }),
		index(indexRunning, func(s *trellisv1.Study) key {
			if s.State != lifecycle.StudyRunning {
				return nil
			}
			return newKey(8).number(s.CreateIndex)
		}),
	)
}

func studyKey(s *trellisv1.Study) key { return textKey(s.Name) }

// CreateStudy adds a RUNNING study with the runs and trials that follow from its spec, all PENDING. It uses these fields:
// name, spec, data set, numerics, fresh, pretrained, creator and network. If sharing is set, what other studies have trained of many
// of its runs is copied later: see ShareRuns. The store keeps a copy. CreateStudy fails with ErrExists
// if another study has the name, and with the errors of lattice.New.
func (s *Store) CreateStudy(index uint64, now *timestamppb.Timestamp, study *trellisv1.Study) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.createStudy(study); err != nil {
		return refusal("create", study.GetName(), err)
	}
	return c.commit()
}

func (c *change) createStudy(study *trellisv1.Study) error {
	created, err := c.newStudy(study)
	if err != nil {
		return err
	}
	base, err := newBase(created)
	if err != nil {
		return err
	}
	its, err := newCatalog(created.Name, base, nil, nil)
	if err != nil {
		return err
	}
	created.Indexed, created.Progress, created.GridTrials = true, its.Progress(), gridTrials(base)
	if err := insert(c.txn, tableFrontiers, &frontier{study: created.Name}); err != nil {
		return err
	}
	if err := c.addStudy(created, its, nil); err != nil {
		return err
	}
	return c.shareTouched(its, 0, study.GetSharing() != nil)
}

// newBase returns what follows from the specs of a study: that which it was created with, and those of its extensions by
// index, within the budget that it has now.
func newBase(study *trellisv1.Study) (*catalog.Base, error) {
	specs := append(grid.EarlierSpecs(study), study.Spec)
	for i, extension := range study.Extensions {
		if n := extension.Specs; n == 0 || int(n) >= len(specs) || i > 0 && n <= study.Extensions[i-1].Specs {
			return nil, fmt.Errorf("its extension %d has spec %d of %d: %w", i+1, n, len(specs), ErrInvalid)
		}
	}
	// A grid that has been extended keeps the runs that it had then: those within the budget of the spec before.
	budgetOf := func(extensions int) *trellisv1.Budget {
		if extensions == len(study.Extensions) {
			return study.Spec.GetBudget()
		}
		return specs[study.Extensions[extensions].Specs-1].GetBudget()
	}
	as := study
	if len(specs) > 1 {
		as = CopyStudy(study)
		as.Spec = proto.CloneOf(specs[0])
		as.Spec.Budget = budgetOf(0)
	}
	its, err := lattice.New(as)
	if err != nil {
		return nil, err
	}
	for i, extension := range study.Extensions {
		spec := specs[extension.Specs]
		ordered := grid.Sampled(spec) || !its.Whole()
		if its, err = its.Extend(spec, extension.FirstIndex, budgetOf(i+1), ordered); err != nil {
			return nil, err
		}
	}
	return catalog.NewBase(study, its), nil
}

// newStudy returns a study that is to be created, without its runs.
func (c *change) newStudy(study *trellisv1.Study) (*trellisv1.Study, error) {
	if err := validName(study.GetName()); err != nil {
		return nil, err
	}
	existing, err := first[*trellisv1.Study](c.reader, nil, tableStudies, indexID, textKey(study.GetName()))
	if err != nil {
		return nil, err
	}
	if existing != nil {
		return nil, ErrExists
	}
	return &trellisv1.Study{
		Name:        strings.Clone(study.GetName()),
		Spec:        proto.CloneOf(study.GetSpec()),
		State:       lifecycle.StudyRunning,
		DataSet:     proto.CloneOf(study.GetDataSet()),
		CreateTime:  c.now,
		Progress:    &trellisv1.Progress{},
		CreateIndex: c.index,
		Numerics:    strings.Clone(study.GetNumerics()),
		Fresh:       study.GetFresh(),
		Pretrained:  proto.CloneOf(study.GetPretrained()),
		Creator:     proto.CloneOf(study.GetCreator()),
		Network:     proto.CloneOf(study.GetNetwork()),
	}, nil
}

// addStudy adds a study with its catalog and its listed runs.
func (c *change) addStudy(
	created *trellisv1.Study, its *catalog.Catalog, listed []*trajectory.Trajectory,
) error {
	created.Indices = its.Indices()
	c.studies.add(created)
	if err := c.sections.replace(its); err != nil {
		return err
	}
	first, _ := its.ListedPlaces()
	if err := c.sections.grow(its, first, listed); err != nil {
		return err
	}
	return c.relate(created, its)
}

// insertMembers stores the trajectories of a study's runs: those that have been touched of those that follow from its spec, in
// the order of their places, the listed ones, and the sealed sections.
func insertMembers(
	txn *memdb.Txn, its *catalog.Catalog, touched []placedMember, listed []*trajectory.Trajectory, sealed []*section,
) error {
	if err := insert(txn, tableCatalogs, its); err != nil {
		return err
	}
	var moves leaseMoves
	first, _ := its.ListedPlaces()
	for _, section := range newSections(its, first/sectionSize, listed) {
		if err := insertSection(txn, its, nil, section, &moves); err != nil {
			return err
		}
	}
	if its.Base == nil {
		return moves.insert(txn)
	}
	at, stored := frontier{study: its.Study}, map[uint32]bool{}
	for len(touched) > 0 {
		s := untouchedSection(its, touched[0].place/sectionSize)
		for ; len(touched) > 0 && touched[0].place/sectionSize == s.number; touched = touched[1:] {
			slot := int(touched[0].place % sectionSize)
			s.members[slot] = touched[0].Trajectory
			s.note(slot, touched[0].Trajectory)
		}
		if err := insertSection(txn, its, nil, s, &moves); err != nil {
			return err
		}
		stored[s.number] = true
	}
	if err := moves.insert(txn); err != nil {
		return err
	}
	for _, s := range sealed {
		if err := insert(txn, tableSections, s); err != nil {
			return err
		}
		stored[s.number] = true
	}
	for stored[at.number] {
		at.number++
	}
	return insert(txn, tableFrontiers, &at)
}

// validName returns an error if a name can't be part of a key.
func validName(name string) error {
	if name == "" || strings.ContainsRune(name, 0) {
		return fmt.Errorf("invalid name %q: %w", name, ErrInvalid)
	}
	return nil
}

// SetStudyState pauses (PAUSED), resumes (RUNNING) or cancels (CANCELED) a study. Leaving RUNNING ends its attempts
// immediately, without a charge: their runs become PENDING again or, like runs that were PENDING, CANCELED. Setting the
// state that the study already has changes nothing, so a request can be repeated. Any other move fails with
// ErrIllegalMove. A study becomes COMPLETED by itself.
func (s *Store) SetStudyState(index uint64, now *timestamppb.Timestamp, name string, state trellisv1.StudyState) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.setStudyState(name, state); err != nil {
		return refusal("change", name, err)
	}
	return c.commit()
}

func (c *change) setStudyState(name string, state trellisv1.StudyState) error {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return err
	}
	var event string
	switch state {
	case lifecycle.StudyRunning:
		event = lifecycle.Resume
	case lifecycle.StudyPaused:
		event = lifecycle.Pause
	case lifecycle.StudyCanceled:
		event = lifecycle.Cancel
	default:
		return fmt.Errorf("set a study to %s: %w", lifecycle.Name(state), ErrIllegalMove)
	}
	if study.State == state {
		return nil
	}
	to, err := lifecycle.Study.Next(study.State, event)
	if err != nil {
		return err
	}
	study = c.studies.edit(study)
	study.State = to
	if event == lifecycle.Resume {
		return nil
	}
	if event == lifecycle.Cancel {
		study.EndTime, study.Sharing = c.now, nil
	}
	catalog, err := c.sections.catalog(name)
	if err != nil {
		return err
	}
	runs, err := c.sections.unsealed(catalog)
	if err != nil {
		return err
	}
	for _, run := range runs {
		switch {
		case event == lifecycle.Cancel && !lifecycle.RunEnded(run.run().State):
			run.endAttempt(lifecycle.Cancel)
		case auditing.Held(run.run()):
			run.endAttempt(lifecycle.Release)
		}
	}
	if event == lifecycle.Cancel {
		return c.cancelUntouched(study, "")
	}
	return nil
}

// cancelUntouched cancels the untouched runs of a study, unless they have ended. message says why, if the study itself
// is not canceled.
func (c *change) cancelUntouched(study *trellisv1.Study, message string) error {
	if study.Untouched != nil {
		return nil
	}
	runs, trials, epochs, err := c.untouched(study)
	if err != nil || runs == 0 {
		return err
	}
	study.Progress.RunsCanceled += runs
	study.Progress.TrialsCanceled += trials
	study.Progress.EpochsLeft -= epochs
	return c.setUntouched(study, &trellisv1.Untouched{
		State: lifecycle.TrialCanceled, Error: message, ModifyIndex: c.index,
	})
}

// DeleteStudy deletes a study with all its runs, trials and losses, and ends its attempts. If unchanged is not 0, it fails
// with ErrStudyChanged unless that is the study's modify_index. The same goes for created and its create_index.
func (s *Store) DeleteStudy(index uint64, name string, unchanged, created uint64) error {
	c := s.begin(index, nil)
	defer c.abort()
	if err := c.deleteStudy(name, unchanged, created); err != nil {
		return refusal("delete", name, err)
	}
	return c.commit()
}

func (c *change) deleteStudy(name string, unchanged, created uint64) error {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return err
	}
	if unchanged != 0 && study.ModifyIndex != unchanged || created != 0 && study.CreateIndex != created {
		return ErrStudyChanged
	}
	members, err := c.touchedIn(name, func(s *section) bool { return s.sealed == nil })
	if err != nil {
		return err
	}
	var ended leaseMoves
	for member := range members {
		run := member.Run
		if !auditing.Held(run) {
			continue
		}
		if err := c.holds(run.Worker, -1); err != nil {
			return err
		}
		ended.ended = append(ended.ended, leaseOf(run, 0))
	}
	if err := ended.insert(c.txn); err != nil {
		return err
	}
	if err := c.forgetRelatives(name); err != nil {
		return err
	}
	if err := remove(c.txn, tableStudies, study); err != nil {
		return err
	}
	for _, table := range []string{tableCatalogs, tableSections, tableWaiting, tableDue, tableRungs, tableRanking, tableFrontiers} {
		if _, err := c.txn.DeleteAll(table, indexID+"_prefix", textKey(name)); err != nil {
			return fmt.Errorf("delete from %s: %w", table, err)
		}
	}
	return nil
}

// Study returns a study, or ErrNotFound.
func (s *Snapshot) Study(ws memdb.WatchSet, name string) (*trellisv1.Study, error) {
	study, err := first[*trellisv1.Study](s.reader, ws, tableStudies, indexID, textKey(name))
	switch {
	case err != nil:
		return nil, fmt.Errorf("study %q: %w", name, err)
	case study == nil:
		return nil, fmt.Errorf("study %q %w", name, ErrNotFound)
	}
	return study, nil
}

// Studies returns all studies, oldest first.
func (s *Snapshot) Studies(ws memdb.WatchSet) ([]*trellisv1.Study, error) {
	return all[*trellisv1.Study](s.reader, ws, tableStudies, indexCreated, nil)
}

// ListStudies returns a page of the studies as they are shown, oldest first. It fails with ErrInvalid if the page token is invalid.
func (s *Snapshot) ListStudies(request *trellisv1.ListStudiesRequest) (*trellisv1.ListStudiesResponse, error) {
	after, err := listing.DecodeToken(listing.MarkStudies, request.GetPageToken())
	if err != nil {
		return nil, err
	}
	studies, err := scanFrom[*trellisv1.Study](s.reader, tableStudies, indexCreated, after)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListStudiesResponse{}
	size, left := listing.PageSize(request.GetPageSize()), listing.Room(listing.MaxPageBytes)
	for study := range studies {
		// What is shown may be larger than what is stored.
		if study, err = s.Presented(study); err != nil {
			return nil, err
		}
		if len(response.Studies) == size || !left.TakeStored(study) {
			response.NextPageToken = listing.EncodeToken(listing.MarkStudies, newKey(8).number(study.CreateIndex))
			break
		}
		response.Studies = append(response.Studies, study)
	}
	return response, nil
}

// shownSpecs is the maximum total size in bytes of earlier specs that are shown whole.
const shownSpecs = 256 << 10

// Presented returns a study as it is shown: its progress counts trials that diverged separately. They are stored as
// succeeded: see trajectory.Presented. Its earlier specs are shown whole, unless they are large: a response has room for
// their differences only.
func (s *Snapshot) Presented(study *trellisv1.Study) (*trellisv1.Study, error) {
	diverged, err := s.countDiverged(study)
	if err != nil {
		return nil, fmt.Errorf("count the diverged trials of study %q: %w", study.GetName(), err)
	}
	history := study.SpecHistory.GetDifferences()
	whole := len(history) > 0 && grid.Extensions(study)*proto.Size(study.Spec) <= shownSpecs
	if diverged == 0 && !whole {
		return study, nil
	}
	study = CopyStudy(study)
	study.Progress.TrialsDiverged = diverged
	study.Progress.TrialsSucceeded -= diverged
	if whole {
		study.EarlierSpecs, study.SpecHistory = grid.EarlierSpecs(study), nil
	}
	return study, nil
}

// countDiverged reads no other trials than those that it counts: they are the last in the ranking.
func (r reader) countDiverged(study *trellisv1.Study) (count uint64, err error) {
	if study.Progress.GetTrialsSucceeded() == 0 {
		return 0, nil // Those that diverged are among them.
	}
	last, err := r.rankedKeys(nil, study.GetName(), listing.LastFinite)
	if err != nil {
		return 0, err
	}
	for range last {
		count++
	}
	return count, nil
}

// CopyStudy returns a shallow copy of a study, except that it also copies the progress, because that changes. What a study
// has besides is never changed.
func CopyStudy(s *trellisv1.Study) *trellisv1.Study {
	return &trellisv1.Study{
		Name: s.Name, Spec: s.Spec, State: s.State, DataSet: s.DataSet, CreateTime: s.CreateTime, EndTime: s.EndTime,
		Progress: copyProgress(s.Progress), CreateIndex: s.CreateIndex, ModifyIndex: s.ModifyIndex,
		Numerics: s.Numerics, Fresh: s.Fresh, EarlierSpecs: s.EarlierSpecs, Indices: s.Indices, Settled: s.Settled,
		Forecast: s.Forecast, Pretrained: s.Pretrained, WaitingFor: s.WaitingFor, Suspects: s.Suspects,
		SpecHistory: s.SpecHistory, Creator: s.Creator, Refuted: s.Refuted,
		Indexed: s.Indexed, Untouched: s.Untouched, GridTrials: s.GridTrials, Extensions: s.Extensions,
		Sharing: s.Sharing, CheckpointsDeleteTime: s.CheckpointsDeleteTime, Network: s.Network,
	}
}

func copyProgress(p *trellisv1.Progress) *trellisv1.Progress {
	return &trellisv1.Progress{
		Trials: p.Trials, TrialsRunning: p.TrialsRunning, TrialsSucceeded: p.TrialsSucceeded,
		TrialsFailed: p.TrialsFailed, TrialsCanceled: p.TrialsCanceled,
		Runs: p.Runs, RunsRunning: p.RunsRunning, RunsSucceeded: p.RunsSucceeded,
		RunsFailed: p.RunsFailed, RunsCanceled: p.RunsCanceled,
		Epochs: p.Epochs, EpochsLeft: p.EpochsLeft, TrainingSeconds: p.TrainingSeconds,
		TrialsPruned: p.TrialsPruned, RunsPruned: p.RunsPruned, EpochsShared: p.EpochsShared, SecondsShared: p.SecondsShared,
		EpochsAlone: p.EpochsAlone, TrialsDiverged: p.TrialsDiverged,
		RunsAudited: p.RunsAudited, AuditsDue: p.AuditsDue, RunsDisputed: p.RunsDisputed,
	}
}

// replaceSpec gives a study its next spec, and what its networks have then.
func (e Extension) replaceSpec(study *trellisv1.Study) {
	replaceSpec(study, proto.CloneOf(e.Spec), e.KeepDifference)
	if e.Network != nil {
		study.Network = proto.CloneOf(e.Network)
	}
}

// replaceSpec gives a study its next spec, and keeps the one that it had.
func replaceSpec(study *trellisv1.Study, spec *trellisv1.StudySpec, keepDifference bool) {
	if keepDifference || study.SpecHistory != nil {
		study.SpecHistory = &trellisv1.SpecHistory{Differences: append(
			slices.Clip(study.SpecHistory.GetDifferences()), grid.Difference(study.Spec, spec))}
	} else {
		study.EarlierSpecs = append(slices.Clip(study.EarlierSpecs), study.Spec)
	}
	study.Spec = spec
}

// RunningStudies returns the RUNNING studies, oldest first. They can be ranged over once.
func (s *Snapshot) RunningStudies() (iter.Seq[*trellisv1.Study], error) {
	return scan[*trellisv1.Study](s.reader, nil, tableStudies, indexRunning, nil)
}
