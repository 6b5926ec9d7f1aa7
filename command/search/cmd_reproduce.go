package search

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/reproduction"
	"trellis/command/spec"
	"trellis/examples"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// reproduceOptions are the flags of reproduce.
type reproduceOptions struct {
	// folder is where report and figures go.
	folder string
	// name is that of the report at the coordinator.
	name string
	// command is the one that goes on with this reproduction.
	command string
	// remote says that the studies are trained by the cluster of a coordinator that is there already.
	remote bool
	// place is where the studies are: a folder, or the address of that coordinator.
	place node.Directory
	runOptions
}

func init() { cli.Register(cli.Search, 60, ReproduceCommand) }

// ReproduceCommand is trellis reproduce.
func ReproduceCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reproduce [FILE]",
		Short: "Reproduce the paper's studies and figures in one report",
		Long: `Reproduce the paper: the grid search of the autoencoder, the studies that use its best values (denoising,
classifier, variational autoencoder), the latent-space analysis, the figures, and a report that compares the paper's
numbers with ours.

FILE describes the studies and how they depend on each other. The default is examples/reproduce.yaml, or with --quick
examples/reproduce-quick.yaml: a small version that takes minutes.

All files are written to one folder: the studies to its subfolder data, the figures as PNG and SVG, and report.html.
After Ctrl-C or a crash, run the same command again: it continues where it stopped and retries failed runs. With
--coordinator, the workers of a cluster train the studies.`,
		Example: `  trellis reproduce --quick
  trellis reproduce
  trellis reproduce --coordinator host:7070 --folder paper`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return cli.Operands("FILE")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: cli.CompleteSpecs,
	}
	options := reproduceOptions{runOptions: runOptions{Options: node.Options{
		Data:    node.DataFlags(cmd),
		Version: env.Version,
	}}}
	coordinator := cli.ClientFlags(cmd, client.DefaultWait)
	log := cli.LogFlags(cmd, "off")
	var quick bool
	cmd.Flags().BoolVar(&quick, "quick", false, "reproduce a small version in minutes")
	cmd.Flags().StringVar(&options.folder, "folder", "",
		"`folder` for all files (default reproduction, or reproduction-quick)")
	options.WorkerFlags(cmd)
	open := cli.OpenFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if quick && len(args) > 0 {
			return exit.Usagef("--quick cannot be combined with a FILE: leave out %s", args[0])
		}
		r, err := readReproduction(args, quick, env)
		if err != nil {
			return err
		}
		if options.folder == "" {
			options.folder = "reproduction"
			if quick {
				options.folder += "-quick"
			}
		}
		if err := options.CompleteWorkers(); err != nil {
			return err
		}
		if err := makeOutput(options.folder); err != nil {
			return err
		}
		if options.open = *open; *open && cmd.Flags().Changed("coordinator") {
			return exit.Usagef("--open cannot be combined with --coordinator, which has a web page of its own")
		}
		options.command, options.name = reproduceCommand(quick, args), reportName(quick, args)
		options.Logger = log.NewLogger(env.Log)
		options.inLines = cmd.Flags().Changed("log-level")
		if cmd.Flags().Changed("coordinator") {
			options.remote = true
			options.place = node.Directory{Path: coordinator.Address, Found: true, Flag: "--coordinator"}
			return env.WithClient(cmd.Context(), coordinator, func(ctx context.Context, c *client.Client) error {
				return reproduce(ctx, env, c, r, options)
			})
		}
		options.Directory, options.DirectoryFlag = filepath.Join(options.folder, "data"), "--folder"
		return reproduceHere(cmd.Context(), env, r, options)
	}
	return cmd
}

