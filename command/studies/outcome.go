package studies

import (
	"errors"
	"fmt"

	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Outcome is nil for a study that has results for all its trials, and a best one, else ErrIncomplete with what is missing
// and what to do.
func Outcome(study *trellisv1.Study) error {
	return OutcomeWith(study, fmt.Sprintf("; to see why: trellis report %s; to retry: trellis retry %s", study.GetName(),
		study.GetName()))
}

// OutcomeWith is Outcome with what to do where trials have failed, which follows at once.
func OutcomeWith(study *trellisv1.Study, advice string) error {
	progress := study.GetProgress()
	var missing []error
	if failed := progress.GetTrialsFailed(); failed > 0 {
		missing = append(missing, fmt.Errorf("%s failed%s", output.Count(failed, "trial"), advice))
	}
	if study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED {
		missing = append(missing, fmt.Errorf("it was canceled with %s unfinished",
			output.Count(progress.GetTrialsCanceled(), "trial")))
	}
	if diverged := progress.GetTrialsDiverged(); len(missing) == 0 && diverged > 0 && progress.GetTrialsSucceeded() == 0 {
		missing = append(missing, fmt.Errorf("there is no best trial: %s diverged", output.Count(diverged, "trial")))
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", exit.ErrIncomplete, study.GetName(), errors.Join(missing...))
}
