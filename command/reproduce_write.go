package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/paper"
	"trellis/trainer"
	"trellis/trainer/dataset"
	"trellis/worker"
)

// reportName is the file of the report in a reproduction's folder.
const reportName = "report.html"

// writeReproduction makes figures and report of studies that have ended, and says where they are.
func (cli *commandLine) writeReproduction(
	ctx context.Context, c *client, r *trellisv1.Reproduction, studies map[string]*trellisv1.Study, data *dataset.Data,
	options reproduceOptions,
) error {
	note := func(format string, args ...any) { fmt.Fprintf(cli.stderr, format+".\n", args...) }
	note("Analysis: fetching what the studies have trained")
	material, err := c.gatherMaterial(ctx, r.GetAnalysis(), studies, data)
	if err != nil {
		return fmt.Errorf("gather what the studies have trained: %w", err)
	}
	material.Command = options.command
	if options.remote {
		material.Address = "--coordinator " + options.directory.path
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
				if err := cli.writeReproduced(options.output, name, func(out io.Writer) error {
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
		Summary: "The paper's figures and numbers beside ours: what was trained, by which command, and how far apart they are.\n\n" +
			strings.ToUpper(options.whereToAsk()[:1]) + options.whereToAsk()[1:] + ".",
		Environment: environment(cli.version),
	}
	for _, stage := range r.GetStages() {
		row, err := c.describeStage(ctx, studies[stage.GetStudy().GetName()], material.Address)
		if err != nil {
			return err
		}
		page.Stages = append(page.Stages, row)
	}
	if err := cli.writeReproduced(options.output, reportName, page.Write); err != nil {
		return err
	}
	if err := writeResultLines(cli.stdout, sections); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cli.stdout, "\nReport: %s. Figures 2 to 9 are beside it, as PNG and SVG.\n",
		filepath.Join(options.output, reportName))
	return err
}

func (cli *commandLine) writeReproduced(folder, name string, write func(io.Writer) error) error {
	_, err := writeOutput(filepath.Join(folder, name), 0o666, cli.stdout, write)
	return err
}

// writeResultLines writes the paper's numbers beside ours.
func writeResultLines(out io.Writer, sections []paper.Section) error {
	for _, section := range sections {
		if len(section.Results) == 0 {
			continue
		}
		list := newTable()
		list.AppendHeader(table.Row{"what", "paper", "ours", "difference"})
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
		{Name: "machine", Value: fmt.Sprintf("%s/%s, %s", runtime.GOOS, runtime.GOARCH, count(uint64(runtime.NumCPU()), "core"))},
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
func (c *client) describeStage(ctx context.Context, study *trellisv1.Study, address string) (paper.Stage, error) {
	answer, err := call(ctx, callTimeout, c.GetReport, &trellisv1.GetReportRequest{Study: study.GetName()})
	if err != nil {
		return paper.Stage{}, err
	}
	best, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: study.GetName()})
	if err != nil {
		return paper.Stage{}, err
	}
	report := answer.GetReport()
	progress := report.GetStudy().GetProgress()
	parameters := best.GetTrial().GetParameters()
	return paper.Stage{
		Name: study.GetName(), Kind: study.GetSpec().GetModel(), State: studyState(study),
		Trials: progress.GetTrials(), Runs: progress.GetRuns(),
		Epochs:  report.GetEpochsTrained() + report.GetEpochsShared(),
		Seconds: progress.GetTrainingSeconds() + progress.GetSecondsShared(),
		Best: fmt.Sprintf("%s, maximum epochs %d: objective %s at epoch %d", describeParameters(parameters, axes{batchSize: true}),
			parameters.GetMaxEpochs(), shortLoss(best.GetTrial().GetObjective()), best.GetTrial().GetBestEpoch()),
		Digest: report.GetDigest(), Command: strings.TrimSpace("trellis report " + study.GetName() + " " + address),
	}, nil
}

// gatherMaterial fetches the test images, and the best trials with their weights.
func (c *client) gatherMaterial(
	ctx context.Context, analysis *trellisv1.Analysis, studies map[string]*trellisv1.Study, data *dataset.Data,
) (m *reproduction.Material, err error) {
	m = &reproduction.Material{Test: data.Test, Height: data.Height, Width: data.Width, Corrupt: trainer.Corrupt}
	best := func(name string) (reproduction.Trained, error) {
		trained, err := c.bestBy(ctx, studies[name], func(*trellisv1.Parameters) float64 { return 0 })
		if err != nil {
			return reproduction.Trained{}, err
		}
		return trained[0], nil
	}
	if m.Autoencoder, err = best(analysis.GetAutoencoder()); err != nil {
		return nil, err
	}
	if m.Theirs, err = c.trialAt(ctx, analysis.GetAutoencoder(), reproduction.Best); err != nil {
		return nil, err
	}
	if m.Variational, err = best(analysis.GetVariational()); err != nil {
		return nil, err
	}
	m.Denoising, err = c.bestBy(ctx, studies[analysis.GetDenoising()], valueOn("noise"))
	if err != nil {
		return nil, err
	}
	type budget struct {
		noise     float64
		maxEpochs uint32
	}
	budgets, err := bestTrials(ctx, c, studies[analysis.GetDenoising()], func(p *trellisv1.Parameters) budget {
		return budget{p.GetValues()["noise"], p.GetMaxEpochs()}
	})
	if err != nil {
		return nil, err
	}
	m.DenoisingBudgets = slices.SortedFunc(maps.Values(budgets), func(a, b *trellisv1.Trial) int {
		p, q := a.GetParameters(), b.GetParameters()
		return cmp.Or(cmp.Compare(p.GetValues()["noise"], q.GetValues()["noise"]), cmp.Compare(p.GetMaxEpochs(), q.GetMaxEpochs()))
	})
	classifiers, err := c.bestBy(ctx, studies[analysis.GetClassifier()], valueOn("fine_tune"))
	if err != nil {
		return nil, err
	}
	for i := range classifiers {
		if valueOn("fine_tune")(classifiers[i].Trial.GetParameters()) == 0 {
			m.Frozen = &classifiers[i]
		} else {
			m.FineTuned = &classifiers[i]
		}
	}
	return m, nil
}

func valueOn(axis string) func(*trellisv1.Parameters) float64 {
	return func(p *trellisv1.Parameters) float64 { return p.GetValues()[axis] }
}

// loadDataSet reads a data set into memory.
func loadDataSet(ctx context.Context, options *dataOptions, name string) (*dataset.Data, error) {
	sets, err := newDataSets(options)
	if err != nil {
		return nil, err
	}
	set, err := sets.library.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	return set.Load()
}

// bestBy returns the best trial of a study for each value of the axis, ascending, with their networks.
func (c *client) bestBy(
	ctx context.Context, study *trellisv1.Study, axis func(*trellisv1.Parameters) float64,
) ([]reproduction.Trained, error) {
	best, err := bestTrials(ctx, c, study, axis)
	if err != nil {
		return nil, err
	}
	var all []reproduction.Trained
	for _, value := range slices.Sorted(maps.Keys(best)) {
		trial, err := c.withLosses(ctx, best[value])
		if err != nil {
			return nil, err
		}
		network, err := c.loadNetwork(ctx, trial)
		if err != nil {
			return nil, fmt.Errorf("study %s: %w", study.GetName(), err)
		}
		all = append(all, reproduction.Trained{Study: study, Trial: trial, Network: network})
	}
	return all, nil
}

// trialAt returns the best trial of a study with these values that has been answered, nil if there is none.
func (c *client) trialAt(ctx context.Context, study string, p *trellisv1.Parameters) (*trellisv1.Trial, error) {
	response, err := call(ctx, callTimeout, c.ListTrials, &trellisv1.ListTrialsRequest{
		Study: study, OrderBy: "objective", PageSize: 1, Filter: fmt.Sprintf(
			`state == "succeeded" && latent_dim == %d && learning_rate == %v && weight_decay == %v && max_epochs == %d`,
			p.GetLatentDim(), p.GetLearningRate(), p.GetWeightDecay(), p.GetMaxEpochs()),
	})
	if err != nil || len(response.GetTrials()) == 0 {
		return nil, err
	}
	return response.GetTrials()[0], nil
}

// bestTrials are the best ones of a study for each value of key, of those with a finite loss. There is one at least.
func bestTrials[K comparable](
	ctx context.Context, c *client, study *trellisv1.Study, key func(*trellisv1.Parameters) K,
) (map[K]*trellisv1.Trial, error) {
	best := map[K]*trellisv1.Trial{}
	request := &trellisv1.ListTrialsRequest{
		Study: study.GetName(), OrderBy: "objective", Filter: `state == "succeeded"`, PageSize: pageSize,
	}
	for {
		response, err := call(ctx, callTimeout, c.ListTrials, request)
		if err != nil {
			return nil, err
		}
		for _, trial := range response.GetTrials() {
			if value := key(trial.GetParameters()); best[value] == nil && trial.GetBestEpoch() > 0 {
				best[value] = trial
			}
		}
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	if len(best) == 0 {
		return nil, fmt.Errorf("no trial of study %s has been answered with a finite loss", study.GetName())
	}
	return best, nil
}

// withLosses returns a trial with its losses.
func (c *client) withLosses(ctx context.Context, trial *trellisv1.Trial) (*trellisv1.Trial, error) {
	response, err := call(ctx, callTimeout, c.ListTrials, &trellisv1.ListTrialsRequest{
		Study: trial.GetStudy(), Filter: fmt.Sprintf("index == %d", trial.GetIndex()), PageSize: 1, Losses: true,
	})
	if err != nil {
		return nil, err
	}
	if len(response.GetTrials()) == 0 {
		return nil, fmt.Errorf("trial %d of study %s has gone", trial.GetIndex(), trial.GetStudy())
	}
	return response.GetTrials()[0], nil
}

// loadNetwork fetches the best weights of a trial.
func (c *client) loadNetwork(ctx context.Context, trial *trellisv1.Trial) (*trainer.Inference, error) {
	response, err := call(ctx, callTimeout, c.GetRun, &trellisv1.GetRunRequest{Study: trial.GetStudy(), Run: trial.GetRun()})
	if err != nil {
		return nil, err
	}
	saved, err := results.BestWeights(trial, response.GetRun())
	if err != nil {
		return nil, err
	}
	checkpoint, err := c.loadCheckpoint(ctx, saved)
	if err != nil {
		return nil, err
	}
	return trainer.NewInference(worker.TrainerConfig(response.GetConfig()), checkpoint)
}

var _ reproduction.Network = (*trainer.Inference)(nil)
