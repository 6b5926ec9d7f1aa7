package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/archive"
	"trellis/worker/supervisor"
)

// prefix begins the names of attempt folders.
const prefix = "attempt-"

// folder is the folder of an attempt.
type folder struct {
	path string
	// work is where the program is started, resume the checkpoint to resume from ("" is none), run and reports the
	// files.
	work, resume, run, reports string
}

// makeFolder makes the folder of an attempt and puts the program's files and its checkpoint into it.
func makeFolder(ctx context.Context, c *Config) (*folder, error) {
	path, err := os.MkdirTemp(c.Folder, fmt.Sprintf("%s%d-", prefix, c.Attempt))
	if err != nil {
		return nil, broken("make the attempt's folder", err)
	}
	// The program may change its working folder, so paths are absolute. Links are resolved: what getcwd says begins
	// with it.
	if path, err = filepath.Abs(path); err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, broken("make the attempt's folder", err)
	}
	f := &folder{
		path: path, work: filepath.Join(path, "work"), run: filepath.Join(path, "run.json"),
		reports: filepath.Join(path, "reports"),
	}
	if err := f.fill(ctx, c); err != nil {
		f.remove()
		return nil, err
	}
	return f, nil
}

func (f *folder) fill(ctx context.Context, c *Config) error {
	limits := c.FileLimits
	if limits == (archive.Limits{}) {
		limits = archive.Limits{Files: archive.DefaultFiles, Bytes: archive.DefaultFileBytes}
	}
	if err := unpack(ctx, c.Files, f.work, limits, BadCommand, "unpack the program's files"); err != nil {
		return err
	}
	if c.Resume != "" {
		f.resume = filepath.Join(f.path, "resume")
		err := unpack(ctx, c.Resume, f.resume, checkpointLimits(c), BadResume, "unpack the checkpoint")
		if err != nil {
			return err
		}
	}
	if err := os.WriteFile(f.reports, nil, 0o600); err != nil {
		return broken("make the reports file", err)
	}
	text, err := json.Marshal(f.describe(c))
	if err != nil {
		return &Error{Kind: BadCommand, Message: "write the run's parameters: " + err.Error(), Err: err}
	}
	if err := os.WriteFile(f.run, append(text, '\n'), 0o600); err != nil {
		return broken("write run.json", err)
	}
	return nil
}

func checkpointLimits(c *Config) archive.Limits {
	if c.CheckpointLimits != (archive.Limits{}) {
		return c.CheckpointLimits
	}
	return archive.Limits{Files: archive.DefaultFiles, Bytes: archive.DefaultCheckpointBytes}
}

// unpack makes a folder and unpacks an archive into it, if there is one.
func unpack(ctx context.Context, path, into string, limits archive.Limits, kind Kind, what string) error {
	if err := os.Mkdir(into, 0o700); err != nil {
		return broken(what, err)
	}
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return broken(what, err)
	}
	defer file.Close()
	root, err := os.OpenRoot(into)
	if err != nil {
		return broken(what, err)
	}
	defer root.Close()
	_, err = archive.Unpack(ctx, file, root, limits)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, archive.ErrInvalid) || errors.Is(err, archive.ErrLimit):
		return &Error{Kind: kind, Message: what + ": " + err.Error(), Err: err}
	default:
		return broken(what, err)
	}
}

// description is what TRELLIS_RUN names.
type description struct {
	Study      string         `json:"study"`
	Run        string         `json:"run"`
	Attempt    uint64         `json:"attempt"`
	Parameters map[string]any `json:"parameters"`
	Seed       int64          `json:"seed"`
	MaxEpochs  int            `json:"max_epochs"`
	FirstEpoch int            `json:"first_epoch"`
	LastEpoch  int            `json:"last_epoch"`
	// Resume is a folder, null if there is none.
	Resume    *string   `json:"resume"`
	Reports   string    `json:"reports"`
	Objective objective `json:"objective"`
}

type objective struct {
	Metric    string `json:"metric"`
	Direction string `json:"direction"`
}

func (f *folder) describe(c *Config) description {
	d := description{
		Study: c.Study, Run: c.Run, Attempt: c.Attempt, Parameters: map[string]any{}, Seed: c.Seed,
		MaxEpochs: c.MaxEpochs, FirstEpoch: c.FirstEpoch, LastEpoch: c.LastEpoch, Reports: f.reports,
		Objective: objective{Metric: c.Objective.GetMetric(), Direction: direction(c.Objective)},
	}
	if f.resume != "" {
		d.Resume = &f.resume
	}
	for name, value := range c.Parameters {
		switch kind := value.GetKind().(type) {
		case *trellisv1.Value_Number:
			d.Parameters[name] = kind.Number
		case *trellisv1.Value_Integer:
			d.Parameters[name] = kind.Integer
		case *trellisv1.Value_Boolean:
			d.Parameters[name] = kind.Boolean
		default:
			d.Parameters[name] = value.GetText()
		}
	}
	return d
}

func direction(o *trellisv1.Objective) string {
	if o.GetDirection() == trellisv1.Direction_DIRECTION_MAXIMIZE {
		return "maximize"
	}
	return "minimize"
}

func (f *folder) remove() error { return supervisor.RemoveAll(f.path) }

// broken is an error of the worker: it could not do something that has nothing to do with the program.
func broken(what string, err error) *Error {
	message := what + ": " + err.Error()
	if errors.Is(err, syscall.ENOSPC) {
		message = "the worker's disk is full: " + message
	}
	return &Error{Kind: Broken, Message: message, Err: err}
}
