package studies

import (
	"fmt"
	"io"
	"strings"
	"time"

	"trellis/command/answer"
	"trellis/command/describe"
	"trellis/command/output"
	"trellis/command/progress"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// writeStudy writes what a study is and how far it has come, for people. losing are its runs that lose their workers,
// and elsewhere the flags that commands on it need.
func writeStudy(
	out io.Writer, study *trellisv1.Study, report *trellisv1.Report, losing []*trellisv1.Run, now time.Time,
	elsewhere string,
) error {
	table := output.NewTable()
	row := func(name, text string) {
		if text != "" {
			table.AppendRow([]any{name, text})
		}
	}
	row("study", study.GetName())
	row("state", describe.StudyState(study))
	row("model", study.GetSpec().GetModel())
	if study.GetSpec().GetProgram() != nil {
		row("program", describe.Command(study.GetSpec().GetProgram()))
		row("each run needs", describe.Resources(study.GetSpec()))
	}
	row("workers with", describe.Labels(study.GetSpec().GetWorkers()))
	row("data", study.GetSpec().GetData())
	row("created", output.ShortTime(study.GetCreateTime()))
	if study.GetCreator() != nil {
		row("created by", describe.Principal(study.GetCreator()))
	}
	row("ended", output.ShortTime(study.GetEndTime()))
	row("trials", trialsOf(study))
	row("sample", describe.Sampled(study))
	row("runs", runsOf(study))
	row("epochs", epochsOf(study))
	row("shared", describe.Sharing(study.GetProgress(), report.GetSharedFrom()))
	if deleted := study.GetCheckpointsDeleteTime(); deleted != nil {
		row("checkpoints", "deleted "+output.ShortTime(deleted)+", but for those of the best trial at the time")
	}
	row("missing weights", answer.DescribeMissingWeights(report))
	row("waiting for", waitsFor(study, elsewhere))
	row("not ended", unended(study))
	if study.GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING {
		row("end", strings.TrimPrefix(describe.End(study.GetForecast(), now), "ends "))
	}
	if _, err := fmt.Fprintln(out, table.Render()); err != nil {
		return err
	}
	if err := describe.WriteRefuted(out, study); err != nil {
		return err
	}
	text, err := spec.YAML(study.GetSpec())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "\nSpec:\n\n%s", text); err != nil {
		return err
	}
	if err := progress.WriteLosing(out, study, losing); err != nil {
		return err
	}
	return answer.WriteFailures(out, report, true)
}

// trialsOf counts a study's trials by their states.
func trialsOf(study *trellisv1.Study) string {
	p := study.GetProgress()
	return counts("succeeded", p.GetTrials(), p.GetTrialsSucceeded(), p.GetTrialsDiverged(), p.GetTrialsRunning(),
		p.GetTrialsFailed(), p.GetTrialsPruned(), p.GetTrialsCanceled())
}

// runsOf counts a study's runs by their states.
func runsOf(study *trellisv1.Study) string {
	p := study.GetProgress()
	// A run that diverged has ended like others. Whether it gave an answer is said of its trials.
	text := counts("complete", p.GetRuns(), p.GetRunsSucceeded(), 0, p.GetRunsRunning(), p.GetRunsFailed(),
		p.GetRunsPruned(), p.GetRunsCanceled())
	for _, part := range []struct {
		number uint64
		what   string
	}{
		{p.GetRunsDisputed(), "disputed"},
		{p.GetRunsAudited(), "audited"},
		{p.GetAuditsDue(), "to audit"},
	} {
		if part.number > 0 {
			text += fmt.Sprintf("; %d %s", part.number, part.what)
		}
	}
	return text
}

// counts writes how many of all are in which state, with a word for having succeeded. The others are pending.
func counts(word string, all, succeeded, diverged, running, failed, pruned, canceled uint64) string {
	text := fmt.Sprintf("%d of %d %s", succeeded, all, word)
	for _, part := range []struct {
		number uint64
		state  string
	}{
		{diverged, "diverged"},
		{running, "running"},
		{failed, "failed"},
		{pruned, "pruned"},
		{canceled, "canceled"},
		{all - succeeded - diverged - running - failed - pruned - canceled, "pending"},
	} {
		if part.number > 0 {
			text += fmt.Sprintf(", %d %s", part.number, part.state)
		}
	}
	return text
}

// epochsOf says how many epochs are behind a study, and how many may come.
func epochsOf(study *trellisv1.Study) string {
	p := study.GetProgress()
	text := fmt.Sprintf("%d trained", p.GetEpochs()-p.GetEpochsShared())
	if p.GetEpochsShared() > 0 {
		text += fmt.Sprintf(", %d from other studies", p.GetEpochsShared())
	}
	if p.GetEpochsLeft() > 0 && !lifecycle.StudyEnded(study.GetState()) {
		text += fmt.Sprintf(", at most %d left", p.GetEpochsLeft())
	}
	return text
}

// unended says what runs of models still have to do although all of their epochs are trained: a worker may have been
// lost before it had saved the weights.
func unended(study *trellisv1.Study) string {
	p := study.GetProgress()
	open := p.GetRuns() - p.GetRunsSucceeded() - p.GetRunsFailed() - p.GetRunsPruned() - p.GetRunsCanceled()
	if open == 0 || p.GetEpochsLeft() > 0 || study.GetSpec().GetProgram() != nil ||
		lifecycle.StudyEnded(study.GetState()) {
		return ""
	}
	return output.Count(open, "run") + ": all epochs are trained, but the last weights are not saved yet"
}

// waitsFor says what keeps a study from being trained, with the command that would help, or nothing.
func waitsFor(study *trellisv1.Study, elsewhere string) string {
	progress, forecast := study.GetProgress(), study.GetForecast()
	switch {
	case study.GetState() == trellisv1.StudyState_STUDY_STATE_PAUSED:
		return fmt.Sprintf("you to resume it: trellis resume %s%s", study.GetName(), elsewhere)
	case study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING:
		return ""
	case study.GetWaitingFor() != nil: // Other runs may be trained meanwhile.
		return describe.WaitingFor(study)
	case progress.GetRunsRunning() > 0:
		return ""
	case progress.GetAuditsDue() > 0 && progress.GetEpochsLeft() == 0 && forecast.GetSlots() > 0:
		return "" // Runs are being audited.
	case forecast.GetSlots() == 0:
		return aWorker + elsewhere
	case forecast.GetBasis().GetAfterOthers():
		return "older studies, which come first: trellis studies" + elsewhere
	}
	return "a free slot: trellis workers" + elsewhere
}

// aWorker is what a study without workers waits for.
const aWorker = "a worker: trellis worker"

// noWorker says that a study waits for a worker, with the command that would help, if it is certain that none is
// connected.
func noWorker(study *trellisv1.Study, elsewhere string) string {
	idle := study.GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING && study.GetProgress().GetRunsRunning() == 0
	forecast := study.GetForecast()
	if !idle || study.GetWaitingFor() != nil || forecast == nil || forecast.GetSlots() > 0 {
		return ""
	}
	return aWorker + elsewhere
}

// missing says what a study waits for, besides others' runs: a worker, if none is connected, or something else.
func missing(study *trellisv1.Study, elsewhere string) string {
	if why := describe.WaitingFor(study); why != "" {
		return why
	}
	return noWorker(study, elsewhere)
}
