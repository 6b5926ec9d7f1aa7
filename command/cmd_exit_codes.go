package command

import (
	"github.com/spf13/cobra"

	"trellis/command/exit"
)

// exitCodesCommand is a help topic.
func exitCodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "Exit codes",
		Long:  exit.Help,
	}
}
