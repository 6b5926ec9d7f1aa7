package describe

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Audits says how many runs of a study were trained again, and what came of it, or nothing if none were.
func Audits(report *trellisv1.Report) string {
	audits := report.GetAudits()
	if audits == nil {
		return ""
	}
	var parts []string
	if audits.GetEqual() > 0 {
		text := fmt.Sprintf("%d of %s trained again with the same %s, bit for bit", audits.GetEqual(),
			output.Count(audits.GetSucceeded(), "run"), compared(report))
		switch same := audits.GetSameMachine(); {
		case same == audits.GetEqual():
			text += ", on the same machine: there was no other"
		case same > 0:
			text += fmt.Sprintf(", %d of them on the same machine: there was no other", same)
		}
		parts = append(parts, text)
	}
	if due := audits.GetDue(); due > 0 {
		parts = append(parts, fmt.Sprintf("%d still to be trained again", due))
	}
	if audits.GetGivenUp() > 0 {
		parts = append(parts, fmt.Sprintf("%d could not be trained again", audits.GetGivenUp()))
	}
	if audits.GetDisagreementsTotal() > 0 {
		parts = append(parts, output.Count(audits.GetDisagreementsTotal(), "disagreement"))
	}
	return strings.Join(parts, "; ")
}

// compared is what audits compare: losses, or all that a program reports.
func compared(report *trellisv1.Report) string {
	if report.GetStudy().GetSpec().GetProgram() != nil {
		return "results"
	}
	return "losses"
}

// WrongWorkers are the names of the workers that reported wrong losses, separated by spaces.
func WrongWorkers(report *trellisv1.Report) string {
	var names []string
	for _, worker := range report.GetAudits().GetWrongWorkers() {
		names = append(names, worker.GetWorker())
	}
	return strings.Join(names, " ")
}

// WriteDisagreements lists which runs could not be trained again, and where workers reported different losses and which of
// them were wrong.
func WriteDisagreements(out io.Writer, report *trellisv1.Report) error {
	audits := report.GetAudits()
	varied := VariedAxes(report.GetStudy().GetSpec())
	writeGivenUp(out, audits, varied)
	if audits.GetDisagreementsTotal() == 0 {
		return nil
	}
	fmt.Fprint(out, "\nWorkers reported different losses:\n\n")
	for _, listed := range audits.GetDisagreements() {
		fmt.Fprintf(out, "%s (%s), epoch %d:\n", Trials(listed.GetTrials()),
			Parameters(listed.GetParameters(), varied), listed.GetDisagreement().GetEpoch())
		claims := listed.GetDisagreement().GetClaims()
		for _, claim := range claims {
			fmt.Fprintf(out, "  %s: %s%s\n", claimant(claim), claimed(claim, claims), outcomeOf(claim, claims))
		}
	}
	if more := audits.GetDisagreementsTotal() - uint64(len(audits.GetDisagreements())); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	for _, worker := range audits.GetWrongWorkers() {
		fmt.Fprintf(out, "\n%s reported wrong losses for %s and gets no more runs while there is another worker. %s\n",
			output.Sentence(workerOn(worker.GetWorker(), worker.GetMachine())), output.Count(worker.GetRefuted(), "epoch"),
			trainedBy(worker, compared(report)))
	}
	return nil
}

// writeGivenUp lists the runs that could not be trained again, and why.
func writeGivenUp(out io.Writer, audits *trellisv1.AuditSummary, varied Axes) {
	if audits.GetGivenUp() == 0 {
		return
	}
	fmt.Fprint(out, "\nCould not be trained again:\n\n")
	for _, listed := range audits.GetGivenUpRuns() {
		fmt.Fprintf(out, "%s (%s): %s\n", Trials(listed.GetTrials()), Parameters(listed.GetParameters(), varied),
			listed.GetError())
	}
	if more := audits.GetGivenUp() - uint64(len(audits.GetGivenUpRuns())); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
}

// trainedBy says how much of a study a worker has trained that reported wrong losses.
func trainedBy(worker *trellisv1.AuditSummary_WrongWorker, compared string) string {
	switch runs, audited := worker.GetRuns(), worker.GetAudited(); {
	case runs == 0:
		return "Nothing of what it trained is left in the study."
	case audited == runs:
		return fmt.Sprintf("It trained epochs of %s that are left in the study: all were trained again, with the same %s.",
			output.Count(runs, "run"), compared)
	default:
		return fmt.Sprintf("It trained epochs of %s that are left in the study: %d were trained again, with the same %s.",
			output.Count(runs, "run"), audited, compared)
	}
}

func claimant(claim *trellisv1.Claim) string {
	training := claim.GetTraining()
	if training.GetWorker() == "" {
		return "an unknown worker"
	}
	name := workerOn(training.GetWorker(), training.GetMachine())
	if training.GetMaxEpochs() > 0 {
		name += fmt.Sprintf(", with max_epochs %d", training.GetMaxEpochs())
	}
	return name
}

func workerOn(worker, machine string) string {
	if machine == "" || machine == worker {
		return "worker " + worker
	}
	return fmt.Sprintf("worker %s on %s", worker, machine)
}

// outcomeOf says what has become of a claim.
func outcomeOf(claim *trellisv1.Claim, claims []*trellisv1.Claim) string {
	switch {
	case claim.GetStands():
		return ", which stands"
	case claim.GetWrong():
		return ", which is wrong"
	case !slices.ContainsFunc(claims, (*trellisv1.Claim).GetStands):
		return ", not decided yet"
	default:
		return fmt.Sprintf(", which is wrong; it resumed from a checkpoint of epoch %d, which may be the cause",
			claim.GetTraining().GetAfter())
	}
}

// claimed gives the values of a claim in which any claims differ.
func claimed(claim *trellisv1.Claim, claims []*trellisv1.Claim) string {
	if ended := claim.GetEnded(); ended != nil {
		return fmt.Sprintf("the run ends after %s", output.Count(uint64(ended.GetEpochs()), "epoch"))
	}
	its := valuesOf(claim)
	var parts []string
	for _, name := range its.names {
		differs := slices.ContainsFunc(claims, func(other *trellisv1.Claim) bool {
			value, has := valuesOf(other).values[name]
			return has && value != its.values[name]
		})
		if differs || slices.ContainsFunc(claims, func(other *trellisv1.Claim) bool { return other.GetEnded() != nil }) {
			parts = append(parts, name+" "+its.values[name])
		}
	}
	if len(parts) == 0 {
		return "the same losses, and no test loss"
	}
	return strings.Join(parts, ", ")
}

// claimValues are what a claim says of an epoch, by name, with all digits.
type claimValues struct {
	names  []string
	values map[string]string
}

func valuesOf(claim *trellisv1.Claim) claimValues {
	v := claimValues{values: map[string]string{}}
	add := func(name string, value float64) {
		v.names, v.values[name] = append(v.names, name), strconv.FormatFloat(value, 'g', -1, 64)
	}
	losses := claim.GetLosses()
	for _, value := range losses.GetTrainLoss() {
		add("train loss", value)
	}
	for _, value := range losses.GetValidationLoss() {
		add("validation loss", value)
	}
	for _, value := range losses.GetTestLoss() {
		add("test loss", value)
	}
	var metrics []string
	for name := range losses.GetMetrics() {
		metrics = append(metrics, name)
	}
	slices.Sort(metrics)
	for _, name := range metrics {
		for _, value := range losses.GetMetrics()[name].GetValues() {
			add(Label(name), value)
		}
	}
	return v
}
