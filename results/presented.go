package results

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/listing"
)

// shownSpecs is the maximum total size in bytes of earlier specs that are shown whole.
const shownSpecs = 256 << 10

// Presented returns a study as it is shown: its progress counts trials that diverged separately. They are stored as
// succeeded: see trajectory.Presented. Its earlier specs are shown whole, unless they are large: a response has room for
// their differences only.
func (s *Snapshot) Presented(study *trellisv1.Study) (*trellisv1.Study, error) {
	diverged, err := s.countDiverged(study.GetName())
	if err != nil {
		return nil, fmt.Errorf("count the diverged trials of study %q: %w", study.GetName(), err)
	}
	history := study.SpecHistory.GetDifferences()
	whole := len(history) > 0 && grid.Extensions(study)*proto.Size(study.Spec) <= shownSpecs
	if diverged == 0 && !whole {
		return study, nil
	}
	study = copyStudy(study)
	study.Progress.TrialsDiverged = diverged
	study.Progress.TrialsSucceeded -= diverged
	if whole {
		study.EarlierSpecs, study.SpecHistory = grid.EarlierSpecs(study), nil
	}
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
