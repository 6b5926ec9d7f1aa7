package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// NameValues takes the names of flags' values, which stand between backquotes in their texts, out of them: completions and man
// pages show the texts as they are.
func NameValues(cmd *cobra.Command) {
	name := func(flag *pflag.Flag) {
		if value, text := pflag.UnquoteUsage(flag); text != flag.Usage {
			flag.Usage, flag.Value = text, namedValue{flag.Value, value}
		}
	}
	cmd.PersistentFlags().VisitAll(name)
	cmd.Flags().VisitAll(name)
	for _, child := range cmd.Commands() {
		NameValues(child)
	}
}

// namedValue is the value of a flag, with a name for it in help texts.
type namedValue struct {
	pflag.Value
	name string
}

// Type is what the help text calls the value.
func (v namedValue) Type() string { return v.name }
