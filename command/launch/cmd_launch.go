package launch

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/command/output"
)

func init() { cli.Register(cli.Cluster, 25, LaunchCommand) }

// LaunchCommand is trellis launch.
func LaunchCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "launch",
		Short: "Start workers as jobs of a scheduler",
		Long: `Start workers as jobs of a scheduler, which places, limits and restarts them. What is known about a launch is what the
scheduler knows: there is no file to lose.`,
		Example: `  trellis launch slurm --count 50 --slots 4 --partition gpu --gpus 1 --time 4h
  trellis launch status
  trellis launch scale workers 100
  trellis launch stop workers`,
		Args: cli.UnknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(slurmCommand(env), statusCommand(env), scaleCommand(env), stopCommand(env))
	return cmd
}

func statusCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List launches and how many of their workers there are",
		Long: `List your launches that have jobs in Slurm's queue, with how many workers are queued, running and ending. trellis workers
lists those that are connected.`,
		Example: `  trellis launch status
  trellis launch status -o json`,
		Args: cli.Operands(),
	}
	format := cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := cli.Interruptible(cmd.Context())
		defer stop()
		return writeStatus(ctx, env, slurm{}, *format)
	}
	return cmd
}

// count is how many jobs a launch has. Its field names are those of -o json, yaml and csv.
type count struct {
	Name    string `json:"name" yaml:"name"`
	Queued  int    `json:"queued" yaml:"queued"`
	Running int    `json:"running" yaml:"running"`
	Ending  int    `json:"ending" yaml:"ending"`
}

// counted are the launches that have jobs, by name.
func counted(jobs []job) []count {
	launches := map[string][3]int{}
	for _, job := range jobs {
		phases := launches[job.launch]
		phases[job.phase]++
		launches[job.launch] = phases
	}
	counts := []count{} // Not null in JSON.
	for _, name := range slices.Sorted(maps.Keys(launches)) {
		phases := launches[name]
		counts = append(counts, count{name, phases[queued], phases[running], phases[ending]})
	}
	return counts
}

// writeStatus writes how many jobs each launch has.
func writeStatus(ctx context.Context, env *cli.Environment, s scheduler, format output.Format) error {
	jobs, err := unended(ctx, s, "")
	if err != nil {
		return err
	}
	counts := counted(jobs)
	switch format {
	case output.JSON, output.YAML:
		return output.WriteDocument(env.Out, format, struct {
			Launches []count `json:"launches" yaml:"launches"`
		}{counts})
	case output.CSV:
		records := [][]string{{"name", "queued", "running", "ending"}}
		for _, c := range counts {
			records = append(records, []string{c.Name, strconv.Itoa(c.Queued), strconv.Itoa(c.Running), strconv.Itoa(c.Ending)})
		}
		return csv.NewWriter(env.Out).WriteAll(records)
	}
	if len(counts) == 0 {
		_, err := fmt.Fprintln(env.Out, "There are no workers of a launch. Start some: trellis launch slurm --count 10")
		return err
	}
	table := output.NewTable()
	table.AppendHeader([]any{"NAME", "QUEUED", "RUNNING", "ENDING"})
	for _, c := range counts {
		table.AppendRow([]any{c.Name, c.Queued, c.Running, c.Ending})
	}
	_, err = fmt.Fprintln(env.Out, table.Render())
	return err
}

func scaleCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale NAME COUNT",
		Short: "Change how many workers a launch has",
		Long: `Change how many workers the launch NAME has. Workers that are added are as the others. Of those that are to go, the ones
that have not started go first; the others hand their runs back before they end.`,
		Example: "  trellis launch scale workers 100",
		Args:    cli.Operands("NAME", "COUNT"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		count, err := strconv.Atoi(args[1])
		if err != nil || count < 0 || count > maxWorkers {
			return exit.Usagef("invalid number of workers %q: must be between 0 and %d", args[1], maxWorkers)
		}
		ctx, stop := cli.Interruptible(cmd.Context())
		defer stop()
		return scale(ctx, env, slurm{}, args[0], count)
	}
	return cmd
}

// scale changes how many jobs a launch has.
func scale(ctx context.Context, env *cli.Environment, s scheduler, name string, count int) error {
	live, err := liveJobs(ctx, s, name)
	if err != nil {
		return err
	}
	switch more := count - len(live); {
	case more > 0:
		script, err := s.script(ctx, live[0].id)
		if err != nil {
			return err
		}
		if _, err := resized(script, more); err != nil {
			return fmt.Errorf("launch %s: %w", name, err)
		}
		arrays, err := submitAll(ctx, s, more, func(jobs int) string {
			script, _ := resized(script, jobs) // It has the line.
			return script
		})
		if len(arrays) > 0 {
			fmt.Fprintf(env.Err, "Submitted %s as %s.\n", output.Count(uint64(jobsOf(arrays)), "more worker"),
				numbers(arrays))
		}
		if err != nil {
			return err
		}
	case more < 0:
		if err := s.cancel(ctx, idsOf(live[:-more])); err != nil {
			return err
		}
		fmt.Fprintf(env.Err, "Canceled %s.\n", output.Count(uint64(-more), "worker"))
	default:
		fmt.Fprintf(env.Err, "Launch %s has %s already.\n", name, output.Count(uint64(count), "worker"))
	}
	return nil
}

func stopCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop NAME",
		Short: "Stop the workers of a launch",
		Long: `Stop all workers of the launch NAME, whether they are queued or running. Those that are running hand their runs back with
their last checkpoints. Stop a trellis launch --max of that name first: it would start others.`,
		Args: cli.Operands("NAME"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := cli.Interruptible(cmd.Context())
		defer stop()
		s := slurm{}
		live, err := liveJobs(ctx, s, args[0])
		if err != nil {
			return err
		}
		script, scriptErr := s.script(ctx, live[0].id)
		if err := s.cancel(ctx, idsOf(live)); err != nil {
			return err
		}
		fmt.Fprintf(env.Err, "Canceled %s.\n", output.Count(uint64(len(live)), "worker"))
		if scriptErr == nil {
			tellToken(env, script, args[0])
		}
		return nil
	}
	return cmd
}

// unended are the jobs of a launch, or of all, that have not ended.
func unended(ctx context.Context, s scheduler, name string) ([]job, error) {
	jobs, err := s.jobs(ctx, name)
	return slices.DeleteFunc(jobs, func(j job) bool { return !j.phase.live() }), err
}

// liveJobs are a launch's jobs that are queued or running, those that have not started first. There is at least one.
func liveJobs(ctx context.Context, s scheduler, name string) ([]job, error) {
	jobs, err := s.jobs(ctx, name)
	if err != nil {
		return nil, err
	}
	jobs = slices.DeleteFunc(jobs, func(j job) bool { return j.phase != queued && j.phase != running })
	if len(jobs) == 0 {
		return nil, fmt.Errorf("launch %s has no workers: see trellis launch status, or start some with trellis launch slurm", name)
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return int(a.phase - b.phase) })
	return jobs, nil
}

func idsOf(jobs []job) (ids []string) {
	for _, job := range jobs {
		ids = append(ids, job.id)
	}
	return ids
}
