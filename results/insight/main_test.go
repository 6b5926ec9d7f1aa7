package insight

import (
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/trajectory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testRun makes a run and one trial for each of its milestones, indexed from first on.
func testRun(id string, latentDim uint32, first uint64, milestones ...uint32) (*trellisv1.Run, []*trellisv1.Trial) {
	return pointRun(id, &trellisv1.Parameters{Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": latentDim, "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 256})}, first, milestones...)
}

// pointRun is testRun at any point.
func pointRun(
	id string, at *trellisv1.Parameters, first uint64, milestones ...uint32,
) (*trellisv1.Run, []*trellisv1.Trial) {
	parameters := func(epochs uint32) *trellisv1.Parameters {
		p := proto.CloneOf(at)
		p.MaxEpochs = epochs
		return p
	}
	run := &trellisv1.Run{
		Id: id, Parameters: parameters(milestones[len(milestones)-1]), Milestones: milestones, FirstTrial: first,
	}
	var trials []*trellisv1.Trial
	for i, milestone := range milestones {
		trials = append(trials, &trellisv1.Trial{Index: first + uint64(i), Parameters: parameters(milestone), Run: id})
	}
	return run, trials
}

// studyStore is a store with a study, s, and a worker with room for all of its runs.
type studyStore struct {
	testing.TB
	*results.Store
	// index is that of the last command.
	index uint64
}

func newStudyStore(
	t testing.TB, study *trellisv1.Study, runs []*trellisv1.Run, trials []*trellisv1.Trial,
) *studyStore {
	t.Helper()
	store, err := results.New()
	ok(t, err)
	s := &studyStore{TB: t, Store: store}
	study.Name = "s"
	ok(t, store.CreateListed(s.next(), s.now(), study, runs, trials))
	ok(t, store.SetWorker(s.next(), s.now(), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: uint32(len(runs) + 1000),
	}))
	return s
}

func (s *studyStore) next() uint64 {
	s.index++
	return s.index
}

// now is the time of the command with the last index.
func (s *studyStore) now() *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(s.index) * time.Second))
}

// outcome is how a run goes: it reports these validation losses, and these test losses by epoch, and ends. It fails if
// it has failed, and is not leased if it has neither losses nor failed.
type outcome struct {
	run    string
	losses []float64
	tests  map[uint32]float64
	failed bool
}

// train leases runs and reports how they go, in as few commands as there may be.
func (s *studyStore) train(outcomes []outcome) {
	s.Helper()
	var chunk []outcome
	for i, its := range outcomes {
		if its.failed || len(its.losses) > 0 {
			chunk = append(chunk, its)
		}
		if len(chunk) == results.MaxGrants || i == len(outcomes)-1 {
			s.trainTogether(chunk)
			chunk = chunk[:0]
		}
	}
}

func (s *studyStore) trainTogether(outcomes []outcome) {
	s.Helper()
	var grants []*trellisv1.Grant
	for _, its := range outcomes {
		grants = append(grants, &trellisv1.Grant{Study: "s", Run: its.run, Worker: "w"})
	}
	granted := s.next()
	for _, err := range s.Grant(granted, s.now(), grants) {
		ok(s, err)
	}
	var entries []*trellisv1.RecordCommand_Entry
	for place, its := range outcomes {
		end := &trellisv1.Outcome{Study: "s", Run: its.run, Attempt: results.AttemptNumber(granted, place)}
		if len(its.losses) > 0 {
			entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
				Reports: &trellisv1.Reports{
					Study: "s", Run: its.run, Attempt: end.Attempt, FirstEpoch: 1, TrainLoss: its.losses,
					ValidationLoss: its.losses, TestLoss: its.tests, Seconds: make([]float64, len(its.losses)),
				},
			}})
		}
		if its.failed {
			end.Result = &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
				Class: trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, Message: "too large",
			}}
		} else {
			end.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
				Epochs: uint32(len(its.losses)), StopReason: trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
			}}
		}
		entries = append(
			entries,
			&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: end}},
		)
	}
	for _, err := range s.Record(s.next(), s.now(), trajectory.LatestRules, entries) {
		ok(s, err)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t testing.TB, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
