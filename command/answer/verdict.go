package answer

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// shownContenders is how many configurations that are statistically tied with the best are listed.
const shownContenders = 10

// writeBestConfiguration writes the best of configurations with several seeds, and how sure that is. It says no more
// than the verdict does.
func writeBestConfiguration(out io.Writer, best *trellisv1.GetBestTrialResponse, kept bool) error {
	verdict := best.GetVerdict()
	winner := verdict.GetBest()
	table := output.NewTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	study := best.GetStudy()
	ranked := describe.ObjectiveOf(study.GetSpec())
	row("study", "%s, %s: %s", study.GetName(), describe.StudyState(study), describe.Progress(study))
	parameterRows(row, winner.GetParameters())
	row("seeds", "%s", describeSeeds(study, winner))
	row(ranked.Name(), "%s%s on average%s", output.ShortLoss(winner.GetMean()), ranked.Note(),
		describeInterval(winner.GetInterval(), verdict))
	switch {
	case ranked.OfProgram():
	case winner.TestMean != nil:
		row("test loss", "%s on average, which had no influence on the ranking",
			output.ShortLoss(winner.GetTestMean()))
	default:
		row("test loss", "not known for every seed: %s", whyUntested)
	}
	metricRows(row, ranked, "mean validation ", ranked.Others(winner.GetMetrics()))
	metricRows(row, ranked, "mean test ", winner.GetTestMetrics())
	if trial := best.GetTrial(); trial != nil {
		row("best trial", "%d (seed %d), with %s at epoch %d of %d trained", trial.GetIndex(),
			trial.GetParameters().GetSeed(),
			output.ShortLoss(trial.GetObjective()), trial.GetBestEpoch(), trial.GetEpochs())
		metricRows(row, ranked, "its validation ", ranked.Others(trial.GetMetrics()))
		metricRows(row, ranked, "its test ", trial.GetTestMetrics())
	}
	if _, err := fmt.Fprintf(out, "%s\n\n%s\n", table.Render(), describeVerdict(study, verdict, kept)); err != nil {
		return err
	}
	return writeContenders(out, study, verdict, kept)
}

// describeSeeds lists the seeds that a configuration of a study has results for, beside what it may have of
// them.
func describeSeeds(study *trellisv1.Study, c *trellisv1.Configuration) string {
	seeds := make([]string, len(c.GetRepetitions()))
	for i, repetition := range c.GetRepetitions() {
		seeds[i] = fmt.Sprint(repetition.GetSeed())
	}
	budget := ""
	if settle := study.GetSpec().GetSettle(); settle != nil {
		budget = fmt.Sprintf(" of at most %d", settle.GetMaxSeeds())
	}
	return fmt.Sprintf("%d%s (%s)", len(seeds), budget, strings.Join(seeds, ", "))
}

// describeInterval writes the confidence interval of a mean, with a comma before it, or nothing.
func describeInterval(interval *trellisv1.Interval, verdict *trellisv1.Verdict) string {
	if interval == nil {
		return ""
	}
	return fmt.Sprintf(", between %s and %s at %s confidence", output.ShortLoss(interval.GetLow()),
		output.ShortLoss(interval.GetHigh()),
		output.Percent(verdict.GetConfidence()))
}

// describeVerdict says what is known about which configuration is best, and what is not.
func describeVerdict(study *trellisv1.Study, verdict *trellisv1.Verdict, kept bool) string {
	compared := output.Count(verdict.GetConfigurations(), "configuration")
	var text string
	switch others := verdict.GetContendersTotal(); {
	case verdict.GetBest() == nil:
		return describeDiverged(study)
	case verdict.GetConfigurations() < 2:
		text = "There is no other configuration to compare with."
	case others == 0 && !verdict.GetSettled():
		text = fmt.Sprintf("It is not clear yet which of the %s is the best at %s confidence.", compared,
			output.Percent(verdict.GetConfidence()))
	case others == 0:
		text = fmt.Sprintf("At %s confidence, it is the best of the %s compared.",
			output.Percent(verdict.GetConfidence()), compared)
	default:
		which := fmt.Sprintf("one of the %d others that are", others)
		if others == 1 {
			which = "the other one that is"
		}
		text = fmt.Sprintf("At %s confidence, the best of the %s compared is this one or %s statistically tied with it",
			output.Percent(verdict.GetConfidence()), compared, which)
		if verdict.GetSettled() {
			text += ", with exactly the same " + describe.ObjectiveOf(study.GetSpec()).Results()
		}
		text += "."
	}
	for _, more := range []string{describeMissing(study, kept), describeSample(study, kept)} {
		if more != "" {
			text += " " + more
		}
	}
	return text
}

