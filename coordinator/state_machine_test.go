package coordinator

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// replica is a state machine and the index of its last command.
type replica struct {
	stateMachine
	index uint64
}

func newReplica(t interface{ Fatal(...any) }) *replica {
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	return &replica{stateMachine: stateMachine{store: store, applied: newAppliedIndex()}}
}

func (r *replica) apply(command []byte) any {
	r.index++
	return r.Apply(r.index, command)
}

// TestReplicasAgree applies random commands, most of them refused, to two state machines: whatever they are, both
// answer the same and end in the same state.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := newReplica(t), newReplica(t)
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			command, err := proto.Marshal(drawCommand(t, a))
			if err != nil {
				t.Fatal(err)
			}
			if left, right := texts(a.apply(command)), texts(b.apply(command)); !slices.Equal(left, right) {
				t.Fatalf("replicas answered %q and %q", left, right)
			}
			left, err := a.store.Snapshot().Hash()
			if err != nil {
				t.Fatal(err)
			}
			right, err := b.store.Snapshot().Hash()
			if err != nil {
				t.Fatal(err)
			}
			if left != right {
				t.Fatalf("replicas differ after the same %d commands", a.index)
			}
		}
	})
}

// drawCommand draws a command over a few names, so that commands often meet.
func drawCommand(t *rapid.T, r *replica) *trellisv1.Command {
	study := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "study")
	worker := rapid.SampledFrom([]string{"v", "w"}).Draw(t, "worker")
	command := &trellisv1.Command{Time: &timestamppb.Timestamp{Seconds: int64(r.index)}}
	run := drawRun(t, r, study)
	switch rapid.SampledFrom([]string{
		"create", "state", "delete", "worker", "grant", "grant", "record", "record",
		"record", "record", "extend", "retry",
	}).Draw(t, "change") {
	case "create":
		spec := syntheticSpec(study, []uint32{4, 8}, []uint32{2, 3})
		spec.Seeds = trellisv1.AxisOf[int](1)
		spec.Grid[0].Axes["batch_size"] = trellisv1.AxisOf(256)
		spec.Grid[0].Axes["weight_decay"] = trellisv1.AxisOf[float64](0)
		command.Change = &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
			Spec: spec, Numerics: testNumerics, Pretrained: rapid.SampledFrom([]*trellisv1.Source{
				nil, {Study: "a", Sha256: strings.Repeat("a", 64), Size: 1}, {Sha256: strings.Repeat("b", 64), Size: 2},
			}).Draw(t, "pretrained"),
		}}
	case "state":
		state := trellisv1.StudyState(rapid.IntRange(0, 5).Draw(t, "state"))
		command.Change = &trellisv1.Command_SetStudyState{SetStudyState: &trellisv1.SetStudyStateCommand{
			Study: study,
			State: state,
		}}
	case "delete":
		command.Change = &trellisv1.Command_DeleteStudy{DeleteStudy: &trellisv1.DeleteStudyCommand{Study: study}}
	case "worker":
		state := trellisv1.WorkerState(rapid.IntRange(0, 5).Draw(t, "state"))
		command.Change = &trellisv1.Command_SetWorker{SetWorker: &trellisv1.SetWorkerCommand{
			Worker: &trellisv1.Worker{Name: worker, State: state, Slots: 2},
		}}
	case "grant":
		grants := &trellisv1.GrantCommand{}
		for range rapid.IntRange(1, 3).Draw(t, "grants") {
			granted := drawRun(t, r, study)
			grants.Grants = append(grants.Grants, &trellisv1.Grant{Study: study, Run: granted.GetId(), Worker: worker})
		}
		command.Change = &trellisv1.Command_Grant{Grant: grants}
	case "record":
		record := &trellisv1.RecordCommand{}
		for range rapid.IntRange(1, 5).Draw(t, "entries") {
			record.Entries = append(record.Entries, drawEntry(t, study, run))
		}
		command.Change = &trellisv1.Command_Record{Record: record}
	case "extend":
		command.Change = &trellisv1.Command_ExtendStudy{ExtendStudy: drawExtension(t, r, study)}
	case "retry":
		command.Change = &trellisv1.Command_RetryStudy{RetryStudy: &trellisv1.RetryStudyCommand{
			Study: study, Pruned: rapid.Bool().Draw(t, "pruned"),
		}}
	}
	return command
}

