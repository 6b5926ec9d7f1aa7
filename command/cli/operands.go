package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trellis/results/spelling"
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
	near, what := spelling.Nearest(args[0], names), "must be one of "+strings.Join(names, ", ")
	if len(near) > 0 {
		what = fmt.Sprintf(`did you mean "%s"?`, strings.Join(near, `" or "`))
	}
	return fmt.Errorf("unknown command %q: %s", cmd.Name()+" "+args[0], what)
}

// Operands checks that a command is given what its usage names, each once.
func Operands(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s needs %s %s", cmd.Name(), article(names[len(args)]), names[len(args)])
		case len(args) > len(names) && len(names) == 0:
			return fmt.Errorf("%s takes no arguments, got %q", cmd.Name(), args[0])
		case len(args) > len(names):
			return fmt.Errorf("%s takes one %s, got %q too", cmd.Name(), names[len(names)-1], args[len(names)])
		default:
			return nil
		}
	}
}

// article is the indefinite one of an operand's name.
func article(name string) string {
	if strings.ContainsAny(name[:1], "AEIO") {
		return "an"
	}
	return "a"
}
