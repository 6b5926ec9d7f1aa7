package programs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	"trellis/command/spec"
	"trellis/proto/template"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/spelling"
	"trellis/worker"
	"trellis/worker/capacity"
	"trellis/worker/program"
	"trellis/worker/scratch"
)

func init() { cli.Register(cli.Search, 15, TryCommand) }

// TryCommand is trellis try.
func TryCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "try SPEC",
		Short: "Run a study's program once, for one epoch",
		Long: `Run the program of a study once on this machine, at the first point of its grid and for one epoch, without a
coordinator. The program gets 1 as its max_epochs. Its output is written to standard error. Then trellis says what the program reported, what it did not, and
what to mend.

It exits with code 0 if the study can be submitted as it is, and with code 1 if not.`,
		Example: `  trellis try examples/programs/shell/spec.yaml
  trellis try --point 7 spec.yaml`,
		Args:              cli.Operands("SPEC"),
		ValidArgsFunction: cli.CompleteSpecs,
	}
	point := cmd.Flags().Uint64("point", 0, "index of the point, as trellis trials shows it (default: the first that the spec's where "+
		"does not leave out)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, err := spec.Read(args[0], env.In)
		if err != nil {
			return err
		}
		if file.Spec.GetProgram() == nil {
			return exit.Usagef("study %s trains the model %s: only programs can be tried", file.Spec.GetName(),
				file.Spec.GetModel())
		}
		ctx, stop := cli.Interruptible(cmd.Context())
		defer stop()
		return try(ctx, env, file, *point)
	}
	return cmd
}

// try runs a study's program at a point, and writes what is to be said about it.
func try(ctx context.Context, env *cli.Environment, file *spec.File, point uint64) (err error) {
	complete := spec.Models().WithDefaults(file.Spec)
	points, err := grid.New(complete)
	if err != nil {
		return err
	}
	if point >= points.Size() {
		return exit.Usagef("--point %d: the grid has the points 0 to %d", point, points.Size()-1)
	}
	if _, err := grid.LeftOut(ctx, complete); err != nil {
		return file.Place(err)
	}
	if point == 0 {
		its, err := lattice.Of(complete)
		if err != nil {
			return file.Place(err)
		}
		point, _ = its.From(0) // There is one, or LeftOut has refused the spec.
	}
	if !points.Meets(points.At(point)) {
		return exit.Usagef("--point %d: the spec's where leaves this point out", point)
	}
	packed, err := Pack(ctx, file)
	if err != nil {
		return err
	}
	defer packed.Close()
	if packed.Files == nil && complete.GetProgram().GetFiles() != nil {
		return exit.Usagef("the spec names its program's files by their digest, which a coordinator may have and this machine does " +
			"not: to try it, name their folder, for example files: .")
	}
	complete.Program.Files = packed.Files
	its, err := scratch.Make(os.TempDir(), "trellis-try-")
	if err != nil {
		return fmt.Errorf("make a folder for the program: %w", err)
	}
	defer func() { err = errors.Join(err, its.Remove()) }()
	folder := its.Path()
	at := grid.WithMaxEpochs(points.At(point), 1)
	run := &trellisv1.Run{Id: "try", Parameters: at, Milestones: []uint32{1}}
	config := worker.ProgramConfig(&trellisv1.Assignment{
		Study: complete.GetName(), Run: "try", Attempt: 1,
		Config: grid.RunConfigFor(&trellisv1.Study{Spec: complete}, run, "", 1),
	})
	config.Folder, config.Checkpoints, config.Files = folder, folder, packed.path
	if config.Python, err = worker.UnpackPython(folder); err != nil {
		return err
	}
	if config.GPUs, err = gpusFor(ctx, complete); err != nil {
		return err
	}
	if config.Output, err = program.CreateOutput(filepath.Join(folder, "output"), program.DefaultOutput); err != nil {
		return fmt.Errorf("keep the program's output: %w", err)
	}
	defer config.Output.Close()
	fmt.Fprintf(env.Err, "Running %s at point %d (%s) for one epoch.\n", describe.Command(complete.GetProgram()), point,
		describe.Parameters(at, describe.Axes{}))
	if packed.Files != nil {
		fmt.Fprintf(env.Err, "Its files: %s.\n", Describe(packed.Files))
	}
	trial := &trial{spec: complete, undirected: file.Spec.GetObjective().GetDirection() == 0}
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		copyOutput(env.Err, config.Output)
	}()
	trial.result, trial.err = program.Run(ctx, config, func(report program.Report) error {
		trial.reports = append(trial.reports, report)
		return nil
	})
	<-followed
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return trial.write(env.Out)
}

