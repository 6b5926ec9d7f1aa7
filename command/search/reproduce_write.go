package search

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/paper"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// ReportName is the file of the report in a reproduction's folder.
const ReportName = "report.html"

// writeReproduction makes figures and report of studies that have ended, and says where they are.
func writeReproduction(
	ctx context.Context, env *cli.Environment, c *client.Client, r *trellisv1.Reproduction,
	studies map[string]*trellisv1.Study, data *dataset.Data,
	options reproduceOptions,
) error {
	note := func(format string, args ...any) { fmt.Fprintf(env.Err, format+".\n", args...) }
	note("Analysis: fetching the trained models")
	material, err := gatherMaterial(ctx, c, r.GetAnalysis(), studies, data)
	if err != nil {
		return fmt.Errorf("fetch the trained models: %w", err)
	}
	material.Command = options.command
	if options.remote {
		material.Address = "--coordinator " + options.place.Path
	}
	found, err := reproduction.Analyze(ctx, material, r.GetAnalysis(), note)
	if err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	sections, err := reproduction.Sections(material, found)
	if err != nil {
		return err
	}
	for _, section := range sections {
		for _, picture := range section.Figures {
			for extension, content := range map[string][]byte{"png": picture.PNG, "svg": picture.SVG} {
				name := fmt.Sprintf("figure-%d.%s", picture.Number, extension)
				if err := writeReproduced(env, options.folder, name, func(out io.Writer) error {
					_, err := out.Write(content)
					return err
				}); err != nil {
					return err
				}
			}
		}
	}
	page := &paper.Report{
		Title: r.GetTitle(), Created: time.Now(), Sections: sections,
		Summary: "The paper's figures and numbers next to ours: what was trained, with which command, and how much " +
			"they differ.\n\n" +
			strings.ToUpper(options.whereToAsk()[:1]) + options.whereToAsk()[1:] + ".",
		Environment: environment(env.Version),
	}
	for _, stage := range r.GetStages() {
		row, err := describeStage(ctx, c, studies[stage.GetStudy().GetName()], material.Address)
		if err != nil {
			return err
		}
		page.Stages = append(page.Stages, row)
	}
	if err := writeReproduced(env, options.folder, ReportName, page.Write); err != nil {
		return err
	}
	if err := writeResultLines(env.Out, sections); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "\nReport: %s. Figures 2 to 9 are in the same folder as PNG and SVG.\n",
		filepath.Join(options.folder, ReportName))
	return err
}

func writeReproduced(env *cli.Environment, folder, name string, write func(io.Writer) error) error {
	_, err := output.WriteFile(filepath.Join(folder, name), 0o666, env.Out, write)
	return err
}

// writeResultLines writes the paper's numbers beside ours.
func writeResultLines(out io.Writer, sections []paper.Section) error {
	for _, section := range sections {
		if len(section.Results) == 0 {
			continue
		}
		list := output.NewTable()
		list.AppendHeader(table.Row{"result", "paper", "ours", "difference"})
		for _, result := range section.Results {
			list.AppendRow(table.Row{result.What, result.Paper, result.Ours, result.Difference})
		}
		if _, err := fmt.Fprintf(out, "\n%s\n\n%s\n", section.Title, list.Render()); err != nil {
			return err
		}
	}
	return nil
}

// environment says what the studies were trained with.
func environment(version string) []paper.Pair {
	pairs := []paper.Pair{
		{Name: "trellis", Value: version},
		{Name: "numerics", Value: trainer.NumericsVersion},
		{Name: "Go", Value: runtime.Version()},
		{
			Name: "machine", Value: fmt.Sprintf("%s/%s, %s", runtime.GOOS, runtime.GOARCH,
				output.Count(uint64(runtime.NumCPU()), "core")),
		},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				pairs = append(pairs, paper.Pair{Name: "revision", Value: setting.Value})
			}
		}
	}
	return pairs
}

// describeStage is a study's line in the report.
func describeStage(ctx context.Context, c *client.Client, study *trellisv1.Study, address string) (paper.Stage, error) {
	answer, err := client.Call(ctx, client.CallTimeout, c.GetReport,
		&trellisv1.GetReportRequest{Study: study.GetName()})
	if err != nil {
		return paper.Stage{}, err
	}
	best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial,
		&trellisv1.GetBestTrialRequest{Study: study.GetName()})
	if err != nil {
		return paper.Stage{}, err
	}
	report := answer.GetReport()
	progress := report.GetStudy().GetProgress()
	parameters := best.GetTrial().GetParameters()
	return paper.Stage{
		Name: study.GetName(), Kind: study.GetSpec().GetModel(), State: describe.StudyState(study),
		Trials: progress.GetTrials(), Runs: progress.GetRuns(),
		Epochs:  report.GetEpochsTrained() + report.GetEpochsShared(),
		Seconds: progress.GetTrainingSeconds() + progress.GetSecondsShared(),
		Best: fmt.Sprintf("%s, maximum epochs %d: objective %s at epoch %d",
			describe.Parameters(parameters, describe.Axes{BatchSize: true}),
			parameters.GetMaxEpochs(), output.ShortLoss(best.GetTrial().GetObjective()),
			best.GetTrial().GetBestEpoch()),
		Digest: report.GetDigest(), Command: strings.TrimSpace("trellis report " + study.GetName() + " " + address),
	}, nil
}
