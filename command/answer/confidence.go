package answer

import (
	"github.com/spf13/cobra"

	"trellis/command/exit"
)

// confidenceFlag adds --confidence.
func confidenceFlag(cmd *cobra.Command, confidence *float64) {
	cmd.Flags().Float64Var(confidence, "confidence", 0,
		"how sure the answer is to be, from 0.5 to 0.9999 (default that of the spec's settle, else 0.95)")
}

// checkConfidence refuses a confidence that cannot be asked for.
func checkConfidence(cmd *cobra.Command, confidence float64) error {
	if cmd.Flags().Changed("confidence") && !(0.5 <= confidence && confidence <= 0.9999) {
		return exit.Usagef("--confidence takes a number from 0.5 to 0.9999, for example 0.95, not %v", confidence)
	}
	return nil
}
