// Package slurm has the batch scripts that start a coordinator and workers as jobs of Slurm. trellis
// launch submits that of the workers.
package slurm

import _ "embed"

// WorkerScript is worker.sh.
//
//go:embed worker.sh
var WorkerScript string
