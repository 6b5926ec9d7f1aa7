package command

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trellis/command/cli"
	"trellis/command/configuration"
)

// The topic names every setting, and each with one meaning wherever it is: TRELLIS_OUTPUT must not be a format for one command
// and a file for another.
func TestConfigurationTopic(t *testing.T) {
	help, _, code := trellis(t, "help", "configuration")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{"TRELLIS_COORDINATOR", "TRELLIS_OUTPUT", "TRELLIS_WAIT", "TRELLIS_LOG_LEVEL", "TRELLIS_QUIET"} {
		if !strings.Contains(help, want) {
			t.Errorf("no %s in\n%s", want, help)
		}
	}
	kinds := make(map[string]string)
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		command.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if !configuration.IsSetting(flag) {
				return
			}
			if !strings.Contains(help, " "+configuration.Variable(flag.Name)+"\n") {
				t.Errorf("--%s of %s is not in the topic", flag.Name, command.CommandPath())
			}
			kind := flag.Value.Type() + " " + flag.Shorthand
			if before, ok := kinds[flag.Name]; ok && before != kind {
				t.Errorf("--%s of %s is a %q, elsewhere a %q", flag.Name, command.CommandPath(), kind, before)
			}
			kinds[flag.Name] = kind
		})
		for _, child := range command.Commands() {
			visit(child)
		}
	}
	visit(rootCommand(&cli.Environment{}))
	if len(kinds) < 10 {
		t.Errorf("found settings %v", kinds)
	}
}
