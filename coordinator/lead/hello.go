package lead

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"maps"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// workerOf returns what a worker says of itself in its hello, with its principal.
func workerOf(hello *trellisv1.Hello, principal access.Principal) *trellisv1.Worker {
	worker := &trellisv1.Worker{
		Name: hello.GetWorker(), State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: hello.GetSlots(),
		Version: hello.GetVersion(), Processor: hello.GetProcessor(), Machine: hello.GetMachine(),
		Principal: principal.Message(), Capacity: hello.GetCapacity(),
		Labels: hello.GetLabels(), Study: hello.GetStudy(),
	}
	if hello.GetDraining() {
		worker.State = trellisv1.WorkerState_WORKER_STATE_DRAINING
	}
	if key := hello.GetKey(); len(key) > 0 {
		hash := sha256.Sum256(key)
		worker.Key = hash[:]
	}
	return worker
}

// isSame says whether a worker is the process that a name belongs to: it has its key and is the same principal. A name
// without a key, from before there were any, belongs to nobody yet.
func isSame(known, worker *trellisv1.Worker) bool {
	return known.GetKey() == nil || subtle.ConstantTimeCompare(known.GetKey(), worker.GetKey()) == 1 &&
		proto.Equal(known.GetPrincipal(), worker.GetPrincipal())
}

// checkName refuses a worker that greets with another's name, before it ends the other's session. The log refuses it
// again: of two that are new at the same time.
func (h *host) checkName(worker *trellisv1.Worker) error {
	known, err := h.store.Snapshot().Worker(nil, worker.GetName())
	switch {
	case errors.Is(err, results.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !isSame(known, worker):
		h.logger.Debug("refused a worker that greets with another's name", "worker", worker.GetName(),
			"principal", access.FromMessage(worker.GetPrincipal()))
		return errTaken(worker.GetName())
	}
	return nil
}

func errTaken(name string) error {
	return status.Errorf(codes.PermissionDenied, "the name %s belongs to another worker: a worker keeps the key and the "+
		"principal with which it first greeted", name)
}

// maxRegistering is how many workers are put into the log at the same time. The log writes so many at once; when more
// come together, as after the start of a large cluster, they would only keep what busy workers report from the log, and
// the processor from answering those that are connected.
const maxRegistering = 64

// register puts the worker into the store, unless that has it already just so: when all workers come back to a new
// leader, the log is spared thousands of entries. It waits for its turn, which is not the worker's fault.
func (h *host) register(ctx context.Context, session *session, worker *trellisv1.Worker) error {
	released := session.holdUp()
	defer released()
	select {
	case h.registering <- struct{}{}:
		defer func() { <-h.registering }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// The turn may have come after the end of the session: nobody waits for the welcome any more.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	known, err := h.store.Snapshot().Worker(nil, worker.GetName())
	if err == nil && known.GetState() == worker.GetState() && known.GetSlots() == worker.GetSlots() &&
		known.GetVersion() == worker.GetVersion() && known.GetProcessor() == worker.GetProcessor() &&
		known.GetMachine() == worker.GetMachine() && bytes.Equal(known.GetKey(), worker.GetKey()) &&
		proto.Equal(known.GetPrincipal(), worker.GetPrincipal()) &&
		known.GetLeaseMilliseconds() == worker.GetLeaseMilliseconds() &&
		proto.Equal(known.GetCapacity(), worker.GetCapacity()) &&
		maps.Equal(known.GetLabels(), worker.GetLabels()) && known.GetStudy() == worker.GetStudy() {
		// There is nothing to write, which would fail on a node that does not lead any more and has not noticed: it
		// must not tell the worker which of its attempts stand.
		return h.log.Verify(ctx)
	}
	return setWorker(ctx, h.log, worker)
}

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