// describeMissing says which trials take no part in a comparison, because they have no answer. kept says that commands
// find the study later.
func describeMissing(study *trellisv1.Study, kept bool) string {
	progress := study.GetProgress()
	missing := progress.GetTrials() - progress.GetTrialsSucceeded() - progress.GetTrialsDiverged()
	were := output.Verb(int(missing), "was", "were")
	pruned := progress.GetTrialsPruned()
	again := fmt.Sprintf(" Train %s to the end: trellis retry %s --pruned", output.Verb(int(pruned), "it", "them"),
		study.GetName())
	if isCanceled(study) || !kept {
		again = ""
	}
	switch {
	case missing == 0:
		return ""
	case !lifecycle.StudyEnded(study.GetState()):
		return output.Sentence(output.Count(missing, "trial")) + " may still change this."
	case progress.GetTrialsCanceled() == missing && describe.OutOfTime(study) != "":
		text := fmt.Sprintf("%s %s left out: %s.", output.Sentence(output.Count(missing, "trial")), were,
			describe.OutOfTime(study))
		if kept {
			text += fmt.Sprintf(" Allow more time: trellis extend %s --budget time=%s", study.GetName(),
				output.ShortDuration(2*study.GetSpec().GetBudget().GetTime().AsDuration()))
		}
		return text
	case pruned == missing:
		which := output.Verb(int(pruned), "it, and it may be the best", "them, and the best may be among them")
		return fmt.Sprintf("%s %s left out: a heuristic pruned %s.%s",
			output.Sentence(output.Count(missing, "trial")), were, which, again)
	case pruned > 0:
		which := "one of them, and it may be the best"
		if pruned > 1 {
			which = fmt.Sprintf("%d of them, and the best may be among those", pruned)
		}
		return fmt.Sprintf("%s without a result %s left out: a heuristic pruned %s.%s",
			output.Sentence(output.Count(missing, "trial")), were, which, again)
	default:
		return fmt.Sprintf("%s without a result %s left out.", output.Sentence(output.Count(missing, "trial")), were)
	}
}

// writeContenders lists the configurations that are statistically tied with the best one, and what would separate them.
func writeContenders(out io.Writer, study *trellisv1.Study, verdict *trellisv1.Verdict, kept bool) error {
	contenders := verdict.GetContenders()
	if len(contenders) > shownContenders {
		contenders = contenders[:shownContenders]
	}
	if len(contenders) > 0 {
		columns := withMeanMetrics(configurationColumnsOf(study.GetSpec()), contenders)
		columns = slices.DeleteFunc(columns, func(c output.Column[configuration]) bool {
			return c.Name == "contender"
		})
		list := output.NewList(out, output.Table, "", columns)
		for _, contender := range contenders {
			if err := list.Add(contender); err != nil {
				return err
			}
		}
		fmt.Fprintln(out)
		if err := list.Close(""); err != nil {
			return err
		}
	}
	switch more := verdict.GetContendersTotal() - uint64(len(contenders)); {
	case more > 0 && kept:
		fmt.Fprintf(out, "and %d more: trellis configurations %s\n", more, study.GetName())
	case more > 0:
		fmt.Fprintf(out, "and %d more\n", more)
	}
	advice := describeAdvice(study, verdict.GetAdvice(), kept)
	if advice == "" {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n%s\n", advice)
	return err
}
