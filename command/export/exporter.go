package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/model"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/export"
	"trellis/results/export/mlflow"
	"trellis/results/export/tensorboard"
	"trellis/results/trajectory"
	"trellis/trainer"
)

// exporter writes one export.
type exporter struct {
	ctx     context.Context
	env     *cli.Environment
	client  *client.Client
	options *options
	study   *trellisv1.Study
	// trials is how many have been written, and what names what was written.
	trials uint64
	what   string
}

// write writes everything into a folder.
func (e *exporter) write(folder string) (err error) {
	spool, err := export.NewSpool(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	if err := e.gather(spool); err != nil {
		return err
	}
	if e.trials = spool.Trials(); e.trials == 0 {
		return fmt.Errorf("no trial of study %q meets the condition: nothing to export", e.study.GetName())
	}
	switch *e.options.format {
	case formatParquet:
		e.what = "Parquet (trials.parquet, epochs.parquet)"
		metadata := map[string]string{"trellis.study": e.study.GetName(), "trellis.version": e.env.Version}
		return tables(folder, spool, ".parquet", func(out io.Writer, table export.Table) error {
			return export.WriteParquet(out, table, metadata)
		})
	case formatTensorBoard:
		e.what = "event files. To show them: tensorboard --logdir " + e.options.folder
		return tensorboard.Write(folder, e.study, spool)
	case formatMLflow:
		return e.mlflow(folder, spool)
	}
	e.what = "CSV (trials.csv, epochs.csv)"
	return tables(folder, spool, ".csv", export.WriteCSV)
}

// tables writes both tables as files.
func tables(folder string, spool *export.Spool, end string, write func(io.Writer, export.Table) error) error {
	for name, table := range map[string]export.Table{"trials": spool.TrialTable(), "epochs": spool.EpochTable()} {
		if _, err := output.WriteFile(filepath.Join(folder, name+end), 0o666, nil, func(out io.Writer) error {
			return write(out, table)
		}); err != nil {
			return err
		}
	}
	return nil
}

// mlflow writes a store, with the model of the best trial if that is among those that are written.
func (e *exporter) mlflow(folder string, spool *export.Spool) error {
	final, err := filepath.Abs(e.options.folder)
	if err != nil {
		return err
	}
	config := mlflow.Config{
		Folder: folder, Final: final, Study: e.study, Spool: spool, User: e.study.GetCreator().GetName(),
	}
	e.what = "a file store of MLflow"
	best, err := client.Call(e.ctx, client.CallTimeout, e.client.GetBestTrial,
		&trellisv1.GetBestTrialRequest{Study: e.study.GetName()})
	switch {
	case client.IsUnanswered(err):
	case err != nil:
		return err
	case best.GetVerdict().GetBest() != nil:
		if err := e.same(); err != nil {
			return err
		}
		if config.Files, err = e.model(best.GetTrial()); err != nil {
			return err
		}
		config.Best = best.GetTrial()
		if config.Checkpoint, err = e.checkpoint(best.GetTrial()); err != nil {
			return err
		}
	}
	return mlflow.Write(config)
}

// checkpoint returns what writes the checkpoint of a program's best trial into a folder, or nil if it has none or that can't be had.
func (e *exporter) checkpoint(best *trellisv1.Trial) (func(folder string) error, error) {
	program := e.study.GetSpec().GetProgram()
	if program == nil {
		return nil, nil
	}
	response, err := client.Call(e.ctx, client.CallTimeout, e.client.GetRun,
		&trellisv1.GetRunRequest{Study: e.study.GetName(), Run: best.GetRun()})
	if err != nil {
		return nil, err
	}
	if len(response.GetRun().GetCheckpoints()) == 0 {
		return nil, nil // Not all programs make them.
	}
	saved, err := trajectory.BestWeights(program, best, response.GetRun())
	if err != nil {
		fmt.Fprintf(e.env.Err, "The export is without the best trial's checkpoint: %s\n", exit.Text(err))
		return nil, nil
	}
	return func(folder string) error {
		root, err := os.OpenRoot(folder)
		if err != nil {
			return err
		}
		defer root.Close()
		if err := e.client.FetchCheckpoint(e.ctx, saved, root); err != nil {
			return fmt.Errorf("get the checkpoint of the best trial: %w", err)
		}
		return nil
	}, nil
}

// same sees to it that the study is still the one that was read.
func (e *exporter) same() error {
	now, err := client.Call(e.ctx, client.CallTimeout, e.client.GetStudy,
		&trellisv1.GetStudyRequest{Study: e.study.GetName()})
	if err == nil && now.GetStudy().GetCreateIndex() != e.study.GetCreateIndex() {
		return client.Replaced(e.study.GetName())
	}
	return err
}

// description is an MLmodel file: mlflow.onnx.load_model and mlflow.pyfunc.load_model read the model by it.
const description = `artifact_path: model
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.12.0
    providers: [CPUExecutionProvider]
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
mlflow_version: 2.0.0
run_id: %s
utc_time_created: '%s'
`

// model returns the files of the best trial's model, or none if it has no network, or if its weights can't be had.
func (e *exporter) model(best *trellisv1.Trial) (map[string][]byte, error) {
	if e.study.GetSpec().GetProgram() != nil || e.study.GetSpec().GetModel() == trainer.Synthetic {
		return nil, nil
	}
	its, err := model.Fetch(e.ctx, e.client, best)
	if e.ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(e.env.Err, "The export is without the best trial's model: %s\n", exit.Text(err))
		return nil, nil
	}
	files := map[string][]byte{
		"model/MLmodel": fmt.Appendf(nil, description, mlflow.RunID(e.study.GetName(), best.GetIndex()),
			e.study.GetCreateTime().AsTime().Format("2006-01-02 15:04:05.000000")),
		"model/requirements.txt": []byte("mlflow\nonnx\nonnxruntime\n"),
	}
	for _, format := range []string{model.ONNX, model.Safetensors} {
		var file bytes.Buffer
		if err := its.Write(&file, format, e.env.Version); err != nil {
			return nil, err
		}
		files["model/model."+format] = file.Bytes()
	}
	return files, nil
}
