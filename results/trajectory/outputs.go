package trajectory

import (
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// MaxOutputs is how many attempts' output a run keeps.
const MaxOutputs = 32

// WithOutput returns a run's outputs with that of another attempt added. If there are too many, the earliest is dropped.
func WithOutput(run *trellisv1.Run, output *trellisv1.Output) []*trellisv1.Output {
	outputs := slices.Clone(run.Outputs) // Rows share it.
	if len(outputs) >= MaxOutputs {
		outputs = slices.Delete(outputs, 0, len(outputs)-MaxOutputs+1)
	}
	return append(outputs, &trellisv1.Output{
		Attempt: output.GetAttempt(), Worker: strings.Clone(output.GetWorker()), Sha256: strings.Clone(output.GetSha256()),
		Size: output.GetSize(), Length: output.GetLength(), Omitted: output.GetOmitted(), Head: output.GetHead(),
	})
}

// OutputOf returns the output of an attempt at a run, or nil if it is not kept.
func OutputOf(run *trellisv1.Run, attempt uint64) *trellisv1.Output {
	for _, output := range run.GetOutputs() {
		if output.GetAttempt() == attempt {
			return output
		}
	}
	return nil
}
