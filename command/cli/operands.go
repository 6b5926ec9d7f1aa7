package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/output"
)

// UnknownSubcommand refuses a word that is none of a command's commands.
func UnknownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, command := range cmd.Commands() {
		names = append(names, command.Name())
	}
	return fmt.Errorf("%s has no command %q: there are %s", cmd.Name(), args[0], output.Enumerate(names))
}

// Operands checks that a command is given what its usage names, each once.
func Operands(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s needs a %s", cmd.Name(), names[len(args)])
		case len(args) > len(names) && len(names) == 0:
			return fmt.Errorf("%s takes no arguments, got %q", cmd.Name(), args[0])
		case len(args) > len(names):
			return fmt.Errorf("%s takes one %s, got %q too", cmd.Name(), names[len(names)-1], args[len(names)])
		default:
			return nil
		}
	}
}