// gpusFor returns the ids of as many GPUs of this machine as a run needs.
func gpusFor(ctx context.Context, complete *trellisv1.StudySpec) (ids []string, err error) {
	needed := int(complete.GetResources().GetGpus())
	if needed == 0 {
		return nil, nil
	}
	found := capacity.Of(ctx, "/").GetGpus()
	if len(found) < needed {
		return nil, fmt.Errorf("a run needs %s, and this machine has %d: try it on one that has them",
			output.Count(uint64(needed), "GPU"), len(found))
	}
	for _, gpu := range found[:needed] {
		ids = append(ids, gpu.GetId())
	}
	return ids, nil
}

// copyOutput writes what a program writes, until it has ended.
func copyOutput(out io.Writer, from *program.Output) {
	const most = 64 << 10
	for offset := int64(0); ; {
		changed := from.Changed()
		chunk, err := from.Read(offset, most)
		if err != nil {
			return // The attempt fails with it.
		}
		_, _ = out.Write(chunk.Data)
		if offset = chunk.Offset + int64(len(chunk.Data)); len(chunk.Data) > 0 {
			continue
		}
		if chunk.Ended {
			return
		}
		<-changed
	}
}

// trial is what trying a program has shown.
type trial struct {
	spec *trellisv1.StudySpec
	// undirected says that the spec leaves the direction of its objective to the default.
	undirected bool
	reports    []program.Report
	result     program.Result
	err        error
}

// write writes what was reported and what is to be mended. It returns an error if the study can't be submitted.
func (t *trial) write(out io.Writer) error {
	for _, report := range t.reports {
		if len(report.Metrics) > 0 {
			fmt.Fprintf(out, "Reported for epoch %d after %s: %s.\n", report.Epoch,
				output.ShortSeconds(report.Elapsed.Seconds()), metricsText(report.Metrics))
		}
	}
	if saved := t.checkpoint(); saved != nil {
		fmt.Fprintf(out, "Saved a checkpoint of epoch %d: %s, %s packed.\n", saved.Epoch,
			output.Count(uint64(saved.Files), "file"), output.ShortBytes(uint64(saved.Size)))
	}
	if t.err == nil {
		fmt.Fprintf(out, "It ended after %s.\n", output.ShortSeconds(t.result.Elapsed.Round(time.Millisecond).Seconds()))
	}
	fmt.Fprintf(out, "Trials are ranked by %s.\n", describe.ObjectiveOf(t.spec).Ranking())
	if pruned := describe.Pruning(t.spec); pruned != "" {
		fmt.Fprintf(out, "Runs are pruned by %s.\n", pruned)
	}
	wrong, advice := t.wrong(), t.advice()
	for _, text := range slices.Concat(wrong, advice) {
		fmt.Fprintf(out, "- %s\n", text)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the program is not ready: %s to mend", output.Count(uint64(len(wrong)), "thing"))
	}
	_, err := fmt.Fprintf(out, "The program is ready: trellis run, or trellis submit.\n")
	return err
}

func metricsText(metrics map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		parts = append(parts, fmt.Sprintf("%s %s", name, output.PlainNumber(metrics[name])))
	}
	return strings.Join(parts, ", ")
}

// checkpoint is the last one that was saved, or nil.
func (t *trial) checkpoint() *program.Checkpoint {
	saved := t.result.Checkpoint
	for _, report := range t.reports {
		if report.Checkpoint != nil {
			saved = report.Checkpoint
		}
	}
	return saved
}

