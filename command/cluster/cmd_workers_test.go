package cluster

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/command/golden"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// A worker in each format.
func TestGoldenWorker(t *testing.T) {
	worker := func(format output.Format, out *bytes.Buffer) error {
		return output.WriteOne(out, format, &trellisv1.Worker{
			Name: "host-1", State: trellisv1.WorkerState_WORKER_STATE_LOST, Slots: 8, Runs: 2, Version: "v1",
			Processor: "RISC", Machine: "host", Capacity: &trellisv1.Capacity{
				Cpus: 7.5, Memory: 64 << 30, Gpus: []*trellisv1.Gpu{{Id: "0"}, {Id: "GPU-2f1a9a5e"}}, Programs: true,
			},
		}, workerColumns)
	}
	golden.CheckListing(t, "worker", func(format string, out *bytes.Buffer) error {
		return worker(output.Format(format), out)
	})
}

// A worker that is avoided, in each format.
func TestGoldenAvoidedWorker(t *testing.T) {
	t.Setenv("TZ", "UTC")
	until := timestamppb.New(time.Date(2026, 11, 28, 15, 4, 5, 0, time.UTC))
	golden.CheckListing(t, "avoided", func(format string, out *bytes.Buffer) error {
		list := output.NewList(out, output.Format(format), "workers", workerColumns)
		for _, worker := range []*trellisv1.Worker{
			{Name: "host-1", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 8, Avoided: []*trellisv1.Avoidance{{
				Reason: trellisv1.AvoidanceReason_AVOIDANCE_REASON_UNFIT, Until: until, Message: "no space left on device",
			}}},
			{Name: "host-2", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 8, Avoided: []*trellisv1.Avoidance{
				{
					Reason: trellisv1.AvoidanceReason_AVOIDANCE_REASON_STUDY_FAILS, Until: until, Study: "a",
					Message: "trainer panicked",
				},
				{
					Reason: trellisv1.AvoidanceReason_AVOIDANCE_REASON_STUDY_FAILS, Until: until, Study: "b",
					Message: "trainer panicked",
				},
			}},
			{Name: "host-3", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 8},
			{Name: "host-4", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 8, Avoided: []*trellisv1.Avoidance{{
				Reason: trellisv1.AvoidanceReason_AVOIDANCE_REASON_WRONG_LOSSES, Study: "a",
			}}},
		} {
			if err := list.Add(worker); err != nil {
				return err
			}
		}
		return list.Close("")
	})
}
