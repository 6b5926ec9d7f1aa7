package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"trellis/results/grid"
)

// DefaultAddress is where a coordinator listens and where clients and workers look for it.
const DefaultAddress = "127.0.0.1:7070"

// addressVariable names the environment variable that replaces DefaultAddress for clients and workers.
const addressVariable = "TRELLIS_COORDINATOR"

// errInterrupted means that a signal has ended the command.
var errInterrupted = errors.New("interrupted")

// commandLine is what a command gets from whoever started it.
type commandLine struct {
	// Results go to stdout, everything else to stderr.
	stdin          io.Reader
	stdout, stderr io.Writer
	// version is that of this binary.
	version string
}

// Run executes one command line, without the program's name, and returns its exit code. Results go to stdout, everything
// else to stderr.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cli := &commandLine{stdin: stdin, stdout: stdout, stderr: stderr, version: version()}
	// started says that the command line was understood and its command runs.
	started := false
	root := cli.rootCommand()
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		err = usageErrorf("%w\nTry: %s --help", err, command.CommandPath())
	}
	if err != nil {
		fmt.Fprintf(stderr, "trellis: %s\n", errorText(err))
	}
	return exitCode(err)
}

// Commands are listed in the order in which they are used. Cobra has this for the whole process only.
func init() { cobra.EnableCommandSorting = false }

func (cli *commandLine) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "trellis",
		Short: "Distributed grid search for autoencoders",
		Long: `Trellis trains every point of a grid of hyperparameters once, on one machine or on a cluster, and says
which is best.

On one machine:     trellis run examples/quick.yaml
On a cluster:       trellis coordinator --listen :7070 --insecure
                    trellis worker --coordinator HOST:7070        (on each machine)
                    trellis submit --coordinator HOST:7070 --watch examples/paper.yaml`,
		Version:       cli.version,
		Args:          unknownCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: groupSearch, Title: "Search:"},
		&cobra.Group{ID: groupAnswer, Title: "Answers:"},
		&cobra.Group{ID: groupCluster, Title: "Cluster:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	add(groupSearch, cli.runCommand(), cli.submitCommand(), cli.studiesCommand(), cli.watchCommand(),
		cli.reproduceCommand())
	add(groupAnswer, cli.bestCommand(), cli.configurationsCommand(), cli.trialsCommand(), cli.reportCommand(),
		cli.importanceCommand(), cli.suggestCommand(), cli.modelCommand())
	add(groupSearch, cli.modelsCommand())
	add(groupSearch, cli.extendCommand(), cli.retryCommand())
	add(groupSearch, cli.pauseCommand(), cli.resumeCommand(), cli.cancelCommand(), cli.deleteCommand())
	add(groupCluster, cli.coordinatorCommand(), cli.workerCommand(), cli.workersCommand(), cli.clusterCommand(),
		cli.backupCommand(), cli.restoreCommand())
	root.AddCommand(cli.versionCommand(), exitCodesCommand())
	root.SetVersionTemplate("{{.Version}}\n")
	return root
}

// The groups of commands in the help text.
const (
	groupSearch  = "search"
	groupAnswer  = "answer"
	groupCluster = "cluster"
)

// unknownCommand says which command was likely meant, when the first word is none.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, command := range root.Commands() {
		names = append(names, command.Name())
	}
	if near := grid.Nearest(args[0], names); near != "" {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], near)
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// operands checks that a command is given what its usage names, each once.
func operands(names ...string) cobra.PositionalArgs {
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

// interruptible returns a context that SIGINT and SIGTERM cancel, with errInterrupted as its cause.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
