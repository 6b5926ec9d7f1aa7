package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/output"
)

// OutputFlag adds --output with the formats that most commands have, a table by default.
func OutputFlag(cmd *cobra.Command) *output.Format {
	return formatFlag(cmd, "format", output.Table, output.JSON, output.YAML, output.CSV)
}

// FormatFlag adds --output with the formats that a command has instead. The first is the default. What is configured for most
// commands does not hold for it.
func FormatFlag(cmd *cobra.Command, formats ...output.Format) *output.Format {
	names := make([]string, len(formats))
	for i, name := range formats {
		names[i] = string(name)
	}
	return formatFlag(cmd, strings.Join(names, "|"), formats...)
}

func formatFlag(cmd *cobra.Command, kind string, formats ...output.Format) *output.Format {
	format := formats[0]
	names := make([]string, len(formats))
	for i, name := range formats {
		names[i] = string(name)
	}
	cmd.Flags().VarP(choice[output.Format]{&format, formats, kind}, "output", "o",
		"format of the results: "+output.Alternatives(names))
	Complete(cmd, "output", names...)
	return &format
}
