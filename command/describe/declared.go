package describe

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// Refuted says, a sentence or two each, what audits have refuted of what a study's spec declares of its program.
func Refuted(study *trellisv1.Study) []string {
	var texts []string
	for _, refutation := range study.GetRefuted() {
		first, other := contrast(refutation)
		name := metricOf(study, first, other)
		place := fmt.Sprintf("in epoch %d of trial %d", refutation.GetEpoch(), refutation.GetTrial())
		var text string
		if refutation.GetDeclaration() == trellisv1.Declaration_DECLARATION_PREFIX {
			text = fmt.Sprintf("The program's results depend on max_epochs: %s, %s with max_epochs %d and %s with max_epochs %d. "+
				"Trials with a smaller max_epochs do not have the results that it would give. To get them, submit the spec "+
				"under another name with prefix: false.", place,
				reported(name, first, nil), first.GetMaxEpochs(), reported(name, other, first), other.GetMaxEpochs())
		} else {
			text = fmt.Sprintf("The program is not deterministic: %s, %s. The study keeps the first results, and audits no "+
				"more. Set deterministic: false in specs of this program.", place, byWorkers(name, first, other))
		}
		if others := refutation.GetStudies(); len(others) > 0 {
			text += fmt.Sprintf(" Other studies shared its runs: %s.", strings.Join(others, ", "))
		}
		texts = append(texts, text)
	}
	return texts
}

// IsDeterministic says whether training a study again would give the same results, as far as is known.
func IsDeterministic(study *trellisv1.Study) bool {
	program := study.GetSpec().GetProgram()
	return program == nil || program.GetDeterministic() && !slices.ContainsFunc(study.GetRefuted(),
		func(r *trellisv1.Refutation) bool {
			return r.GetDeclaration() == trellisv1.Declaration_DECLARATION_DETERMINISTIC
		})
}

// WriteRefuted writes what Refuted says, a paragraph each, with an empty line before it.
func WriteRefuted(out io.Writer, study *trellisv1.Study) error {
	for _, text := range Refuted(study) {
		if _, err := fmt.Fprintf(out, "\n%s\n", text); err != nil {
			return err
		}
	}
	return nil
}

// RefutedWords are the declarations that audits have refuted, separated by spaces.
func RefutedWords(study *trellisv1.Study) string {
	var words []string
	for _, refutation := range study.GetRefuted() {
		words = append(words, output.EnumWord(refutation.GetDeclaration()))
	}
	return strings.Join(words, " ")
}

// contrast returns the training that is recorded, and the last one that reported something else.
func contrast(refutation *trellisv1.Refutation) (first, other *trellisv1.Retraining) {
	trainings := refutation.GetTrainings()
	if len(trainings) == 0 {
		return nil, nil
	}
	first, other = trainings[0], trainings[len(trainings)-1]
	for _, training := range slices.Backward(trainings) {
		if differs(first, training) {
			return first, training
		}
	}
	return first, other
}

func differs(a, b *trellisv1.Retraining) bool {
	for name := range a.GetValues() {
		if valueOf(name, a) != valueOf(name, b) {
			return true
		}
	}
	return a.GetEnded() != b.GetEnded() || len(a.GetValues()) != len(b.GetValues())
}

// metricOf returns a metric in which trainings differ: that of the objective, if it is one.
func metricOf(study *trellisv1.Study, trainings ...*trellisv1.Retraining) string {
	var names []string
	for _, training := range trainings {
		for name := range training.GetValues() {
			if slices.ContainsFunc(trainings, func(other *trellisv1.Retraining) bool {
				return valueOf(name, other) != valueOf(name, training)
			}) {
				names = append(names, name)
			}
		}
	}
	ranked := objective.Metric(objective.Of(study.GetSpec()))
	if len(names) == 0 || slices.Contains(names, ranked) {
		return ranked
	}
	return slices.Min(names)
}

// valueOf is the value of a metric with all digits, empty if there is none.
func valueOf(name string, training *trellisv1.Retraining) string {
	value, has := training.GetValues()[name]
	if !has {
		return ""
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}

// byWorkers says what two trainings reported of a metric, and where.
func byWorkers(name string, first, other *trellisv1.Retraining) string {
	before, after := workerOn(first.GetWorker(), first.GetMachine()), workerOn(other.GetWorker(), other.GetMachine())
	if before == after {
		return fmt.Sprintf("%s and then %s on %s%s", reported(name, first, nil), reported(name, other, first), after,
			resumed(other))
	}
	return fmt.Sprintf("%s on %s and %s on %s%s", reported(name, first, nil), before, reported(name, other, first), after,
		resumed(other))
}

// reported says what a training reported of a metric, after what another one did, if that is not nil.
func reported(name string, training, after *trellisv1.Retraining) string {
	value, said := valueOf(name, training), after != nil && !after.GetEnded() && valueOf(name, after) != ""
	switch {
	case training.GetEnded():
		return "the program had ended"
	case value == "":
		return name + " was not reported"
	case said:
		return value
	}
	return name + " was " + value
}

// resumed says which checkpoint a training resumed from, if it did.
func resumed(training *trellisv1.Retraining) string {
	if training.GetAfter() == 0 {
		return ""
	}
	return fmt.Sprintf(" after it resumed from a checkpoint of epoch %d", training.GetAfter())
}
