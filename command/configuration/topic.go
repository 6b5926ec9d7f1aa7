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
	text.WriteString(`Flags can also be set by environment variables and in a configuration file. The first of these that sets a
flag takes precedence:

    1. the flag:               trellis best paper --coordinator host:7070
    2. the variable:           export TRELLIS_COORDINATOR=host:7070
    3. the file:               coordinator: host:7070
    4. the flag's default

The file is YAML. Its keys are the names of flags without the leading hyphens. A key applies to every command that has
the flag:

    coordinator: a:7070,b:7070,c:7070
    wait: 2m
    output: json

The default file is trellis/config.yaml in the user's configuration folder: $XDG_CONFIG_HOME or ~/.config on Linux,
~/Library/Application Support on macOS. To use another file, set --config or TRELLIS_CONFIG; to use none, set it to an
empty string. Unknown keys and invalid values are errors.

A token itself can be set in the variable TRELLIS_TOKEN, instead of a file of --token-file or a certificate of
--certificate. Of these, too, the flag wins over the variable, and the variable over the file.

These are the settings, with their variables and the commands that use them:
`)
	for _, s := range settings(root) {
		fmt.Fprintf(&text, "\n    %-20s %s\n", s.name, Variable(s.name))
		fmt.Fprintf(&text, "        %s\n", s.usage)
		for line := range strings.SplitSeq(wrap.WrapSoft("Used by: "+strings.Join(s.commands, ", "), 100), "\n") {
			fmt.Fprintf(&text, "        %s\n", strings.TrimSpace(line))
		}
	}
	return &cobra.Command{
		Use: "configuration", Short: "Set flags by environment variables or a " +
			"file", Long: strings.TrimSuffix(text.String(), "\n"),
	}
}
