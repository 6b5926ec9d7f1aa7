package coordinator

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// heldUp is how much longer than otherwise a command may wait while a snapshot is written.
const heldUp = 50 * time.Millisecond

// trainedLog is a log on the disk whose state is a study of trained runs.
type trainedLog struct {
	*replication.Log
	t     testing.TB
	store *results.Store
	dir   string
}

// newTrainedLog trains a study of so many runs of ten epochs, a multiple of 100.
func newTrainedLog(t testing.TB, runs int) *trainedLog {
	t.Helper()
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	l := &trainedLog{t: t, store: store, dir: t.TempDir()}
	l.open()
	t.Cleanup(func() { l.Log.Close() })
	axis := func(count int) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: float64(count), Count: uint32(count)}}
	}
	l.propose(&trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
		Numerics: "1", Indexed: true, Spec: &trellisv1.StudySpec{
			Name: "large", Model: "synthetic", Seeds: trellisv1.AxisOf(1), Grid: []*trellisv1.Grid{{
				Axes: map[string]*trellisv1.Axis{
					"latent_dim": axis(100), "learning_rate": axis(runs / 100), "weight_decay": trellisv1.AxisOf(0),
					"max_epochs": trellisv1.AxisOf(heldEpochs), "batch_size": trellisv1.AxisOf(256),
				},
			}},
		},
	}}})
	l.propose(&trellisv1.Command{Change: &trellisv1.Command_SetWorker{SetWorker: &trellisv1.SetWorkerCommand{
		Worker: &trellisv1.Worker{
			Name: "worker", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: uint32(runs),
		},
	}}})
	for trained := 0; trained < runs; trained += l.train(min(512, runs-trained)) {
	}
	return l
}

const heldEpochs = 10

func (l *trainedLog) open() {
	l.t.Helper()
	var err error
	l.Log, err = replication.Open(replication.Config{
		Dir: filepath.Join(l.dir, "data"), Bootstrap: true, Address: "127.0.0.1:7070",
	}, stateMachine{store: l.store, applied: newAppliedIndex()})
	if err != nil {
		l.t.Fatal(err)
	}
	select {
	case <-l.Leadership():
	case err := <-l.Failed():
		l.t.Fatal(err)
	}
}

func (l *trainedLog) propose(command *trellisv1.Command) (index uint64) {
	l.t.Helper()
	command.Time, command.Rules = timestamppb.Now(), 1
	data, err := proto.Marshal(command)
	if err != nil {
		l.t.Fatal(err)
	}
	index, answer, err := l.Propose(l.t.Context(), data)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, text := range texts(answer) {
		if text != "" && text != "<nil>" {
			l.t.Fatalf("a command was refused: %s", text)
		}
	}
	return index
}

// train trains the next runs, in two commands.
func (l *trainedLog) train(count int) (trained int) {
	l.t.Helper()
	next, err := l.store.Snapshot().NextRuns(nil, count)
	if err != nil {
		l.t.Fatal(err)
	}
	var grants []*trellisv1.Grant
	var entries []*trellisv1.RecordCommand_Entry
	for _, run := range next {
		place, err := l.store.Snapshot().Place(run)
		if err != nil {
			l.t.Fatal(err)
		}
		grants = append(grants, &trellisv1.Grant{Study: run.Study, Run: run.Id, Worker: "worker", Place: &place})
	}
	index := l.propose(&trellisv1.Command{
		Change: &trellisv1.Command_Grant{Grant: &trellisv1.GrantCommand{Grants: grants}},
	})
	for i, run := range next {
		reports := &trellisv1.Reports{
			Study: run.Study, Run: run.Id, Attempt: results.AttemptNumber(index, i), FirstEpoch: 1,
		}
		for epoch := range heldEpochs {
			loss := 1 / math.Sqrt(float64(grants[i].GetPlace())+float64(epoch)+3)
			reports.TrainLoss = append(reports.TrainLoss, loss)
			reports.ValidationLoss = append(reports.ValidationLoss, 1.1*loss)
			reports.Seconds = append(reports.Seconds, loss/1000)
		}
		reports.TestLoss = map[uint32]float64{heldEpochs: reports.ValidationLoss[heldEpochs-1]}
		entries = append(entries,
			&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}},
			&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: &trellisv1.Outcome{
				Study: run.Study, Run: run.Id, Attempt: reports.Attempt,
				Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
					StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: heldEpochs,
				}},
			}}})
	}
	l.propose(&trellisv1.Command{Change: &trellisv1.Command_Record{Record: &trellisv1.RecordCommand{Entries: entries}}})
	return len(next)
}

// probe proposes small commands one after the other until it is stopped, and returns how long each took.
func (l *trainedLog) probe() (stop func() []time.Duration) {
	var stopped atomic.Bool
	done := make(chan []time.Duration)
	go func() {
		var took []time.Duration
		for !stopped.Load() {
			start := time.Now()
			l.propose(&trellisv1.Command{
				Change: &trellisv1.Command_Note{Note: &trellisv1.NoteCommand{Subject: "probe"}},
			})
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		done <- took
	}()
	return func() []time.Duration {
		stopped.Store(true)
		return <-done
	}
}

func proposed(took []time.Duration) string {
	return fmt.Sprintf("%d commands: median %v, 99th percentile %v, at most %v", len(took),
		took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond),
		took[len(took)-1].Round(10*time.Microsecond))
}

// TestSnapshotHoldsNothingUp writes snapshots of a study, of a million trained runs with the build tag soak, while
// small commands are proposed. They don't wait much longer than without: what holds them up does so each time, and what
// else the machine does, not.
func TestSnapshotHoldsNothingUp(t *testing.T) {
	if testing.Short() || memoryFactor > 1 {
		t.Skip("trains a large study")
	}
	l := newTrainedLog(t, heldRuns)
	runtime.GC()
	stop := l.probe()
	time.Sleep(time.Second)
	without := stop()
	t.Logf("without a snapshot: %s", proposed(without))
	commands, longest := 0, time.Hour
	// Where commands are slow, more snapshots are written until enough of them have met one.
	for n := 0; n < 5 || n < 100 && commands < 20; n++ {
		stop := l.probe()
		start := time.Now()
		if err := l.Snapshot(); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		with := stop()
		t.Logf("while a snapshot was written in %v: %s", took.Round(time.Millisecond), proposed(with))
		commands += len(with)
		longest = min(longest, with[len(with)-1])
	}
	if limit := heldUp + without[len(without)*99/100]; longest > limit {
		t.Errorf("a command waited %v at least while a snapshot was written: more than %v", longest, limit)
	}
	if commands < 20 {
		t.Errorf("only %d commands were applied while snapshots were written", commands)
	}
	size := int64(0)
	if err := l.Backup(t.Context(), writerFunc(func(data []byte) (int, error) {
		size += int64(len(data))
		return len(data), nil
	})); err != nil {
		t.Fatal(err)
	}
	t.Logf("a snapshot has %d MiB", size>>20)
}

type writerFunc func(data []byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }

var _ io.Writer = writerFunc(nil)
