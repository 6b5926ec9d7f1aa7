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
	"google.golang.org/protobuf/proto"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/paper"
	"trellis/trainer"
)

// ReportName is the file of the report in a reproduction's folder.
const ReportName = "report.html"

// writeReproduction finishes the analysis of studies that have ended, writes figures and report, and says where they are.
func writeReproduction(
	ctx context.Context, env *cli.Environment, report *reproductionReport, studies map[string]*trellisv1.Study,
	options reproduceOptions,
) error {
	if err := report.finish(ctx, studies); err != nil {
		return err
	}
	found := report.analyzer.Findings()
	for number, picture := range found.Pictures {
		for extension, content := range map[string][]byte{"png": picture.PNG, "svg": picture.SVG} {
			name := fmt.Sprintf("figure-%d.%s", number, extension)
			if err := writeReproduced(env, options.folder, name, func(out io.Writer) error {
				_, err := out.Write(content)
				return err
			}); err != nil {
				return err
			}
		}
	}
	page := &paper.Report{PaperReport: proto.CloneOf(report.PaperReport), Created: time.Now(), Pictures: found.Pictures}
	page.Summary += "\n\n" + strings.ToUpper(options.whereToAsk()[:1]) + options.whereToAsk()[1:] + "."
	if err := writeReproduced(env, options.folder, ReportName, page.Write); err != nil {
		return err
	}
	if err := writeResultLines(env.Out, page.Sections); err != nil {
		return err
	}
	_, err := fmt.Fprintf(env.Out, "\nReport: %s. Figures 2 to 9 are in the same folder as PNG and SVG.\n",
		filepath.Join(options.folder, ReportName))
	return err
}

func writeReproduced(env *cli.Environment, folder, name string, write func(io.Writer) error) error {
	_, err := output.WriteFile(filepath.Join(folder, name), 0o666, env.Out, write)
	return err
}

// writeResultLines writes the paper's numbers beside ours, and those of ours that are compared with each other.
func writeResultLines(out io.Writer, sections []*trellisv1.PaperSection) error {
	for _, section := range sections {
		var lists []table.Writer
		if len(section.Results) > 0 {
			list := output.NewTable()
			list.AppendHeader(table.Row{"result", "paper", "ours", "difference"})
			for _, result := range section.Results {
				list.AppendRow(table.Row{result.What, result.Paper, result.Ours, result.Difference})
			}
			lists = append(lists, list)
		}
		if its := section.GetTable(); its != nil {
			list := output.NewTable()
			row := func(what string, values []string) (row table.Row) {
				row = table.Row{what}
				for _, value := range values {
					row = append(row, value)
				}
				return row
			}
			list.AppendHeader(row("result", its.Columns))
			for _, r := range its.Rows {
				list.AppendRow(row(r.What, r.Values))
			}
			lists = append(lists, list)
		}
		for i, list := range lists {
			title := section.Title + "\n\n"
			if i > 0 {
				title = ""
			}
			if _, err := fmt.Fprintf(out, "\n%s%s\n", title, list.Render()); err != nil {
				return err
			}
		}
	}
	return nil
}

// environment says what the studies were trained with.
func environment(version string) []*trellisv1.PaperFact {
	pairs := []*trellisv1.PaperFact{
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
				pairs = append(pairs, &trellisv1.PaperFact{Name: "revision", Value: setting.Value})
			}
		}
	}
	return pairs
}

// describeStage fills in what the report has of a study that has ended.
func describeStage(
	ctx context.Context, c *client.Client, stage *trellisv1.PaperStage, study *trellisv1.Study, address string,
) error {
	answer, err := client.Call(ctx, client.CallTimeout, c.GetReport,
		&trellisv1.GetReportRequest{Study: study.GetName()})
	if err != nil {
		return err
	}
	report := answer.GetReport()
	progress := report.GetStudy().GetProgress()
	stage.State, stage.CreateIndex = describe.StudyState(study), study.GetCreateIndex()
	stage.Trials, stage.Runs = progress.GetTrials(), progress.GetRuns()
	stage.Epochs = report.GetEpochsTrained() + report.GetEpochsShared()
	stage.Seconds = progress.GetTrainingSeconds() + progress.GetSecondsShared()
	stage.Digest = report.GetDigest()
	stage.Command = strings.TrimSpace("trellis report " + study.GetName() + " " + address)
	// There is none if no trial has a result.
	best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial,
		&trellisv1.GetBestTrialRequest{Study: study.GetName()})
	if err != nil {
		return err
	}
	parameters := best.GetTrial().GetParameters()
	stage.Best = fmt.Sprintf("%s, maximum epochs %d: objective %s at epoch %d",
		describe.Parameters(parameters, describe.Axes{BatchSize: true}),
		parameters.GetMaxEpochs(), output.ShortLoss(best.GetTrial().GetObjective()),
		best.GetTrial().GetBestEpoch())
	return nil
}
