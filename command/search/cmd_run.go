package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/answer"
	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/command/programs"
	"trellis/command/progress"
	"trellis/command/spec"
	"trellis/command/studies"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/resources"
)

// rankedRows is how many trials run shows when a study has ended.
const rankedRows = 10

// runOptions are the flags of run.
type runOptions struct {
	node.Options
	format output.Format
	// inLines shows progress in lines on a terminal too, between those of the log.
	inLines bool
	// open says that the web page is to be opened in the browser.
	open bool
	createOptions
}

func init() { cli.Register(cli.Search, 10, RunCommand) }

// RunCommand is trellis run.
func RunCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run SPEC...",
		Short: "Run studies on this machine",
		Long: `Run studies on this machine, with the coordinator and the workers in one process. When they end, the trials
are shown, best first, with a summary. If SPEC is -, it is read from standard input.

Progress is written to standard error, results to standard output. Ctrl-C ends the studies and shows the results so far.
Without --data, nothing else is kept: use -o to save the results.

With --data, studies are kept in a folder. After Ctrl-C or a crash, run the same command again to continue. Results that
other studies in the folder have already trained are reused where they are bit for bit the same. With --fresh,
everything is trained again.

With --dry-run, nothing is trained: it shows what the studies would cost on this machine.`,
		Example: `  trellis run examples/quick.yaml
  trellis run --workers 2 -o csv examples/quick.yaml > trials.csv
  trellis run --data studies examples/paper.yaml
  trellis run --dry-run examples/paper.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Operands("SPEC")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: cli.CompleteSpecs,
	}
	format := cli.OutputFlag(cmd)
	log := cli.LogFlags(cmd, "off")
	options := runOptions{Options: node.Options{Data: node.DataFlags(cmd), Version: env.Version}}
	cmd.Flags().StringVar(&options.Directory, "data", "",
		"`folder` to keep studies in, so that they can be continued (default in memory only)")
	createFlags(cmd, &options.createOptions)
	open := cli.OpenFlag(cmd)
	var dryRun bool
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what the studies would cost without training anything")
	options.WorkerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		files, err := spec.ReadAll(args, env.In)
		if err != nil {
			return err
		}
		if options.name != "" && len(files) > 1 {
			return exit.Usagef("--name can only be used with one SPEC")
		}
		if err := options.rename(files[0].Spec); err != nil {
			return err
		}
		if err := options.CompleteWorkers(); err != nil {
			return err
		}
		if dryRun {
			plan := planOptions{
				format: *format, data: options.Data, slots: options.Workers * options.Slots, here: true,
			}
			return planAll(cmd.Context(), env, files, plan)
		}
		if cmd.Flags().Changed("data") && options.Directory == "" {
			return exit.Usagef("--data needs a folder")
		}
		options.format, options.open = *format, *open
		options.Logger = log.NewLogger(env.Log)
		options.Tracer = env.StartTracing("trellis", options.Logger)
		defer options.Tracer.Stop()
		options.Logger = options.Tracer.Logger(options.Logger)
		options.inLines = cmd.Flags().Changed("log-level")
		return runStudies(cmd.Context(), env, files, options)
	}
	return cmd
}

// planAll writes what studies would cost, each by itself.
func planAll(ctx context.Context, env *cli.Environment, files []*spec.File, plan planOptions) error {
	if len(files) > 1 && plan.format != output.Table {
		return exit.Usagef("--dry-run with --output %s takes one SPEC", plan.format)
	}
	for _, file := range files {
		packed, err := programs.Pack(ctx, file)
		if err != nil {
			return err
		}
		defer packed.Close()
		err = dryRun(ctx, env, nil, &trellisv1.CreateStudyRequest{Spec: file.Spec}, plan)
		if err := file.Place(err); err != nil {
			return err
		}
	}
	return nil
}

// runStudies starts a coordinator in this process, and ends it when the studies have ended.
func runStudies(
	ctx context.Context, env *cli.Environment, files []*spec.File, options runOptions,
) error {
	specs, packed := make([]*trellisv1.StudySpec, len(files)), make([]*programs.Packed, len(files))
	for i, file := range files {
		specs[i] = file.Spec
		var err error
		if packed[i], err = programs.Pack(ctx, file); err != nil {
			return err
		}
		defer packed[i].Close()
		options.Programs = options.Programs || file.Spec.GetProgram() != nil
	}
	return node.Run(ctx, env, options.Options, func(local *node.Local, c *client.Client) error {
		for i, file := range files {
			if err := packed[i].Upload(local.Ctx, env, c); err != nil {
				return local.Why(err)
			}
			request := &trellisv1.CreateStudyRequest{Spec: file.Spec, Fresh: options.fresh}
			if err := begin(local.Ctx, env, c, request, local.Directory); err != nil {
				return local.Why(file.Place(err))
			}
		}
		// Only now: what a run that several studies ask for is tested at depends on who has asked before it is trained.
		// So the same specs give the same results, whoever is faster.
		if err := local.StartWorkers(); err != nil {
			return err
		}
		for _, wanted := range specs {
			if err := fits(local.Ctx, c, wanted, local.Workers); err != nil {
				return local.Why(err)
			}
		}
		if err := describeOthers(local.Ctx, env, c, specs, local.Directory); err != nil {
			return local.Why(err)
		}
		fmt.Fprintf(env.Err, "The coordinator listens on %s, with %s of %s. From another terminal: trellis trials "+
			"%s --coordinator %s\n", local.Address, output.Count(uint64(options.Workers), "worker"),
			output.Count(uint64(options.Slots), "slot"), specs[0].GetName(), local.Address)
		fmt.Fprintf(env.Err, "Web page: %s/ (API: %s/api)\n", local.Link, local.Link)
		if options.open {
			page := "/"
			if len(specs) == 1 {
				page = "/studies/" + specs[0].GetName()
			}
			cli.OpenPage(env, local.Link+page)
		}
		return followAll(env, local, c, specs, options)
	})
}

// fits returns an error if none of the workers of this command has what a run of a study needs: no other will come.
func fits(ctx context.Context, c *client.Client, wanted *trellisv1.StudySpec, workers []string) error {
	if labels := wanted.GetWorkers(); len(labels) > 0 {
		return exit.Usagef("study %s can't be trained here: it asks for workers with the labels %s, and those of this command have "+
			"none: leave out workers, or submit it to a coordinator with such workers", wanted.GetName(), describe.Labels(labels))
	}
	ctx, cancel := context.WithTimeout(ctx, client.CallTimeout)
	defer cancel()
	if wanted.GetProgram() != nil && wanted.GetResources() == nil {
		return nil
	}
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: wanted.GetName()})
	if err != nil {
		return err
	}
	need := resources.Of(response.GetStudy())
	if !need.NeedsRoom() {
		return nil
	}
	var ready []*trellisv1.Worker
	for {
		// With --data, those of an earlier start are listed too, though they are gone: if it was killed, as READY.
		ready = nil
		if err := c.EachWorker(ctx, func(worker *trellisv1.Worker) error {
			if worker.GetState() == trellisv1.WorkerState_WORKER_STATE_READY && slices.Contains(workers, worker.GetName()) {
				ready = append(ready, worker)
			}
			return nil
		}); err != nil {
			return err
		}
		if len(ready) == len(workers) {
			break
		}
		select {
		case <-ctx.Done():
			return nil // They say what is wrong themselves.
		case <-time.After(20 * time.Millisecond):
		}
	}
	// Of networks that differ, the largest too: the study would not end.
	if resources.Missing(need, slices.Values(ready)) != trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE {
		return nil
	}
	has, fewer := "this machine has", ""
	if len(workers) > 1 {
		has, fewer = fmt.Sprintf("each of %d workers has", len(workers)), "use fewer --workers, "
	}
	if wanted.GetProgram() == nil {
		return fmt.Errorf("study %s can't be trained here: it needs %s, and %s less: %ssearch smaller networks, or submit it to a "+
			"coordinator with larger workers", wanted.GetName(), describe.Memory(need.Memory+need.Data), has, fewer)
	}
	return fmt.Errorf("study %s can't be trained here: a run needs %s, and %s less: %sask for less in resources, or submit it to "+
		"a coordinator with larger workers", wanted.GetName(), describe.Resources(wanted), has, fewer)
}

// describeInterruption says what is left of studies after Ctrl-C.
func describeInterruption(directory node.Directory) string {
	if directory.Path != "" {
		return fmt.Sprintf("Interrupted. To continue, run the same command again: the results so far are in %s.",
			directory.Path)
	}
	return "Interrupted. Only the following results are left. To be able to continue, use --data"
}

// followAll follows the studies to their end, one after the other as the coordinator serves them, and shows what they
// have found.
func followAll(
	env *cli.Environment, local *node.Local, c *client.Client, specs []*trellisv1.StudySpec, options runOptions,
) error {
	complete := make([]*trellisv1.StudySpec, len(specs))
	for i, wanted := range specs {
		complete[i] = spec.Models().WithDefaults(wanted)
	}
	results := answer.NewTrialList(env.Out, options.format, answer.ColumnsOf(complete...))
	results.Whole = len(specs) > 1
	var outcomes []error
	interrupted := false
	for _, spec := range specs {
		if !interrupted {
			study, err := progress.Follow(local.Ctx, env, c, spec.GetName(), options.inLines)
			switch interrupted = errors.Is(err, exit.ErrInterrupted); {
			case interrupted:
				fmt.Fprintln(env.Err, describeInterruption(local.Directory))
				outcomes = append(outcomes, err)
			case err != nil:
				return local.Why(err)
			default:
				outcomes = append(outcomes, studies.OutcomeWith(study, afterFailures(study, local.Directory)))
			}
		}
		// The coordinator lives until we stop it, whether or not we were interrupted.
		ctx := context.WithoutCancel(local.Ctx)
		if err := writeResults(ctx, env, c, spec.GetName(), options.format, results, local.Directory.Path != ""); err != nil {
			return errors.Join(append(outcomes, local.Why(err))...)
		}
	}
	if options.format != output.Table {
		outcomes = append(outcomes, results.Close(""))
	} else if local.Directory.Path != "" {
		fmt.Fprintf(env.Err, "To use other commands on what is kept in %s, start a coordinator: trellis coordinator --data %s\n",
			local.Directory.Path, local.Directory.Path)
	}
	return errors.Join(outcomes...)
}

// afterFailures says what to do about trials of a study that have failed. The coordinator ends with the command.
func afterFailures(study *trellisv1.Study, directory node.Directory) string {
	if directory.Path == "" {
		return "; to be able to retry failed runs, keep the study with --data"
	}
	return fmt.Sprintf("; to retry them, start trellis coordinator --data %s and a worker, then trellis retry %s",
		directory.Path, study.GetName())
}

// writeResults writes a study's trials, best first: all of them with their losses into list, or the first few and the
// best one as tables. kept says that commands find the study later.
func writeResults(
	ctx context.Context, env *cli.Environment, c *client.Client, name string, format output.Format,
	list *answer.TrialList, kept bool,
) error {
	request := &trellisv1.ListTrialsRequest{Study: name, OrderBy: "objective"}
	if format != output.Table {
		request.Losses = format != output.CSV
		_, err := answer.EachTrial(ctx, c, request, 0, list)
		return err
	}
	best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: name})
	if client.IsUnanswered(err) {
		fmt.Fprintf(env.Out, "\n%s\n", answer.WhyNone(err, name))
		return answer.WriteSummary(ctx, c, env.Out, name, kept)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "\nStudy %s, best trials first:\n\n", name)
	total, err := answer.ListTrials(ctx, env, c, format, request, rankedRows)
	if err != nil {
		return err
	}
	if total > rankedRows {
		fmt.Fprintf(env.Out, "(Showing %d of %d. To show all, use -o csv)\n", rankedRows, total)
	}
	fmt.Fprintln(env.Out)
	writeBest := answer.WriteBest
	if !kept {
		writeBest = answer.WriteLastBest
	}
	if err := writeBest(env.Out, best); err != nil {
		return err
	}
	return answer.WriteSummary(ctx, c, env.Out, name, kept)
}
