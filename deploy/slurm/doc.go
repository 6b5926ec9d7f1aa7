// Package slurm has the batch script that starts a worker as a job of Slurm, for trellis launch to submit.
package slurm

import _ "embed"

// WorkerScript is worker.sh.
//
//go:embed worker.sh
var WorkerScript string
