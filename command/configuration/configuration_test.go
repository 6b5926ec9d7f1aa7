package configuration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/exit"
)

// run runs a command with some flags, and returns what they are set to.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := &cobra.Command{
		Use: "trellis", SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return Apply(cmd) },
	}
	AddFlag(root)
	root.PersistentFlags().Bool("quiet", false, "write less")
	var told string
	cmd := &cobra.Command{Use: "ask"}
	address := cmd.Flags().String("coordinator", "localhost", "an `address`")
	wait := cmd.Flags().Duration("wait", time.Second, "how long to wait")
	level := cmd.Flags().Int("log-level", 0, "a level")
	name := cmd.Flags().String("name", "none", "a name")
	cmd.Run = func(cmd *cobra.Command, _ []string) {
		told = fmt.Sprintf("%s %v %d %s %v %v", *address, *wait, *level, *name, cmd.Flags().Changed("wait"), Given(cmd, "wait"))
	}
	other := &cobra.Command{Use: "other", Run: cmd.Run}
	other.Flags().Bool("watch", false, "watch it")
	root.AddCommand(cmd, other, Topic(root))
	root.SetArgs(args)
	return told, root.ExecuteContext(t.Context())
}

func TestPrecedence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte("# mine\ncoordinator: file:1\nwait: 2m\nwatch: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, file, address, args, want string
	}{
		{"nothing", "", "", "", "localhost 1s 0 none false false"},
		{"file", path, "", "", "file:1 2m0s 0 none true false"},
		{"variable", path, "variable:1", "", "variable:1 2m0s 0 none true false"},
		{"flags", path, "variable:1", "--coordinator flag:1 --wait 3s", "flag:1 3s 0 none true true"},
		{"file by a flag", "/nosuch/file", "", "--config " + path, "file:1 2m0s 0 none true false"},
		{"no file", path, "", "--config=", "localhost 1s 0 none false false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(FileVariable, test.file)
			t.Setenv("TRELLIS_COORDINATOR", test.address)
			t.Setenv("TRELLIS_NAME", "no setting")
			got, err := run(t, append([]string{"ask"}, strings.Fields(test.args)...)...)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// What is not named must not be there.
func TestDefaultFile(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", folder)
	t.Setenv("HOME", folder)
	t.Setenv(FileVariable, "")
	os.Unsetenv(FileVariable)
	if got, err := run(t, "ask"); err != nil || !strings.HasPrefix(got, "localhost ") {
		t.Errorf("without a file: %q, %v", got, err)
	}
	path := DefaultFile()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("coordinator: mine:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, "ask"); err != nil || !strings.HasPrefix(got, "mine:1 ") {
		t.Errorf("with one: %q, %v", got, err)
	}
	if _, err := run(t, "ask", "--config", filepath.Join(folder, "nosuch")); exit.Code(err) != exit.Usage {
		t.Errorf("a file that is named and not there: %v", err)
	}
}

// Whatever is wrong with a setting, its place is named.
func TestWrongSettings(t *testing.T) {
	for _, test := range []struct{ text, variable, want string }{
		{"coordinatr: x:1\n", "", "x.yaml:1:1: unknown setting \"coordinatr\": did you mean \"coordinator\"?\n    1 | coordinatr: x:1\n"},
		{"\nlog_level: 1\n", "", "x.yaml:2:1: unknown setting \"log_level\": did you mean \"log-level\"?"},
		{"name: x\n", "", "x.yaml:1:1: unknown setting \"name\""},
		{"wait: soon\n", "", "x.yaml:1:7: invalid value \"soon\" for wait: must be a duration such as 30s, 5m or 1h30m\n    1 | wait: soon\n"},
		{"log-level: high\n", "", "x.yaml:1:12: invalid value \"high\" for log-level: must be a whole number"},
		{"wait: 1s\nwait: 2s\n", "", "x.yaml:2:1: wait is given twice, first on line 1"},
		{"wait: [1s]\n", "", "x.yaml:1:7: expected a value for wait"},
		{"- wait\n", "", "x.yaml:1:1: expected settings, for example coordinator: host:7070"},
		{"wait: [\n", "", "x.yaml:1: this is not valid YAML"},
		{"quiet: maybe\n", "", "x.yaml:1:8: invalid value \"maybe\" for quiet: must be true or false"},
		{"no-descriptions: true\n", "", "x.yaml:1:1: unknown setting \"no-descriptions\""},
		{"", "soon", "invalid value \"soon\" for TRELLIS_WAIT: must be a duration such as 30s, 5m or 1h30m"},
		{"wait: 1s\n", "soon", "invalid value \"soon\" for TRELLIS_WAIT: "},
	} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("x.yaml", []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(FileVariable, "x.yaml")
		t.Setenv("TRELLIS_WAIT", test.variable)
		if _, err := run(t, "ask"); err == nil || !strings.HasPrefix(err.Error(), test.want) || exit.Code(err) != exit.Usage {
			t.Errorf("%q: got %v\nwant %s", test.text, err, test.want)
		}
	}
	// A setting of another command is none of this one's business.
	t.Setenv("TRELLIS_WAIT", "soon")
	if _, err := run(t, "other"); err != nil {
		t.Error(err)
	}
}

// A variable that was probably meant as a setting is named, with the setting; those of others are not.
func TestMistyped(t *testing.T) {
	for _, test := range []struct{ variable, want string }{
		{"TRELLIS_COORDINATER", "unknown variable TRELLIS_COORDINATER is ignored: did you mean TRELLIS_COORDINATOR?"},
		{"TRELLIS_LOGLEVEL", "unknown variable TRELLIS_LOGLEVEL is ignored: did you mean TRELLIS_LOG_LEVEL?"},
		{"TRELLIS_CONFIGG", "unknown variable TRELLIS_CONFIGG is ignored: did you mean TRELLIS_CONFIG?"},
		{"TRELLIS_WAIT", ""},
		{"TRELLIS_TOKEN", ""},
		{"TRELLIS_PARAM_WAITS", ""},
		{"TRELLIS_SERVICE_HOST", ""},
		{"TRELLIS_COORDINATOR_SERVICE_HOST", ""},
		{"TRELLIS_PORT_7070_TCP", ""},
	} {
		t.Run(test.variable, func(t *testing.T) {
			t.Setenv(test.variable, "x")
			root := &cobra.Command{Use: "trellis"}
			cmd := &cobra.Command{Use: "ask", Run: func(*cobra.Command, []string) {}}
			for _, name := range []string{"coordinator", "wait", "log-level", "lease", "slots", "output"} {
				cmd.Flags().String(name, "", "")
			}
			root.AddCommand(cmd)
			if got := strings.Join(Mistyped(root), "; "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
