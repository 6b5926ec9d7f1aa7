package program

import (
	"log/slog"
	"time"

	"trellis/proto/template"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/archive"
	"trellis/worker/supervisor"
)

// Config says what to run, and where.
type Config struct {
	// Program is what the study's spec says. Its files are not read from it: see Files.
	Program *trellisv1.Program
	// Parameters are the point's values by name, without max_epochs and seed.
	Parameters map[string]*trellisv1.Value
	// Study, Run and Attempt are told to the program, and name its processes.
	Study, Run string
	Attempt    uint64
	Seed       int64
	// MaxEpochs is the parameter of that name. The program is asked for the epochs FirstEpoch to LastEpoch, which begin
	// at 1.
	MaxEpochs, FirstEpoch, LastEpoch int
	// Objective is told to the program. A run from epoch 1 that never reports its metric fails.
	Objective *trellisv1.Objective
	// Files is the path of an archive of the program's files, and Resume that of a checkpoint. "" is none. They are
	// trusted to have the digest that they should have.
	Files, Resume string
	// Resources are the limits. What is not set is not limited.
	Resources *trellisv1.Resources
	// GPUs are the numbers or UUIDs of its GPUs, as CUDA_VISIBLE_DEVICES has them.
	GPUs []string
	// Folder is where the attempt folder is made.
	Folder string
	// Checkpoints is the folder that packed checkpoints are written to. They are the receiver's, who removes them.
	Checkpoints string
	// WantCheckpoint says whether the checkpoint of a report, which the receiver gets next, should be packed. nil packs
	// all. The last one that was reported is packed when the program ends, if it was not wanted: see Result.
	WantCheckpoint func(Report) bool
	// Revoked is closed when nobody wants what the program has reported or will report: packing of checkpoints then ends.
	// The context is done by then. nil is never.
	Revoked <-chan struct{}
	// Hurry is closed when a program that is being stopped is to be killed, whatever its grace. nil is never.
	Hurry <-chan struct{}
	// Python is a folder that is put first on PYTHONPATH. "" is none.
	Python string
	// Output keeps what the program writes to standard output and error. nil drops all but the last lines.
	Output *Output
	// Limits of the files and of a checkpoint. The zero values are the archive package's defaults.
	FileLimits, CheckpointLimits archive.Limits
	// Processes is how many processes and threads the program may have. 0 is DefaultProcesses.
	Processes int
	// Supervisors keeps the next attempt's supervisor ready, which makes starts faster. nil starts one when it is
	// needed.
	Supervisors *supervisor.Spare
	// Watch says that limits are enforced without control groups, even where there are some.
	Watch bool
	// Log gets what is worth knowing and is no failure. nil drops it.
	Log *slog.Logger
}

// Defaults of a Config and of a Program.
const (
	DefaultProcesses = 4096
	DefaultGrace     = 10 * time.Second
)

// Bounds of what a program reports.
const (
	// MaxLine is how many bytes a report may have.
	MaxLine = 1 << 20
	// MaxMetrics is how many metrics a run may report.
	MaxMetrics = template.MaxMetrics
)

// Report is what the program reported for an epoch.
type Report struct {
	Epoch int
	// Metrics by name. An epoch may have none.
	Metrics map[string]float64
	// Addition says that it only adds a checkpoint to the epoch reported last.
	Addition bool
	// Checkpoint is set if it named one that is wanted.
	Checkpoint *Checkpoint
	// Elapsed is the time since the program was started.
	Elapsed time.Duration
}

// Checkpoint is a packed checkpoint.
type Checkpoint struct {
	// Epoch is the one after which the program saved it.
	Epoch int
	// Path is where it is, within Config.Checkpoints.
	Path string
	archive.Info
}

// Result says how an attempt ended, also if Run returns an error.
type Result struct {
	// Epochs is the last epoch that was reported, FirstEpoch-1 if none was.
	Epochs int
	// Returned says that the program handed its run back: it exited with code 75.
	Returned bool
	// Beyond says that the program wanted to report more epochs than it was asked for, and was stopped.
	Beyond bool
	// Checkpoint is the last one that was reported, if it was not wanted then. nil if there is none.
	Checkpoint *Checkpoint
	// Enforced says how the limits were enforced.
	Enforced supervisor.Enforcement
	// Memory is the most bytes that the program was seen to use. 0 if it is not known.
	Memory uint64
	// CPU is the processor time of the program and all that it started and waited for, Elapsed the time that it ran.
	CPU, Elapsed time.Duration
}
