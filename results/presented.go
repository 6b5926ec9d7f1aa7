package results

import (
	"fmt"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// Presented returns a study as it is shown: its progress counts trials that diverged separately. They are stored as
// succeeded: see trajectory.Presented.
func (s *Snapshot) Presented(study *trellisv1.Study) (*trellisv1.Study, error) {
	diverged, err := s.countDiverged(study.GetName())
	if err != nil {
		return nil, fmt.Errorf("count the diverged trials of study %q: %w", study.GetName(), err)
	}
	if diverged == 0 {
		return study, nil
	}
	study = copyStudy(study)
	study.Progress.TrialsDiverged = diverged
	study.Progress.TrialsSucceeded -= diverged
	return study, nil
}

// countDiverged reads no other trials than those that it counts: they are the last in the ranking.
func (s *Snapshot) countDiverged(study string) (count uint64, err error) {
	last, err := s.ranked(nil, study, listing.LastFinite)
	if err != nil {
		return 0, err
	}
	for range last {
		count++
	}
	return count, nil
}
