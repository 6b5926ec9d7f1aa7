package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"trellis/command/cli"
	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/command/output"
	"trellis/worker/supervisor"

	// The rooms that have commands: see cli.Register.
	_ "trellis/command/answer"
	_ "trellis/command/certificates"
	_ "trellis/command/cluster"
	_ "trellis/command/credentials"
	_ "trellis/command/data"
	_ "trellis/command/doctor"
	_ "trellis/command/export"
	_ "trellis/command/hooks"
	_ "trellis/command/launch"
	_ "trellis/command/search"
	_ "trellis/command/studies"
)

// init keeps gRPC's own log to errors. With GRPC_GO_LOG_SEVERITY_LEVEL=warning it writes the content of a private key that does
// not fit its certificate for a moment, while both are being replaced.
func init() { grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr)) }

// Run executes one command line, without the program's name, and returns its exit code. Results go to stdout,
// everything else to stderr.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if supervisor.Supervising() {
		return supervisor.Main()
	}
	env := &cli.Environment{In: stdin, Out: stdout, Err: stderr, Log: stderr, Version: version()}
	// started says that the command line was understood and its command runs.
	started := false
	root := rootCommand(env)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := cli.CheckRequired(cmd); err != nil {
			return err
		}
		started = true
		if err := configuration.Apply(cmd); err != nil {
			return err
		}
		if quiet, _ := root.PersistentFlags().GetBool("quiet"); quiet {
			env.Err = io.Discard
		}
		for _, mistyped := range configuration.Mistyped(root) {
			fmt.Fprintf(env.Err, "trellis: %s\n", mistyped)
		}
		return nil
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		err = exit.Usagef("%w\nTry: %s --help", err, command.CommandPath())
	}
	if err != nil {
		fmt.Fprintf(output.Printable(stderr), "trellis: %s\n", exit.Text(err))
	}
	return exit.Code(err)
}

// Root is the tree of all commands, for whoever writes about them.
func Root() *cobra.Command { return rootCommand(&cli.Environment{Version: version()}) }

// Commands are listed in the order in which they are used. Cobra has this for the whole process only.
func init() { cobra.EnableCommandSorting = false }

func rootCommand(env *cli.Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "trellis",
		Short: "Distributed grid search for autoencoders",
		Long: `Trellis trains every point of a hyperparameter grid once, on one machine or on a cluster, and shows which
is best.

On one machine:     trellis run examples/quick.yaml
On a cluster:       trellis coordinator --listen :7070 --insecure
                    trellis worker --coordinator HOST:7070 --insecure        (on each machine)
                    trellis submit --coordinator HOST:7070 --insecure --watch examples/paper.yaml
With TLS:           trellis certificates --help`,
		Version:       env.Version,
		Args:          unknownCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cli.AddCommands(root, env)
	root.AddCommand(versionCommand(env), exitCodesCommand())
	configuration.AddFlag(root)
	root.PersistentFlags().BoolP("quiet", "q", false, "write only results and errors, no notices or progress")
	root.AddCommand(configuration.Topic(root))
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(cli.FlagError)
	cli.NameValues(root)
	refuseUnknownTopics(root)
	return root
}

// unknownCommand says which command was likely meant, when the first word is none.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// Cobra asks for this distance itself only where it words the error too.
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf(`unknown command %q: did you mean "%s"?`, args[0], strings.Join(near, `" or "`))
	}
	// There are too many to list them.
	return fmt.Errorf("unknown command %q", args[0])
}

// refuseUnknownTopics makes trellis help an error for what is no command, instead of the help of the nearest parent.
func refuseUnknownTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil || help == root {
		return
	}
	help.Args = func(_ *cobra.Command, args []string) error {
		command, rest, err := root.Find(args)
		switch {
		case err != nil || len(rest) == 0:
			return err
		case command == root:
			return unknownCommand(root, rest)
		}
		if !command.HasAvailableSubCommands() {
			return fmt.Errorf("unknown command %q: to read about %s: trellis help %s", strings.Join(args, " "),
				command.Name(), strings.Join(args[:len(args)-len(rest)], " "))
		}
		return cli.UnknownSubcommand(command, rest)
	}
}
