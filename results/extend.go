package results

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// Extension is what is added to a study.
type Extension struct {
	// Indices are the study's before, and NextIndices those after the extension.
	Indices, NextIndices uint64
	// Spec takes the place of the study's. Nil: that stays.
	Spec *trellisv1.StudySpec
	// Runs and Trials are as in CreateStudy. Those that the study has already are left out; of a run that it has with other
	// milestones, the new ones are added.
	Runs   []*trellisv1.Run
	Trials []*trellisv1.Trial
	// Settled says that nothing is left to be settled.
	Settled bool
}

// ExtendStudy adds runs and trials to a study. See Extension.
func (s *Store) ExtendStudy(index uint64, now *timestamppb.Timestamp, name string, extension Extension) error {
	return fmt.Errorf("extend study %s: %w", name, ErrInvalid)
}

// RetryStudy takes up a study's FAILED runs again and, if asked, the PRUNED ones.
func (s *Store) RetryStudy(index uint64, now *timestamppb.Timestamp, name string, pruned bool) error {
	return fmt.Errorf("retry study %s: %w", name, ErrInvalid)
}
