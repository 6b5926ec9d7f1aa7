package cluster

import (
	"bytes"
	"testing"

	"trellis/command/golden"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// A worker in each format.
func TestGoldenWorker(t *testing.T) {
	worker := func(format output.Format, out *bytes.Buffer) error {
		return output.WriteOne(out, format, &trellisv1.Worker{
			Name: "host-1", State: trellisv1.WorkerState_WORKER_STATE_LOST, Slots: 8, Runs: 2, Version: "v1",
			Processor: "RISC",
		}, workerColumns)
	}
	golden.CheckListing(t, "worker", func(format string, out *bytes.Buffer) error {
		return worker(output.Format(format), out)
	})
}