// drawExtension draws values for a study's axes, and points, of which some are there already.
func drawExtension(t *rapid.T, r *replica, study string) *trellisv1.ExtendStudyCommand {
	command := &trellisv1.ExtendStudyCommand{Study: study, Settled: rapid.Bool().Draw(t, "settled")}
	stored, err := r.store.Snapshot().Study(nil, study)
	if err != nil {
		return command
	}
	command.Indices = stored.GetIndices() + rapid.SampledFrom([]uint64{0, 0, 0, 1}).Draw(t, "late")
	values := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 5), 1, 3, rapid.ID)
	if rapid.Bool().Draw(t, "with a spec") {
		command.Spec, err = testModels.Merge(stored.GetSpec(), &trellisv1.ExtendStudyRequest{Seeds: trellisv1.AxisOf[uint32](values.Draw(t, "seeds")...), Axes: map[string]*trellisv1.Axis{"max_epochs": trellisv1.AxisOf[uint32](values.Draw(t, "max_epochs")...)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, seed := range values.Draw(t, "points") {
		command.Points = append(command.Points, &trellisv1.Parameters{MaxEpochs: seed, Seed: seed, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 256})})
	}
	return command
}

// drawRun draws one of the study's runs, if it has any.
func drawRun(t *rapid.T, r *replica, study string) *trellisv1.Run {
	runs, err := r.store.Snapshot().RunsChangedSince(study, 0)
	if err != nil && !errors.Is(err, results.ErrNotFound) {
		t.Fatal(err)
	}
	if len(runs) == 0 {
		return &trellisv1.Run{Study: study, Id: "none"}
	}
	return rapid.SampledFrom(runs).Draw(t, "run")
}

// drawEntry draws a report or an outcome of the run, mostly of the attempt that holds it.
func drawEntry(t *rapid.T, study string, run *trellisv1.Run) *trellisv1.RecordCommand_Entry {
	attempt := run.GetAttempt() + uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "stale"))
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return &trellisv1.RecordCommand_Entry{
			Entry: &trellisv1.RecordCommand_Entry_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
				Study: study, Run: run.GetId(), Attempt: attempt, Checkpoint: &trellisv1.Checkpoint{
					Epoch:  uint32(rapid.IntRange(0, 4).Draw(t, "epoch")),
					Sha256: strings.Repeat(rapid.SampledFrom([]string{"a", "b", "?"}).Draw(t, "digit"), 64), Size: 1,
				},
			}},
		}
	case 1, 2, 3:
		count := rapid.IntRange(0, 3).Draw(t, "epochs")
		return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: &trellisv1.Reports{
			Study: study, Run: run.GetId(), Attempt: attempt, FirstEpoch: uint32(rapid.IntRange(0, 4).Draw(t, "epoch")),
			TrainLoss: rapid.SliceOfN(rapid.SampledFrom([]float64{0.5, math.NaN()}), count,
				count).Draw(t, "train losses"),
			ValidationLoss: rapid.SliceOfN(rapid.SampledFrom([]float64{0.5, 0.25, math.Inf(1)}), count,
				count).Draw(t, "validation losses"),
			Seconds: make([]float64, count),
		}}}
	}
	outcome := &trellisv1.Outcome{Study: study, Run: run.GetId(), Attempt: attempt}
	switch rapid.IntRange(0, 3).Draw(t, "result") {
	case 0:
		outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
			StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: run.GetEpochs(),
		}}
	case 1:
		class := trellisv1.FailureClass(rapid.IntRange(0, 6).Draw(t, "class"))
		outcome.Result = &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{Class: class, Message: "drawn"}}
	case 2:
		outcome.Result = &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}
	}
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}}
}

