package answer

import (
	"github.com/spf13/cobra"

	"trellis/command/exit"
)

// confidenceFlag adds --confidence.
func confidenceFlag(cmd *cobra.Command, confidence *float64) {
	cmd.Flags().Float64Var(confidence, "confidence", 0,
		"confidence level of the comparison, from 0.5 to 0.9999 (default that of the spec's settle, else 0.95)")
}

// checkConfidence refuses a confidence that cannot be asked for.
func checkConfidence(cmd *cobra.Command, confidence float64) error {
	if cmd.Flags().Changed("confidence") && !(0.5 <= confidence && confidence <= 0.9999) {
		return exit.Usagef("invalid argument \"%v\" for --confidence: must be between 0.5 and 0.9999, for example "+
			"0.95", confidence)
	}
	return nil
}
