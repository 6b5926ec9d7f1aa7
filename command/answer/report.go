package answer

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/pruning"
)

type report = *trellisv1.Report

var reportColumns = []output.Column[report]{
	{Name: "study", Plain: func(r report) string { return r.GetStudy().GetName() }},
	{Name: "state", Plain: func(r report) string { return describe.StudyState(r.GetStudy()) }},
	{Name: "digest", Plain: report.GetDigest},
	{
		Name: "trials", Plain: func(r report) string {
			return describe.ProgressOf((*trellisv1.Progress).GetTrials)(r.GetStudy())
		},
	},
	reportCount("trained", report.GetTrained),
	reportCount("prefixes", report.GetPrefixes),
	reportCount("early_stopped", report.GetEarlyStopped),
	reportCount("collapsed", report.GetCollapsed),
	reportCount("shared", report.GetShared),
	reportCount("diverged", report.GetDiverged),
	reportCount("pruned", report.GetPruned),
	reportCount("failed", report.GetFailed),
	reportCount("canceled", report.GetCanceled),
	reportCount("open", report.GetOpen),
	reportCount("weights_missing", report.GetWeightsMissing),
	reportCount("epochs_trained", report.GetEpochsTrained),
	reportCount("epochs_shared", report.GetEpochsShared),
	reportCount("epochs_alone", report.GetEpochsAlone),
	{Name: "seconds_trained", Plain: func(r report) string { return output.PlainNumber(r.GetSecondsTrained()) }},
	{Name: "seconds_saved", Plain: func(r report) string { return output.PlainNumber(r.GetSecondsSaved()) }},
	reportCount("failures_total", report.GetFailuresTotal),
	{Name: "heuristic", Plain: heuristicOf},
	reportCount("audits_equal", func(r report) uint64 { return r.GetAudits().GetEqual() }),
	reportCount("audits_due", func(r report) uint64 { return r.GetAudits().GetDue() }),
	reportCount("disagreements", func(r report) uint64 { return r.GetAudits().GetDisagreementsTotal() }),
	{Name: "wrong_workers", Plain: func(r report) string { return describe.WrongWorkers(r) }},
	{Name: "refuted", Plain: func(r report) string { return describe.RefutedWords(r.GetStudy()) }},
}

func reportCount(name string, get func(report) uint64) output.Column[report] {
	return output.Column[report]{Name: name, Plain: func(r report) string { return strconv.FormatUint(get(r), 10) }}
}

// kinds are the ways in which a trial may have got its result or not, with what they mean, in the order of a report.
func kinds(r report) []kind {
	ended, endedHow := endedBefore(r), "stopped early"
	if r.GetStudy().GetSpec().GetEarlyStopping() == nil {
		endedHow = "diverged"
	}
	return []kind{
		{"trained", r.GetTrained(), "trained to the end"},
		{"from shared runs", r.GetPrefixes(), "first epochs of runs that were trained longer for other trials"},
		ended,
		{"without training", r.GetCollapsed(), "same result as a trial that " + endedHow},
		{"from other studies", r.GetShared(), "trained by other studies"},
		{"diverged", r.GetDiverged(), fmt.Sprintf("no %s was a finite number",
			describe.ObjectiveOf(r.GetStudy().GetSpec()).Name())},
		{"pruned", r.GetPruned(), "no result: ended by a heuristic"},
		{"failed", r.GetFailed(), "no result: their runs failed"},
		{"canceled", r.GetCanceled(), whyCanceled(r.GetStudy())},
		{"open", r.GetOpen(), "no result yet"},
	}
}

// endedBefore counts the trials whose runs ended by themselves before max_epochs. Without early stopping, all of them
// diverged: they have the result of the epochs before.
func endedBefore(r report) kind {
	spec := r.GetStudy().GetSpec()
	if spec.GetEarlyStopping() == nil {
		return kind{
			"diverged later", r.GetEarlyStopped(),
			fmt.Sprintf("result of the epochs before one whose %s was no finite number",
				describe.ObjectiveOf(spec).Name()),
		}
	}
	return kind{
		"stopped early", r.GetEarlyStopped(), "ended before max_epochs by early stopping, or because they diverged",
	}
}

// whyCanceled says why trials were canceled.
func whyCanceled(study *trellisv1.Study) string {
	if why := describe.OutOfTime(study); why != "" {
		return "not trained: " + why
	}
	return "no result: the study was canceled"
}

