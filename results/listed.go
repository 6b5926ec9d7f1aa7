package results

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// CreateListed adds a RUNNING study with the given runs and trials, all PENDING, as older versions have stored them: all are
// listed. It uses these fields of CreateStudy, and of a run id, parameters, milestones and first trial; of a trial index,
// parameters and run. It fails as CreateStudy does, and with ErrInvalid if runs and trials do not match.
func (s *Store) CreateListed(
	index uint64, now *timestamppb.Timestamp, study *trellisv1.Study, runs []*trellisv1.Run, trials []*trellisv1.Trial,
) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.createListed(study, runs, trials); err != nil {
		return refusal("create", study.GetName(), err)
	}
	return c.commit()
}

func (c *change) createListed(study *trellisv1.Study, runs []*trellisv1.Run, trials []*trellisv1.Trial) error {
	created, err := c.newStudy(study)
	if err != nil {
		return err
	}
	sorted, shared := make([]*trellisv1.Run, 0, len(runs)), grid.NewShared()
	for _, run := range runs {
		sorted = append(sorted, newRun(created, run, shared))
	}
	slices.SortFunc(sorted, catalog.Order(created))
	places := map[string]uint32{}
	for place, run := range sorted {
		places[run.Id] = uint32(place)
	}
	var listed []catalog.Trial
	for _, trial := range trials {
		place, ok := places[trial.GetRun()]
		if !ok {
			return fmt.Errorf("trial %d: run %s not found: %w", trial.GetIndex(), trial.GetRun(), ErrInvalid)
		}
		entry, err := catalog.TrialOf(sorted[place], place, trial)
		if err != nil {
			return fmt.Errorf("trial %d: %w", trial.GetIndex(), err)
		}
		listed = append(listed, entry)
	}
	its, err := newCatalog(created.Name, nil, sorted, listed)
	if err != nil {
		return err
	}
	terms := trajectory.TermsOf(created.Spec)
	var members []*trajectory.Trajectory
	for _, run := range sorted {
		members = append(members, &trajectory.Trajectory{Run: run, Terms: terms})
	}
	return c.addStudy(created, its, members)
}