// makeOutput makes the folder of a reproduction, and tries it out: that nothing can be written there must be known
// before hours of training, not after.
func makeOutput(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("create the folder of the reproduction: %w: choose another with --folder", err)
	}
	file, err := os.CreateTemp(path, ".trellis-")
	if err != nil {
		return fmt.Errorf("write to the folder of the reproduction: %w: choose another with --folder", err)
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

// reproduceCommand is the command of a reproduction, without what has no influence on its numbers.
func reproduceCommand(quick bool, args []string) string {
	switch {
	case quick:
		return "trellis reproduce --quick"
	case len(args) > 0:
		return "trellis reproduce " + args[0]
	default:
		return "trellis reproduce"
	}
}

// readReproduction reads the file that is named, or one of those that are built in.
func readReproduction(args []string, quick bool, env *cli.Environment) (*trellisv1.Reproduction, error) {
	r, models := new(trellisv1.Reproduction), spec.Models()
	validate := func(proto.Message) error { return reproduction.Validate(spec.Models(), r, models.Validate) }
	if len(args) > 0 {
		path, data, err := spec.ReadFile(args[0], env.In)
		if err != nil {
			return nil, err
		}
		return r, spec.ParseInto(models, path, data, r, validate)
	}
	name, data := "reproduce.yaml", examples.Reproduce
	if quick {
		name, data = "reproduce-quick.yaml", examples.ReproduceQuick
	}
	return r, spec.ParseInto(models, name, data, r, validate)
}

// reproduceHere starts a coordinator in this process for the studies.
func reproduceHere(
	ctx context.Context, env *cli.Environment, r *trellisv1.Reproduction, options reproduceOptions,
) error {
	return node.Run(ctx, env, options.Options, func(local *node.Local, c *client.Client) error {
		options.place = local.Directory
		if err := local.StartWorkers(); err != nil {
			return err
		}
		fmt.Fprintf(env.Err, "The coordinator listens on %s. From another terminal: trellis studies --coordinator %s\n",
			local.Address, local.Address)
		if options.open {
			cli.OpenPage(env, local.Link+"/reports/"+options.name)
		}
		if err := reproduce(local.Ctx, env, c, r, options); err != nil {
			return local.Why(err)
		}
		return nil
	})
}

// reproduce trains the studies, and writes what is made of them.
func reproduce(
	ctx context.Context, env *cli.Environment, c *client.Client, r *trellisv1.Reproduction, options reproduceOptions,
) error {
	err := reproduceStages(ctx, env, c, r, options)
	switch {
	case errors.Is(err, exit.ErrInterrupted) || errors.Is(context.Cause(ctx), exit.ErrInterrupted):
		fmt.Fprintln(env.Err, "Interrupted. To continue, run the same command again.")
	case errors.Is(err, exit.ErrIncomplete):
		return fmt.Errorf("%w; %s", err, options.whereToAsk())
	}
	return err
}

func reproduceStages(
	ctx context.Context, env *cli.Environment, c *client.Client, r *trellisv1.Reproduction, options reproduceOptions,
) error {
	var data *dataset.Data
	if analysis := r.GetAnalysis(); analysis != nil {
		// That its images are missing must be known before hours of training, not after.
		var err error
		if data, err = node.LoadDataSet(ctx, options.Data, dataOf(r, analysis.GetAutoencoder())); err != nil {
			return fmt.Errorf("the analysis needs the test images on this machine: %w", err)
		}
		if most := max(slices.Max(data.Test.Labels), slices.Max(data.Train.Labels)); most >= reproduction.MaxClasses {
			return exit.Usagef("the data set %q has labels up to %d: the analysis tells %d classes apart; leave the analysis out, "+
				"or use a data set with labels up to %d", data.Name, most, reproduction.MaxClasses, reproduction.MaxClasses-1)
		}
	}
	report := newReproductionReport(env, c, r, data, options)
	report.lookUp(ctx)
	report.put(ctx)
	if page := pageOf(ctx, c, options.name, options.place.Path); page != "" && !report.warned {
		fmt.Fprintf(env.Err, "Web page: %s, with %s\n", page, report.shown())
	}
	stop := report.renew(ctx)
	studies, err := runStages(ctx, env, c, r, report, options)
	if err == nil && r.GetAnalysis() != nil {
		err = writeReproduction(ctx, env, report, studies, options)
	}
	stop()
	report.end(ctx, err)
	return err
}

// whereToAsk says which coordinator answers commands on the studies.
func (o *reproduceOptions) whereToAsk() string {
	if o.remote {
		return "to inspect the studies, use --coordinator " + o.place.Path
	}
	return "to inspect the studies, start a coordinator on their folder: trellis coordinator --data " +
		filepath.Join(o.folder, "data")
}
