package cli

import (
	"github.com/spf13/cobra"

	"trellis/command/output"
)

// OutputFlag adds --output.
func OutputFlag(cmd *cobra.Command) *output.Format {
	format := output.Table
	cmd.Flags().VarP(&format, "output", "o", "form of the results: table, json, yaml or csv")
	Complete(cmd, "output", output.FormatNames...)
	return &format
}