type kind struct {
	name    string
	trials  uint64
	meaning string
}

// writeReport writes the account of a study for people.
func writeReport(out io.Writer, r report) error {
	table := output.NewTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	study := r.GetStudy()
	row("study", "%s, %s", study.GetName(), describe.StudyState(study))
	row("trials", "%d%s", study.GetProgress().GetTrials(), describeSettling(study))
	if sampled := describe.Sampled(study); sampled != "" {
		row("sample", "%s", sampled)
	}
	for _, kind := range kinds(r) {
		if kind.trials > 0 {
			row("  "+kind.name, "%d  %s", kind.trials, kind.meaning)
		}
	}
	row("epochs trained", "%d, which took %s of worker time", r.GetEpochsTrained(),
		output.ShortSeconds(r.GetSecondsTrained()))
	if r.GetEpochsShared() > 0 {
		row("epochs shared", "%d, from %s", r.GetEpochsShared(), output.Largest(r.GetSharedFrom()))
	}
	if saved := describeSaved(r); saved != "" {
		row("saved", "%s", saved)
	}
	if missing := DescribeMissingWeights(r); missing != "" {
		row("missing weights", "%s", missing)
	}
	if audits := describe.Audits(r); audits != "" {
		row("audit", "%s", audits)
	}
	row("exactness", "%s", describeExactness(r, true))
	row("digest", "%s", describeDigest(r))
	if _, err := fmt.Fprintln(out, table.Render()); err != nil {
		return err
	}
	if verdict := r.GetVerdict(); verdict.GetSeeds() > 1 {
		fmt.Fprintf(out, "\n%s\n", describeVerdict(study, verdict, true))
		if verdict.GetBest() != nil {
			fmt.Fprintf(out, "See: trellis best %s\n", study.GetName())
		}
	}
	if err := describe.WriteRefuted(out, study); err != nil {
		return err
	}
	if err := describe.WriteDisagreements(out, r); err != nil {
		return err
	}
	return WriteFailures(out, r, true)
}

// describeSettling says how many of a study's trials are there because it settles, with a semicolon before it, or
// nothing.
func describeSettling(study *trellisv1.Study) string {
	if study.GetSpec().GetSettle() == nil {
		return ""
	}
	its, err := lattice.Of(study.GetSpec())
	if err != nil || its.Trials() >= study.GetProgress().GetTrials() {
		// A spec that has been accepted has as many.
		return ""
	}
	return fmt.Sprintf(" (%d with a seed added by settle)", study.GetProgress().GetTrials()-its.Trials())
}

// describeSaved compares what was trained with what the same answers would have taken, had each trial been trained by
// itself.
func describeSaved(r report) string {
	if r.GetEpochsAlone() <= r.GetEpochsTrained() {
		return ""
	}
	if r.GetSecondsSaved() <= 0 {
		// What was trained longest has no result.
		return fmt.Sprintf("%s: without sharing, it would have taken %s",
			output.Count(r.GetEpochsAlone()-r.GetEpochsTrained(), "epoch"), output.Count(r.GetEpochsAlone(), "epoch"))
	}
	return fmt.Sprintf("%s and %s of worker time: without sharing, it would have taken %s",
		output.Count(r.GetEpochsAlone()-r.GetEpochsTrained(), "epoch"), output.ShortSeconds(r.GetSecondsSaved()),
		output.Count(r.GetEpochsAlone(), "epoch"))
}

// heuristicOf names what may have pruned the best trial, empty if the study prunes nothing.
func heuristicOf(r report) string {
	spec := r.GetStudy().GetSpec()
	name := pruning.Name(spec.GetPruning())
	if name != "" && pruning.Stops(spec) {
		name += ", stopping type"
	}
	return name
}

