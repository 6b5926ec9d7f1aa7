package describe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// waitingMessage is how much of an error is written, in bytes.
const waitingMessage = 500

// WaitingFor says what is missing to train a study, and what to do about it, or nothing if it has all it needs. It
// follows "waits for".
func WaitingFor(study *trellisv1.Study) string {
	why, name := study.GetWaitingFor(), study.GetDataSet().GetName()
	switch why.GetReason() {
	case trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED:
		return ""
	case trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED:
		return fmt.Sprintf("its data set: %s has changed since the study was created. Restore its files, or cancel the study "+
			"and submit it under another name", name)
	case trellisv1.WaitingReason_WAITING_REASON_WEIGHTS_MISSING:
		return fmt.Sprintf("its pretrained weights: the coordinator can't use %s: %s. Start the coordinator with the "+
			"artifacts (--artifacts) that have them, or cancel the study", weightsOf(study.GetPretrained()),
			output.Shorten(why.GetMessage(), waitingMessage))
	case trellisv1.WaitingReason_WAITING_REASON_FILES_MISSING:
		return fmt.Sprintf("its program's files: the coordinator can't use artifact %s: %s. Start the coordinator with the "+
			"artifacts (--artifacts) that have them, or cancel the study and submit it under another name",
			study.GetSpec().GetProgram().GetFiles().GetSha256(), output.Shorten(why.GetMessage(), waitingMessage))
	case trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS:
		return "a worker that runs programs: start one with trellis worker --programs"
	case trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE:
		if study.GetSpec().GetProgram() == nil {
			return fmt.Sprintf("a worker with %s%s. See trellis workers for what there is", Memory(why.GetMemory()), largest(why))
		}
		return fmt.Sprintf("a worker that has what a run needs: %s. See trellis workers for what there is",
			Resources(study.GetSpec()))
	case trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING:
		labels := study.GetSpec().GetWorkers()
		if len(labels) == 0 {
			return "a worker: those that are connected are for other studies alone (--study). Start one without that: trellis worker"
		}
		return fmt.Sprintf("a worker with the labels %s: start one with trellis worker%s. See trellis workers for what there is",
			Labels(labels), labelFlags(labels))
	case trellisv1.WaitingReason_WAITING_REASON_ANOTHER_MACHINE:
		return fmt.Sprintf("a worker on another machine: workers reported different losses for the same epoch, and a third "+
			"training must decide. Start a worker on another machine, or drop the epochs and train them again: trellis "+
			"retry %s", study.GetName())
	default:
		return fmt.Sprintf("its data set: the coordinator can't use %s: %s. Restore its files, or start the coordinator with "+
			"the --data-sets folder that has them", name, output.Shorten(why.GetMessage(), waitingMessage))
	}
}

// Memory says what a run of a model needs that no worker has.
func Memory(bytes uint64) string {
	return output.ShortBytes(bytes) + " of memory, for a run of the largest network and its data"
}

// largest says what the largest worker has, where that is known.
func largest(why *trellisv1.WaitingFor) string {
	if why.GetLargestMemory() == 0 {
		return ""
	}
	has := output.ShortBytes(why.GetLargestMemory())
	if has == output.ShortBytes(why.GetMemory()) {
		has = "a little less"
	}
	return "; the largest worker that may train it has " + has
}

// weightsOf names pretrained weights.
func weightsOf(source *trellisv1.Source) string {
	if source.GetStudy() == "" {
		return "checkpoint " + source.GetSha256()
	}
	return fmt.Sprintf("those of trial %d of study %s", source.GetTrial(), source.GetStudy())
}

// waitingWord is what a study waits for, in one word.
func waitingWord(study *trellisv1.Study) string {
	if study.GetWaitingFor() == nil {
		return ""
	}
	return output.EnumWord(study.GetWaitingFor().GetReason())
}

// Labels are labels in one line, by name.
func Labels(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, " ")
}

// labelFlags are the flags of a worker that has the labels.
func labelFlags(labels map[string]string) (flags string) {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		flags += " --label " + name + "=" + labels[name]
	}
	return flags
}
