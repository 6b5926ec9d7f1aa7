package configuration

import (
	"fmt"
	"strings"

	wrap "github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// Topic is the help topic on the settings of all commands below root, which has them.
func Topic(root *cobra.Command) *cobra.Command {
	var text strings.Builder
	text.WriteString(`A flag that a command line leaves out takes its value from the environment, or else from a configuration
file. The first of these that sets it counts:

    1. the flag:               trellis best paper --coordinator host:7070
    2. the variable:           export TRELLIS_COORDINATOR=host:7070
    3. the file:               coordinator: host:7070
    4. the flag's default

The file is YAML. Its keys are flags without their hyphens in front, and count for every command that has the flag:

    coordinator: a:7070,b:7070,c:7070
    wait: 2m
    output: json

It is config.yaml in the folder trellis of the user's configuration folder: $XDG_CONFIG_HOME or ~/.config on Linux,
~/Library/Application Support on macOS. --config or TRELLIS_CONFIG names another one; if empty, none is read. A key that no
command knows and a value that a flag would refuse are errors, which name their place.

These are the settings, each with its variable and the commands that have it:
`)
	for _, s := range settings(root) {
		fmt.Fprintf(&text, "\n    %-20s %s\n", s.name, Variable(s.name))
		fmt.Fprintf(&text, "        %s\n", s.usage)
		for line := range strings.SplitSeq(wrap.WrapSoft("For "+strings.Join(s.commands, ", "), 100), "\n") {
			fmt.Fprintf(&text, "        %s\n", strings.TrimSpace(line))
		}
	}
	return &cobra.Command{
		Use: "configuration", Short: "Set flags by variables and a file", Long: strings.TrimSuffix(text.String(), "\n"),
	}
}