// describeExactness says whether the answer is that of the whole grid. kept says that commands find the study later.
func describeExactness(r report, kept bool) string {
	pruned, again := int(r.GetPruned()), ""
	among := output.Verb(pruned, "it may be the best", "the best may be among them")
	if kept {
		again = fmt.Sprintf(". Train %s to the end: trellis retry %s --pruned", output.Verb(pruned, "it", "them"),
			r.GetStudy().GetName())
	}
	switch {
	case heuristicOf(r) == "" && !describe.IsDeterministic(r.GetStudy()):
		return fmt.Sprintf("nothing was pruned: each point was trained. The program is %s: another training may differ",
			notDeterministic(r.GetStudy()))
	case heuristicOf(r) == "":
		return "nothing was pruned: each result is bit for bit that of training the trial alone"
	case r.GetPruned() == 0:
		return fmt.Sprintf("no trial lacks its result because of pruning by %s, a heuristic", heuristicOf(r))
	case pruning.Stops(r.GetStudy().GetSpec()):
		return fmt.Sprintf("a heuristic, %s, pruned %s as %s trained, because the program does not resume: %s%s",
			heuristicOf(r), output.Count(r.GetPruned(), "trial"), output.Verb(pruned, "it", "they"), among, again)
	default:
		return fmt.Sprintf("a heuristic, %s, pruned %s: %s%s", heuristicOf(r), output.Count(r.GetPruned(), "trial"),
			among, again)
	}
}

// notDeterministic says why a program's results may differ: it was found out, or it does not declare otherwise.
func notDeterministic(study *trellisv1.Study) string {
	if study.GetSpec().GetProgram().GetDeterministic() {
		return "not deterministic"
	}
	return "not declared deterministic"
}

// describeDigest returns a report's digest, what it covers if the study has not ended, and whether training again would
// give another one.
func describeDigest(r *trellisv1.Report) string {
	if r.GetDigest() == "" {
		return "none until the study has ended"
	}
	study := r.GetStudy()
	var notes []string
	if !lifecycle.StudyEnded(study.GetState()) {
		notes = append(notes, "of the results so far")
	}
	if !describe.IsDeterministic(study) {
		notes = append(notes, "not reproducible: the program is "+notDeterministic(study))
	}
	if len(notes) == 0 {
		return r.GetDigest()
	}
	return r.GetDigest() + " (" + strings.Join(notes, "; ") + ")"
}

// isCanceled says whether a study was canceled: it can be neither extended nor retried.
func isCanceled(study *trellisv1.Study) bool {
	return study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED
}

// WriteFailures lists the runs that have failed, with how to retry them. kept says that commands find the study later.
func WriteFailures(out io.Writer, r report, kept bool) error {
	if r.GetFailuresTotal() == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n%s failed:\n\n", output.Sentence(output.Count(r.GetFailuresTotal(), "run")))
	varied := describe.VariedAxes(r.GetStudy().GetSpec())
	for _, its := range alike(r.GetFailures()) {
		fmt.Fprintf(out, "%s: %s\n", its.who(varied), output.Shorten(strings.Join(strings.Fields(its.text), " "), 300))
	}
	if more := r.GetFailuresTotal() - uint64(len(r.GetFailures())); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	if isCanceled(r.GetStudy()) || !kept {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nRetry them: trellis retry %s\n", r.GetStudy().GetName())
	return err
}

// failedAlike are runs that failed with the same error, in its short form.
type failedAlike struct {
	text string
	runs []*trellisv1.Report_FailedRun
	// trials are those of the runs that have no result.
	trials []uint64
}

// alike puts runs together that failed with the same error.
func alike(failures []*trellisv1.Report_FailedRun) (groups []*failedAlike) {
	byText := map[string]*failedAlike{}
	for _, failure := range failures {
		text := describe.LastLine(failure.GetError())
		key := fmt.Sprint(len(failure.GetTrials()) > 0, text)
		its := byText[key]
		if its == nil {
			its = &failedAlike{text: text}
			byText[key], groups = its, append(groups, its)
		}
		its.runs, its.trials = append(its.runs, failure), append(its.trials, failure.GetTrials()...)
	}
	return groups
}

// who names the trials that have no result for that error. All those of a run may have theirs from before.
func (f *failedAlike) who(varied describe.Axes) string {
	var who, which string
	if len(f.trials) > 0 {
		who = describe.Trials(f.trials)
	}
	if len(f.runs) > 1 {
		which = output.Count(uint64(len(f.runs)), "run")
	} else {
		which = describe.Parameters(f.runs[0].GetParameters(), varied)
	}
	switch {
	case who != "" && which != "":
		return fmt.Sprintf("%s (%s)", who, which)
	case who != "":
		return who
	case len(f.runs) > 1:
		return which + " whose trials have results"
	default:
		return "a run whose trials have results" + describe.InBrackets(which)
	}
}
