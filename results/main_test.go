package results

import (
	"flag"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// TestMain keeps rapid from writing failures into testdata: it prints the seed that repeats them.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	// Random cases leave much garbage and keep little: collecting it took a quarter of the time.
	debug.SetGCPercent(400)
	goleak.VerifyTestMain(m)
}

// drawFew has a test with costly cases draw modelChecks of them, unless -rapid.checks says how many. Whoever changes what the test
// is about draws more than make test does: go test ./results -run TestIndexedStudies -rapid.checks=2000.
func drawFew(t *testing.T) {
	t.Helper()
	skipRaced(t)
	const name = "rapid.checks"
	checks, given := flag.Lookup(name).Value, false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	before := checks.String()
	ok(t, checks.Set(strconv.Itoa(modelChecks)))
	t.Cleanup(func() { ok(t, checks.Set(before)) })
}

func newStore(t testing.TB) *Store {
	t.Helper()
	store, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// at is the time of the command with the given log index.
func at(index uint64) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(index) * time.Second))
}

// testRun makes a run and one trial for each of its milestones, indexed from first on.
func testRun(id string, latentDim uint32, first uint64, milestones ...uint32) (*trellisv1.Run, []*trellisv1.Trial) {
	parameters := func(epochs uint32) *trellisv1.Parameters {
		return &trellisv1.Parameters{MaxEpochs: epochs, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": latentDim, "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 256})}
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

// modelSpec is the spec of a study whose points have the axes that all models have.
func modelSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim": trellisv1.AxisOf(1), "learning_rate": trellisv1.AxisOf(1e-3), "weight_decay": trellisv1.AxisOf(1e-5),
		"max_epochs": trellisv1.AxisOf(1), "batch_size": trellisv1.AxisOf(256),
	}}}}
}

// grant1 leases one run, and returns its attempt's number.
func grant1(t testing.TB, store *Store, index uint64, study, run, worker string) uint64 {
	t.Helper()
	ok(t, store.Grant(index, at(index), []*trellisv1.Grant{{Study: study, Run: run, Worker: worker}})[0])
	return AttemptNumber(index, 0)
}

// reportEntry is a column of one epoch.
func reportEntry(study, run string, attempt uint64, epoch uint32, train, validation float64, test *float64) *trellisv1.RecordCommand_Entry {
	tests := map[uint32]float64{}
	if test != nil {
		tests[epoch] = *test
	}
	return columnEntry(study, run, attempt, epoch, []float64{train}, []float64{validation}, tests)
}

// columnEntry reports consecutive epochs, each of which took half a second.
func columnEntry(
	study, run string, attempt uint64, firstEpoch uint32, train, validation []float64, test map[uint32]float64,
) *trellisv1.RecordCommand_Entry {
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: &trellisv1.Reports{
		Study: study, Run: run, Attempt: attempt, FirstEpoch: firstEpoch, TrainLoss: train, ValidationLoss: validation,
		TestLoss: test, Seconds: slices.Repeat([]float64{0.5}, len(train)),
	}}}
}

// digest is that of an artifact, told from others by its first digit.
func digest(digit string) string { return digit + strings.Repeat("0", 63) }

func checkpointEntry(study, run string, attempt uint64, epoch uint32, sha256 string) *trellisv1.RecordCommand_Entry {
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
		Study: study, Run: run, Attempt: attempt,
		Checkpoint: &trellisv1.Checkpoint{Epoch: epoch, Sha256: sha256, Size: 1000 + uint64(epoch), BestEpoch: epoch},
	}}}
}

func successEntry(study, run string, attempt uint64, epochs uint32) *trellisv1.RecordCommand_Entry {
	return outcomeEntry(&trellisv1.Outcome{
		Study: study, Run: run, Attempt: attempt,
		Result: &trellisv1.Outcome_Success_{
			Success: &trellisv1.Outcome_Success{
				Epochs:     epochs,
				StopReason: trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
			},
		},
	})
}

// stageEntry says that an attempt has come as far as it was to come.
func stageEntry(study, run string, attempt uint64, epochs uint32) *trellisv1.RecordCommand_Entry {
	entry := successEntry(study, run, attempt, epochs)
	entry.GetOutcome().GetSuccess().StopReason = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	return entry
}

func failureEntry(study, run string, attempt uint64, class trellisv1.FailureClass, message string) *trellisv1.RecordCommand_Entry {
	return outcomeEntry(&trellisv1.Outcome{Study: study, Run: run, Attempt: attempt, Result: &trellisv1.Outcome_Failure{
		Failure: &trellisv1.Failure{Class: class, Message: message},
	}})
}

func returnEntry(study, run string, attempt uint64) *trellisv1.RecordCommand_Entry {
	return outcomeEntry(&trellisv1.Outcome{Study: study, Run: run, Attempt: attempt, Result: &trellisv1.Outcome_Return_{
		Return: &trellisv1.Outcome_Return{},
	}})
}

func outcomeEntry(outcome *trellisv1.Outcome) *trellisv1.RecordCommand_Entry {
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}}
}

func mustHash(t testing.TB, snapshot *Snapshot) [32]byte {
	t.Helper()
	hash, err := snapshot.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func record(t testing.TB, store *Store, index uint64, entries ...*trellisv1.RecordCommand_Entry) {
	t.Helper()
	for _, err := range store.Record(index, at(index), trajectory.LatestRules, entries) {
		ok(t, err)
	}
}

func equal(t testing.TB, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// skipShort leaves a test to make test: make race runs with -short, and would find nothing in a test that starts no
// goroutine.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts no goroutine")
	}
}

// skipRaced leaves a test to make test too, though it is not skipped with -short: planted bugs are sought so. What it
// starts, other tests start too: TestRestorePrepares and TestDigestOfMetrics.
func skipRaced(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("other tests start the same goroutines")
	}
}
