package export

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/export"
	"trellis/results/grid"
	"trellis/results/listing"
)

func init() { cli.Register(cli.Answers, 75, Command) }

// The formats.
const (
	formatCSV         = "csv"
	formatParquet     = "parquet"
	formatTensorBoard = "tensorboard"
	formatMLflow      = "mlflow"
)

// options are the command's flags.
type options struct {
	format *string
	folder string
	limit  uint64
	list   trellisv1.ListTrialsRequest
}

// Command is trellis export.
func Command(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export STUDY",
		Short: "Export a study to CSV, Parquet, TensorBoard or MLflow",
		Long: `Write a study's trials into a folder, in a format that other tools read.

csv and parquet are two tables: trials, with a row for each trial, and epochs, with a row for each epoch of each trial.

tensorboard has a folder of event files for each trial, which TensorBoard shows with its HParams tab:

    tensorboard --logdir FOLDER

mlflow is a file store of MLflow, with a run for each trial, and with the best trial's model or checkpoint:

    mlflow ui --backend-store-uri FOLDER                                             # MLflow 2
    mlflow migrate-filestore --source FOLDER --target sqlite:///mlflow.db            # MLflow 3
    mlflow ui --backend-store-uri sqlite:///mlflow.db

The folder is written whole or not at all. A study that is still running is exported as far as it is: each
trial once, as it was when it was read. With --order-by and --limit, trials that moved among the first meanwhile may be
missing.`,
		Example: `  trellis export paper --format parquet --folder paper
  trellis export paper --format tensorboard --order-by objective --limit 100`,
		Args: cli.Operands("STUDY"),
	}
	connection, its := cli.ClientFlags(cmd, client.DefaultWait), new(options)
	its.format = cli.ChoiceFlag(cmd, "format", "format of the export",
		formatCSV, formatParquet, formatTensorBoard, formatMLflow)
	cmd.Flags().StringVar(&its.folder, "folder", "", "`folder` to write, empty or not there (default STUDY-FORMAT)")
	cmd.Flags().StringVar(&its.list.Filter, "filter", "", "`condition` that the trials must meet, as of trellis trials")
	cmd.Flags().StringVar(&its.list.OrderBy, "order-by", "", "`field` to sort by, as of trellis trials (default index)")
	cmd.Flags().Uint64Var(&its.limit, "limit", 0, "maximum number of trials, 0 for all")
	cmd.ValidArgsFunction = cli.CompleteStudies(connection)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		its.list.Study = args[0]
		if its.folder == "" {
			its.folder = args[0] + "-" + *its.format
		}
		if _, err := output.CheckFolder(its.folder); err != nil {
			return err
		}
		return env.WithClient(cmd.Context(), connection, func(ctx context.Context, c *client.Client) error {
			return exportStudy(ctx, env, c, its)
		})
	}
	return cmd
}

// exportStudy writes the folder.
func exportStudy(ctx context.Context, env *cli.Environment, c *client.Client, its *options) error {
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy,
		&trellisv1.GetStudyRequest{Study: its.list.GetStudy()})
	if err != nil {
		return err
	}
	e := &exporter{ctx: ctx, env: env, client: c, options: its, study: response.GetStudy()}
	if err := output.WriteFolder(its.folder, e.write); err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "Wrote %s: %s of study %s as %s.\n", its.folder, output.Count(e.trials, "trial"),
		its.list.GetStudy(), e.what)
	return nil
}

// gather reads the study's trials into a spool.
func (e *exporter) gather(spool *export.Spool) error {
	request := &e.options.list
	request.Losses, request.Runs = true, true
	read, err := e.client.EachTrialPage(e.ctx,
		client.TrialListing{Request: request, Limit: e.options.limit, Created: e.study.GetCreateIndex()}, spool.Add)
	if err != nil {
		return cli.NameListFlag(err)
	}
	if err := spool.Finish(); err != nil || !read.Moved {
		return err
	}
	// What has become of the trials while they were read has moved them.
	fields := listing.RankedBy(listing.RankingOf(e.study.GetSpec()), listing.FieldsOn(grid.Parameters(e.study.GetSpec())))
	metrics := append(spool.Metrics(), strings.TrimPrefix(request.GetOrderBy(), "-"))
	key, err := listing.NewOrder(request.GetOrderBy(), listing.WithMetrics(metrics, fields))
	if err != nil {
		return fmt.Errorf("sort the trials: %w", err)
	}
	return spool.Sort(func(trial *trellisv1.Trial) [24]byte { return key(trial) })
}
