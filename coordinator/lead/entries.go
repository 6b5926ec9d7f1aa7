package lead

import (
	trellisv1 "trellis/proto/trellis/v1"
)

// attemptOf returns the attempt that an entry belongs to.
func attemptOf(entry *trellisv1.RecordCommand_Entry) uint64 {
	switch entry := entry.GetEntry().(type) {
	case *trellisv1.RecordCommand_Entry_Reports:
		return entry.Reports.GetAttempt()
	case *trellisv1.RecordCommand_Entry_Checkpoint:
		return entry.Checkpoint.GetAttempt()
	case *trellisv1.RecordCommand_Entry_Outcome:
		return entry.Outcome.GetAttempt()
	default:
		return 0
	}
}

// returnEntry is the outcome that gives back the run of the attempt that an entry belongs to.
func returnEntry(entry *trellisv1.RecordCommand_Entry) *trellisv1.RecordCommand_Entry {
	study, run := runOf(entry)
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: &trellisv1.Outcome{
		Study: study, Run: run, Attempt: attemptOf(entry),
		Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
	}}}
}

// runOf returns the study and the run that an entry belongs to.
func runOf(entry *trellisv1.RecordCommand_Entry) (study, run string) {
	switch entry := entry.GetEntry().(type) {
	case *trellisv1.RecordCommand_Entry_Reports:
		return entry.Reports.GetStudy(), entry.Reports.GetRun()
	case *trellisv1.RecordCommand_Entry_Checkpoint:
		return entry.Checkpoint.GetStudy(), entry.Checkpoint.GetRun()
	case *trellisv1.RecordCommand_Entry_Outcome:
		return entry.Outcome.GetStudy(), entry.Outcome.GetRun()
	default:
		return "", ""
	}
}

// failureEntry is an outcome that the coordinator records by itself.
func failureEntry(
	study, run string, attempt uint64, class trellisv1.FailureClass, message string,
) *trellisv1.RecordCommand_Entry {
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: &trellisv1.Outcome{
		Study: study, Run: run, Attempt: attempt,
		Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
			Attempt: attempt, Class: class,
			Message: message,
		}},
	}}}
}
