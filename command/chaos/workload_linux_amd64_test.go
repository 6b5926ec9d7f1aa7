package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// operations is how many changes a workload asks for.
	operations = 40
	// studiesAtOnce is how many studies they concern.
	studiesAtOnce = 8
	// deletedStudies is how many of the changes delete a study.
	deletedStudies = 2
)

// workload is 40 changes, a backup, a few changes more and a restore of the backup on one coordinator with one worker,
// and a record of what was acknowledged. It is the same each time, so that a fault can be moved through it.
type workload struct {
	*fleet
	coordinator *process
	worker      *process
	c           *client
	records     []*record
	// failed is closed when a fault was injected after which no change to the log may be acknowledged; nil if none is.
	failed <-chan struct{}
	// restored is how the restore has ended.
	restored error
	// acknowledged counts changes.
	acknowledged int
}

func newWorkload(t *testing.T) *workload {
	t.Helper()
	f := newFleet(t)
	coordinator := f.newCoordinator("coordinator", "--checkpoint-interval", "10ms", "--lease", lease().String())
	w := &workload{
		fleet: f, coordinator: coordinator, c: newClient(t, coordinator.address),
		worker: f.newWorker("worker", coordinator.address, "--slots", "2"),
	}
	for n := range studiesAtOnce {
		spec := synthetic(fmt.Sprintf("study-%d", n), 5*time.Millisecond, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    integers(8, 16),
			"learning_rate": values(1e-3, 1e-2),
			"max_epochs":    integers(2, 7),
		}})
		spec.Seeds = integers(uint32(n))
		w.records = append(w.records, newRecord(spec, true))
	}
	return w
}

// run does the work until it is done or the coordinator has ended.
func (w *workload) run() {
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	exited := w.coordinator.exited
	go func() {
		select {
		case <-exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	for w.c.probe(ctx) != nil {
		if ctx.Err() != nil {
			return
		}
	}
	if w.worker.process == nil {
		w.worker.start()
	}
	for n := range operations {
		w.operate(ctx, n)
	}
	backup, shown, err := w.backup(ctx)
	for n := range 8 {
		w.operate(ctx, 3*n)
	}
	if err == nil {
		w.restore(ctx, backup, shown)
	}
	for n := range 4 {
		w.operate(ctx, 5*n)
	}
}

// operate asks for the n-th change.
func (w *workload) operate(ctx context.Context, n int) {
	if ctx.Err() != nil {
		return
	}
	r := w.records[n%studiesAtOnce]
	to := []trellisv1.StudyState{running, paused, running, paused, running}[n/studiesAtOnce]
	if last := n/studiesAtOnce == 4; last && n%studiesAtOnce >= studiesAtOnce-deletedStudies {
		to = absent
	} else if last && n%studiesAtOnce >= 4 {
		to = canceled
	}
	failed := false
	select {
	case <-w.failed:
		failed = true
	default:
	}
	acknowledged, err := r.change(ctx, w.c, to)
	if err != nil {
		w.Error(err)
	}
	if acknowledged {
		w.acknowledged++
	}
	if acknowledged && failed {
		w.Errorf("change %d, of %s to %v, was acknowledged after the disk had failed", n, r.spec.GetName(), one(to))
	}
	if err := r.check(ctx, w.c); errors.Is(err, errLost) {
		w.Error(err)
	}
}

// memory is what a record says at one time.
type memory struct {
	may   states
	shown shown
}

// backup takes a backup and notes what was acknowledged and shown until then.
func (w *workload) backup(ctx context.Context) ([]byte, []memory, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var memories []memory
	for _, r := range w.records {
		memories = append(memories, memory{r.may, shown{
			runs: maps.Clone(r.shown.runs), trials: maps.Clone(r.shown.trials), ended: maps.Clone(r.shown.ended),
		}})
	}
	stream, err := w.c.Backup(ctx, &trellisv1.BackupRequest{})
	if err != nil {
		return nil, nil, err
	}
	var backup bytes.Buffer
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return backup.Bytes(), memories, nil
		}
		if err != nil {
			return nil, nil, err
		}
		backup.Write(response.GetData())
	}
}

// restore restores the backup. If it is not acknowledged, either state may be found.
func (w *workload) restore(ctx context.Context, backup []byte, memories []memory) {
	err := w.sendBackup(ctx, backup)
	w.restored = err
	// For want of room a backup is refused as a whole.
	if status.Code(err) == codes.ResourceExhausted {
		return
	}
	for i, r := range w.records {
		if err == nil {
			r.may = 0
		}
		for state := absent; state <= canceled; state++ {
			if memories[i].may.has(state) {
				r.may |= after(state)
			}
		}
		r.open |= r.may
		r.shown = memories[i].shown
	}
	if err != nil && ctx.Err() == nil && !uncertain(err) {
		w.Errorf("restore: %v", err)
	}
}

func (w *workload) sendBackup(ctx context.Context, backup []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := w.c.Restore(ctx, grpc.WaitForReady(false))
	if err != nil {
		return err
	}
	for len(backup) > 0 {
		n := min(len(backup), 1<<20)
		if err := stream.Send(&trellisv1.RestoreRequest{Data: backup[:n]}); err != nil {
			break // CloseAndRecv says why.
		}
		backup = backup[n:]
	}
	_, err = stream.CloseAndRecv()
	return err
}

// recover starts the coordinator again, without faults: it serves in time and has everything, and a worker finishes
// what is left.
func (w *workload) recover() time.Duration {
	w.Helper()
	took := w.coordinator.startServing(w.c)
	if w.worker.process == nil {
		w.worker.start()
	}
	for _, r := range w.records {
		if err := r.checkRestarted(w.Context(), w.c); err != nil {
			w.Error(err)
		}
	}
	if w.Failed() {
		return took
	}
	for _, r := range w.records {
		if r.mayBe(paused) {
			if _, err := r.change(w.Context(), w.c, running); err != nil {
				w.Error(err)
			}
		}
		if !r.mayBe(completed) {
			continue
		}
		if err := r.follow(w.Context(), w.c); err != nil {
			w.Error(err)
			continue
		}
		if err := r.checkCompleted(w.Context(), w.c); err != nil {
			w.Error(err)
		}
	}
	return took
}
