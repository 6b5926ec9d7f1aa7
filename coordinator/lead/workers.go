package lead

import (
	"context"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// setWorker registers a worker, or changes what is known about it.
func setWorker(ctx context.Context, log proposer, worker *trellisv1.Worker) error {
	_, err := log.ProposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_SetWorker{
		SetWorker: &trellisv1.SetWorkerCommand{Worker: worker},
	}})
	return err
}

// setWorkerState changes only the state of a registered worker.
func setWorkerState(
	ctx context.Context, store Snapshots, log proposer, name string, state trellisv1.WorkerState,
) error {
	worker, err := store.Snapshot().Worker(nil, name)
	if err != nil {
		return err
	}
	worker = proto.CloneOf(worker)
	worker.State = state
	return setWorker(ctx, log, worker)
}