// reported are the names of the metrics that were reported, sorted.
func (t *trial) reported() []string {
	names := map[string]bool{}
	for _, report := range t.reports {
		for name := range report.Metrics {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// wrong says what makes every run of the study fail.
func (t *trial) wrong() []string {
	var texts []string
	var failed *program.Error
	switch {
	case errors.As(t.err, &failed) && failed.Kind == program.NoObjective:
		// It is said below, with what would be right.
	case errors.As(t.err, &failed):
		texts = append(texts, failed.Message) // Its output was written already.
	case t.err != nil:
		texts = append(texts, t.err.Error())
	case t.result.Returned:
		texts = append(texts, "it exited with code 75, which hands its run back: to end a run, exit with code 0")
	}
	reported := t.reported()
	if len(reported) == 0 {
		return texts
	}
	for _, named := range []struct{ key, metric string }{
		{"objective", cmp.Or(t.spec.GetObjective().GetMetric(), defaultMetric)},
		{"early_stopping", t.spec.GetEarlyStopping().GetMetric()},
	} {
		if named.metric != "" && !slices.Contains(reported, named.metric) {
			texts = append(texts, fmt.Sprintf("it did not report %s, which %s names: report it, or name another with %s: "+
				"{metric: %s}", named.metric, named.key, named.key, nearest(named.metric, reported)))
		}
	}
	return texts
}

// nearest is the name that was probably meant by another, or the first one.
func nearest(name string, names []string) string {
	return append(spelling.Nearest(name, names), names...)[0]
}

// defaultMetric is what trials are ranked by if a spec does not say.
const defaultMetric = "validation_loss"

// mostlyHigher matches metrics of which higher values are better, as their names go.
var mostlyHigher = regexp.MustCompile(`(?i)(^|[_./-])(acc|accuracy|auc|auroc|f1|score|reward|return|bleu|rouge|precision|recall|r2|iou|map|psnr|ssim)([_./-]|$)`)

// unused are the parameters that the command does not name in braces, if it names others.
func (t *trial) unused() (names []string) {
	named := map[string]bool{}
	for _, part := range t.spec.GetProgram().GetCommand() {
		its, _ := template.Names(part) // The spec is valid.
		for _, name := range its {
			named[name] = true
		}
	}
	for _, common := range template.Common {
		delete(named, common)
	}
	if len(named) == 0 {
		return nil
	}
	for _, its := range grid.Parameters(t.spec) {
		if !named[its.Name] && !slices.Contains(template.Common, its.Name) && len(its.Values) > 1 {
			names = append(names, its.Name)
		}
	}
	return names
}

// advice says what would make runs cheaper or safer.
func (t *trial) advice() []string {
	var texts []string
	its, saved := t.spec.GetProgram(), t.checkpoint()
	if t.result.Beyond {
		texts = append(texts, "it ignores max_epochs, which was 1: it went on and was stopped. Let it end after as many epochs "+
			"as {max_epochs} in its command or last_epoch in the file TRELLIS_RUN says, or each run ends with SIGTERM")
	}
	if unused := t.unused(); len(unused) > 0 {
		texts = append(texts, fmt.Sprintf("its command does not name %s, as it does other parameters: unless the program reads %s, "+
			"all values give the same", output.Enumerate(unused), template.Variable(unused[0])))
	}
	if metric := t.spec.GetObjective().GetMetric(); t.undirected && mostlyHigher.MatchString(metric) {
		texts = append(texts, fmt.Sprintf("the lowest %s is ranked first: if higher values are better, add direction: maximize to "+
			"the objective", metric))
	}
	switch {
	case its.GetResumable() && saved == nil && len(t.reports) > 0:
		texts = append(texts, "it is declared to resume, and saved no checkpoint: report one with an epoch, "+
			`{"epoch": 1, ..., "checkpoint": "folder"}, or leave resumable out`)
	case !its.GetResumable() && saved != nil:
		texts = append(texts, "it saves checkpoints, but its spec does not say that it resumes from them: if it does, add "+
			"resumable: true to the program, and interrupted runs go on instead of beginning again")
	}
	return texts
}