// texts is what a state machine answered, in comparable form.
func texts(answer any) []string {
	list, ok := answer.([]error)
	if count, ok := answer.(uint64); ok {
		return []string{fmt.Sprint(count)}
	}
	if !ok {
		err, _ := answer.(error)
		list = []error{err}
	}
	said := make([]string, len(list))
	for i, err := range list {
		if err != nil {
			said[i] = err.Error()
		}
	}
	return said
}

// A replica that left out what it does not understand would no longer have the state of the others.
func TestACommandOfANewerVersionIsFatal(t *testing.T) {
	r := newReplica(t)
	if fatal, ok := r.apply(nil).(replication.Fatal); !ok || !errors.Is(fatal, errUnknownCommand) {
		t.Errorf("an empty command: %v, want Fatal and errUnknownCommand", fatal)
	}
	if answer, ok := r.apply([]byte{0xff}).(replication.Fatal); !ok {
		t.Errorf("a command that can't be decoded was answered with %v, want Fatal", answer)
	}
}

// DESIGN.md has a line for every command.
func TestEveryCommandIsDescribed(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	changes := (&trellisv1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("change").Fields()
	for i := range changes.Len() {
		if name := "`" + string(changes.Get(i).Name()) + "`"; !strings.Contains(string(text), name) {
			t.Errorf("DESIGN.md does not say what the command %s changes", name)
		}
	}
}

// A command is applied by its own rules: one of Trellis 0.1.0 names none, and one of rules that this node does not know
// stops it. New commands name the latest.
func TestACommandIsAppliedByItsRules(t *testing.T) {
	const trainer = trellisv1.FailureClass_FAILURE_CLASS_TRAINER
	for _, test := range []struct {
		rules uint32
		want  trellisv1.RunState
	}{
		{0, trellisv1.RunState_RUN_STATE_FAILED},
		{uint32(trajectory.LatestRules), trellisv1.RunState_RUN_STATE_PENDING},
	} {
		r := newReplica(t)
		apply := func(command *trellisv1.Command) uint64 {
			command.Rules = test.rules
			data, err := proto.Marshal(command)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range texts(r.apply(data)) {
				if text != "" {
					t.Fatal(text)
				}
			}
			return r.index
		}
		apply(&trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
			Spec: grid.WithDefaults(syntheticSpec("s", []uint32{4}, []uint32{2})), Numerics: "test",
		}}})
		for _, name := range []string{"a", "untried"} {
			worker := &trellisv1.Worker{Name: name, State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1}
			apply(&trellisv1.Command{
				Change: &trellisv1.Command_SetWorker{SetWorker: &trellisv1.SetWorkerCommand{Worker: worker}},
			})
		}
		run := func() *trellisv1.Run {
			runs, err := r.store.Snapshot().RunsChangedSince("s", 0)
			if err != nil {
				t.Fatal(err)
			}
			return runs[0]
		}
		for range trajectory.TrainerBudget {
			index := apply(&trellisv1.Command{Change: &trellisv1.Command_Grant{Grant: &trellisv1.GrantCommand{
				Grants: []*trellisv1.Grant{{Study: "s", Run: run().GetId(), Worker: "a"}},
			}}})
			outcome := &trellisv1.Outcome{
				Study: "s", Run: run().GetId(), Attempt: results.AttemptNumber(index, 0),
				Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{Class: trainer, Message: "it failed"}},
			}
			apply(&trellisv1.Command{Change: &trellisv1.Command_Record{Record: &trellisv1.RecordCommand{
				Entries: []*trellisv1.RecordCommand_Entry{
					{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}},
				},
			}}})
		}
		if got := run(); got.GetState() != test.want {
			t.Errorf("by rules %d, the run is %v: %v", test.rules, got.GetState(), got)
		}
	}

	unknown, err := proto.Marshal(&trellisv1.Command{
		Rules:  uint32(trajectory.LatestRules) + 1,
		Change: &trellisv1.Command_DeleteStudy{DeleteStudy: &trellisv1.DeleteStudyCommand{Study: "s"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if fatal, ok := newReplica(t).apply(unknown).(replication.Fatal); !ok || !errors.Is(fatal.Err, errUnknownCommand) {
		t.Errorf("a command by rules that are not known is answered by %v", fatal)
	}
}
