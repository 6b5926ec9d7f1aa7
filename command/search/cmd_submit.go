package search

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/command/programs"
	"trellis/command/spec"
	"trellis/command/studies"
	trellisv1 "trellis/proto/trellis/v1"
)

// submitOptions are the flags of submit.
type submitOptions struct {
	createOptions
	watch, dryRun bool
	plan          planOptions
}

func init() { cli.Register(cli.Search, 20, SubmitCommand) }

// SubmitCommand is trellis submit.
func SubmitCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit SPEC",
		Short: "Submit a study to the coordinator",
		Long: `Submit a study to the coordinator, which checks it and distributes its runs to the workers. Prints the
study's id, which is its name. If SPEC is -, it is read from standard input.

Results that other studies have already trained are reused where they are bit for bit the same: the same data, model,
parameters, seed, batch size, early stopping and arithmetic. What is reused is reported on standard error. With --fresh,
everything is trained again.

With --watch, the study's progress, best configuration and summary are written to standard error: standard output has
its id alone, for scripts.

With --dry-run, nothing is submitted: the coordinator shows what the study would cost and how much of it can be reused.
Without a coordinator, or with --slots, epochs are counted on this machine and timed by training on random images for a
moment.`,
		Example: `  trellis submit examples/synthetic.yaml
  trellis submit --watch examples/paper.yaml
  trellis submit --name paper-again --fresh examples/paper.yaml
  trellis submit --dry-run examples/paper.yaml
  trellis submit --dry-run --slots 32 examples/paper.yaml`,
		Args:              cli.Operands("SPEC"),
		ValidArgsFunction: cli.CompleteSpecs,
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	submit := submitOptions{plan: planOptions{data: node.DataFlags(cmd)}}
	createFlags(cmd, &submit.createOptions)
	cmd.Flags().BoolVar(&submit.dryRun, "dry-run", false, "show what the study would cost without submitting it")
	cmd.Flags().IntVar(&submit.plan.slots, "slots", 0,
		"with --dry-run, the number of runs to train at the same time on this machine (default, without a "+
			"coordinator: one per core)")
	cli.AtLeast(cmd.Flags(), "slots", &submit.plan.slots, 1)
	cmd.Flags().BoolVar(&submit.watch, "watch", false, "follow the study until it ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, flag := range []string{"slots", "data-sets", "cache-dir"} {
			if configuration.Given(cmd, flag) && !submit.dryRun {
				return exit.Usagef("--%s needs --dry-run: a study is trained on the workers' slots with the "+
					"coordinator's data sets", flag)
			}
			submit.plan.here = submit.plan.here || configuration.Given(cmd, flag)
		}
		if submit.dryRun && submit.watch {
			return exit.Usagef("--watch cannot be combined with --dry-run, which submits nothing")
		}
		file, err := spec.Read(args[0], env.In)
		if err != nil {
			return err
		}
		if err := submit.rename(file.Spec); err != nil {
			return err
		}
		packed, err := programs.Pack(cmd.Context(), file)
		if err != nil {
			return err
		}
		defer packed.Close()
		request := &trellisv1.CreateStudyRequest{Spec: file.Spec, Fresh: submit.fresh}
		if submit.dryRun {
			submit.plan.format = *format
			return file.Place(dryRun(cmd.Context(), env, options, request, submit.plan))
		}
		tracer := env.StartBriefTracing()
		defer tracer.Stop()
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			c.Tracer = tracer
			if err := planFirst(ctx, c, request, packed); err != nil {
				return file.Place(err)
			}
			if err := packed.Upload(ctx, env, c); err != nil {
				return err
			}
			return file.Place(submitStudy(ctx, env, c, request, *format, submit.watch))
		})
	}
	return cmd
}

// planFirst asks whether a study would be admitted, and whether its name is free, before its program's files are
// uploaded: they may be large.
func planFirst(
	ctx context.Context, c *client.Client, request *trellisv1.CreateStudyRequest, packed *programs.Packed,
) error {
	if packed.Files == nil {
		return nil
	}
	if err := c.AwaitLeader(ctx); err != nil {
		return err
	}
	if err := checkFree(ctx, c, request.GetSpec().GetName()); err != nil {
		return err
	}
	_, err := client.Call(ctx, client.CreateTimeout, c.PlanStudy, &trellisv1.PlanStudyRequest{
		Spec: request.GetSpec(), Fresh: request.GetFresh(),
	})
	return err
}

// submitStudy creates a study, and says what it shares with others.
func submitStudy(
	ctx context.Context, env *cli.Environment, c *client.Client, request *trellisv1.CreateStudyRequest,
	format output.Format, watch bool,
) error {
	study, err := c.Create(ctx, request)
	if err != nil {
		return orTaken(ctx, c, err, request.GetSpec().GetName())
	}
	if err := writeSubmitted(env, format, study); err != nil {
		return err
	}
	describeStart(ctx, env, c, study)
	if watch {
		return studies.WatchStudy(ctx, env, c, study.GetName(), env.Err)
	}
	studies.TellWaiting(ctx, env, c, study.GetName())
	return nil
}

// orTaken is an error with what to do if it says that there is a study of that name.
func orTaken(ctx context.Context, c *client.Client, err error, name string) error {
	if status.Code(err) != codes.AlreadyExists {
		return err
	}
	// The coordinator's own advice knows no flags.
	return status.Errorf(codes.AlreadyExists, "study %q already exists: choose another name with --name %s, or add "+
		"values to its grid with trellis extend %s", name, freeName(ctx, c, name), name)
}

// checkFree says what to do if there is a study of that name.
func checkFree(ctx context.Context, c *client.Client, name string) error {
	free, err := isFree(ctx, c, name)
	if err != nil || free {
		return err
	}
	return orTaken(ctx, c, status.Error(codes.AlreadyExists, ""), name)
}

func isFree(ctx context.Context, c *client.Client, name string) (bool, error) {
	_, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: name})
	if status.Code(err) == codes.NotFound {
		return true, nil
	}
	return false, err
}

// Names that are tried for a study whose name is taken, and the length of the longest that a spec may have.
const (
	triedNames  = 20
	longestName = 63
)

// numbered is a name that ends with a number.
var numbered = regexp.MustCompile(`-([1-9][0-9]{0,8})$`)

// freeName returns a name like another that no study has, or NAME where none was found.
func freeName(ctx context.Context, c *client.Client, name string) string {
	first := 2
	if its := numbered.FindStringSubmatchIndex(name); its != nil {
		number, _ := strconv.Atoi(name[its[2]:])
		name, first = name[:its[0]], number+1
	}
	for number := range triedNames {
		suffix := fmt.Sprint("-", first+number)
		tried := strings.TrimRight(name[:min(len(name), longestName-len(suffix))], "-._") + suffix
		if free, err := isFree(ctx, c, tried); err != nil {
			break
		} else if free {
			return tried
		}
	}
	return "NAME"
}

// writeSubmitted writes the study's id alone for shells, and the study in the other formats.
func writeSubmitted(env *cli.Environment, format output.Format, study *trellisv1.Study) error {
	if format != output.Table {
		return output.WriteOne(env.Out, format, study, describe.StudyColumns)
	}
	_, err := fmt.Fprintln(env.Out, study.GetName())
	return err
}
