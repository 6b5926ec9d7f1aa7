package doctor

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/output"
)

func init() { cli.Register(cli.Cluster, 45, Command) }

// Command is trellis doctor.
func Command(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check a machine or a cluster, and say what to mend",
		Long: `Check this machine and, with --coordinator, a cluster. Each check writes one line: ok, warning or fault, what was found,
and what to do about it.

Of the machine: the data directory, how much of its disk is free and how fast it writes, open files, cores, memory, and
whether the addresses to listen on are free. With --programs, what programs in Python need. For a worker's machine, add
--no-data. With --coordinator, the data directory and the addresses are checked only if they are named: the machine may be any.

Of the cluster: whether each node can be reached, is in touch with the leader and has room on its disk, how its clock
differs from this machine's, how long certificates are valid, and what is wrong with workers. To check a worker's clock, run
doctor on its machine.

The exit code is 0 if there is no fault, warnings or not, and 1 if there is one.`,
		Example: `  trellis doctor --data /var/lib/trellis --listen :7070 --http :8080
  trellis doctor --coordinator a:7070,b:7070,c:7070 --authority authority.crt --token-file my.token
  trellis doctor --no-data --programs --coordinator a:7070   # on a worker's machine`,
		Args: cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, clusterWait), cli.OutputFlag(cmd)
	m := thisMachine()
	flags := cmd.Flags()
	flags.StringVar(&m.data, "data", "", "a coordinator's data `folder` (default trellis in the user's data folder)")
	elsewhere := flags.Bool("no-data", false, "check no data directory and no --listen: this is not a coordinator's machine")
	flags.StringVar(&m.listen, "listen", client.DefaultAddress, "`address` that a coordinator here is to listen on")
	flags.StringVar(&m.http, "http", "", "`address` to serve the web page on")
	flags.StringVar(&m.metrics, "metrics", "", "`address` to serve metrics on")
	flags.BoolVar(&m.programs, "programs", false, "also check what programs in Python need")
	flags.StringVar(&m.root, "machine-root", "/", "`folder` in which /proc and /sys are looked for")
	_ = flags.MarkHidden("machine-root") // For tests. It fails only if there is no such flag.
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := cli.Interruptible(cmd.Context())
		defer stop()
		given := func(flag string) bool { return configuration.OriginOf(cmd, flag) > 0 }
		if err := m.complete(*elsewhere, given); err != nil {
			return err
		}
		findings := m.check(ctx)
		if given("coordinator") {
			findings = append(findings, checkCluster(ctx, env, options)...)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := writeFindings(env.Out, *format, findings); err != nil {
			return fmt.Errorf("write the findings: %w", err)
		}
		faults := slices.DeleteFunc(findings, func(f finding) bool { return f.State != fault })
		if len(faults) > 0 {
			return fmt.Errorf("found %s", output.Count(uint64(len(faults)), "fault"))
		}
		return nil
	}
	return cmd
}

// complete fills in what is checked by default. given says whether a flag is set.
func (m *machine) complete(elsewhere bool, given func(flag string) bool) (err error) {
	if elsewhere && m.data != "" {
		return exit.Usagef("--data cannot be combined with --no-data")
	}
	if elsewhere || given("coordinator") && !given("listen") {
		m.listen = ""
	}
	if m.data == "" && !elsewhere && !given("coordinator") {
		if m.data, err = node.DefaultDirectory(); err != nil {
			return exit.Usagef("%w: choose a folder with --data, or check none with --no-data", err)
		}
	}
	return nil
}
