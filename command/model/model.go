package model

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"trellis/command/client"
	"trellis/command/onnx"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
	"trellis/trainer"
	"trellis/worker"
)

// Formats of model files, which are also the ends of their names.
const (
	Safetensors = "safetensors"
	ONNX        = "onnx"
)

// Model is the trained network of a trial.
type Model struct {
	// Config is what its run was trained with.
	Config *trellisv1.RunConfig

	config     trainer.Config
	checkpoint *trainer.Checkpoint
	// origin says where it comes from.
	origin map[string]string
}

// Fetch downloads the weights of a trial's best epoch.
func Fetch(ctx context.Context, c *client.Client, trial *trellisv1.Trial) (*Model, error) {
	response, err := client.Call(ctx, client.CallTimeout, c.GetRun,
		&trellisv1.GetRunRequest{Study: trial.GetStudy(), Run: trial.GetRun()})
	if err != nil {
		return nil, err
	}
	if response.GetConfig().GetProgram() != nil {
		return nil, fmt.Errorf("trial %d is of a program, whose checkpoints have a form of their own: get them with "+
			"trellis checkpoint get %s %[1]d", trial.GetIndex(), trial.GetStudy())
	}
	if response.GetConfig().GetModel() == trainer.Synthetic {
		return nil, fmt.Errorf("trial %d has no weights: the synthetic model is a formula", trial.GetIndex())
	}
	saved, err := trajectory.BestWeights(nil, trial, response.GetRun())
	if err != nil {
		return nil, err
	}
	checkpoint, err := c.LoadCheckpoint(ctx, saved)
	if err != nil {
		return nil, fmt.Errorf("get the weights of trial %d: %w", trial.GetIndex(), err)
	}
	return &Model{
		Config: response.GetConfig(), config: worker.TrainerConfig(response.GetConfig()), checkpoint: checkpoint,
		origin: map[string]string{
			"study": trial.GetStudy(), "trial": strconv.FormatUint(trial.GetIndex(), 10), "run": trial.GetRun(),
			"checkpoint": saved.GetSha256(),
		},
	}, nil
}

// Write writes the network in a format. version is that of this program.
func (m *Model) Write(out io.Writer, format, version string) error {
	if format == Safetensors {
		return trainer.WriteModel(out, m.config, m.checkpoint, m.origin)
	}
	inference, err := trainer.NewInference(m.config, m.checkpoint)
	if err != nil {
		return err
	}
	return onnx.Write(out, inference, trainer.ModelMetadata(m.config, m.checkpoint, m.origin), version)
}
