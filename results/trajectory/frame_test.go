package trajectory

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/packed"
)

// few are numbers like those that occur, so that runs have something in common.
var few = rapid.SampledFrom([]uint32{1, 2, 3, 7})

var anyNumber = rapid.OneOf(rapid.Float64Range(0.01, 0.02), rapid.SampledFrom([]float64{
	0, math.Copysign(0, -1), math.NaN(), math.Inf(1), 1e-6, 0.25,
}))

// sealable is a run that may be sealed, with or without whatever such a run may have. Its id counts trials.
func sealable(t *rapid.T, terms *Terms) *Trajectory {
	has := func(what string) bool { return rapid.IntRange(0, 4).Draw(t, what) == 0 }
	text := rapid.SampledFrom([]string{"a", "b"})
	milestones := rapid.SampledFrom([][]uint32{{3}, {2, 4}}).Draw(t, "milestones")
	run := &trellisv1.Run{
		Milestones: milestones, Epochs: min(milestones[len(milestones)-1], few.Draw(t, "epochs")), State: lifecycle.RunSucceeded,
		StopReason: trellisv1.StopReason(few.Draw(t, "reason") % 4), ModifyIndex: uint64(rapid.IntRange(1, 1000).Draw(t, "index")),
	}
	epochs := int(run.Epochs)
	floats := func(what string, n int) []float64 { return rapid.SliceOfN(anyNumber, n, n).Draw(t, what) }
	losses := &trellisv1.Losses{}
	metrics := func(name string) {
		if losses.Metrics == nil {
			losses.Metrics = map[string]*trellisv1.Series{}
		}
		losses.Metrics[name] = &trellisv1.Series{Values: floats(name, epochs)}
		if has("missing") && terms.OfProgram() {
			losses.Metrics[name].Missing = []uint32{uint32(rapid.IntRange(0, epochs-1).Draw(t, "missing value"))}
		}
	}
	if terms.OfProgram() {
		losses.Epochs = run.Epochs
		metrics("accuracy")
	} else {
		losses.TrainLoss, losses.ValidationLoss = floats("train", epochs), floats("validation", epochs)
	}
	if has("metrics") {
		metrics("validation_error")
	}
	for n := rapid.SampledFrom([]int{epochs, epochs, 0, 1}).Draw(t, "times"); len(losses.Seconds) < n; {
		losses.Seconds = append(losses.Seconds, rapid.SampledFrom([]float32{0, 1e-6, 1.0000001e-6, 2.5, 0.3}).Draw(t, "seconds"))
	}
	if has("test") {
		losses.TestLoss = map[uint32]float64{run.Epochs: anyNumber.Draw(t, "test loss")}
		if has("test metrics") {
			losses.TestMetrics = map[uint32]*trellisv1.Metrics{
				run.Epochs: {Values: map[string]float64{text.Draw(t, "test metric"): anyNumber.Draw(t, "test value")}},
			}
		}
	}
	its := &Trajectory{Run: run, Terms: terms, Losses: losses}
	if run.TrainingSeconds = sumOf(losses.Seconds); has("other time") {
		run.TrainingSeconds = anyNumber.Draw(t, "time")
	}
	if its.setScore(its.scoreAt(run.Epochs)); has("other score") {
		run.BestEpoch = few.Draw(t, "best")
	}
	if has("other loss") {
		run.TrainLoss = anyNumber.Draw(t, "loss")
	}
	if run.AttemptEpochs = run.Epochs; has("other attempt") {
		run.AttemptEpochs = few.Draw(t, "attempt epochs") - 1
	}
	for range rapid.IntRange(0, 2).Draw(t, "trainings") {
		run.Trainings = append(run.Trainings, &trellisv1.Training{
			Attempt: run.ModifyIndex<<10 - uint64(rapid.IntRange(-5, 3000).Draw(t, "attempt")), Worker: text.Draw(t, "worker"),
			Machine: text.Draw(t, "machine"), After: few.Draw(t, "after") - 1, Until: few.Draw(t, "until") - 1,
			MaxEpochs: few.Draw(t, "max epochs") % 2,
		})
	}
	if has("failure") {
		run.Failures = []*trellisv1.Failure{{Attempt: uint64(few.Draw(t, "failed")), Message: text.Draw(t, "message")}}
	}
	if has("error") {
		run.Error, run.Spared = text.Draw(t, "error"), true
	}
	if has("shared") {
		run.SharedEpochs, run.SharedSeconds, run.SharedFrom = few.Draw(t, "shared"), anyNumber.Draw(t, "shared seconds"), "other"
	}
	if has("checkpoint") {
		run.Checkpoints = []*trellisv1.Checkpoint{{Epoch: few.Draw(t, "checkpoint"), Sha256: text.Draw(t, "digest")}}
	}
	if has("missing weights") {
		run.MissingWeights = []*trellisv1.MissingWeights{{Epoch: few.Draw(t, "missing"), Reason: text.Draw(t, "why")}}
	}
	if has("output") {
		run.Outputs = []*trellisv1.Output{{Attempt: 1, Sha256: text.Draw(t, "output digest")}}
	}
	if has("audit") {
		run.Audit = &trellisv1.Audit{State: trellisv1.AuditState_AUDIT_STATE_EQUAL, Worker: text.Draw(t, "auditor")}
	}
	its.answerLate(indexesOf(its), &memory{})
	if has("other answer") {
		its.Answers[0] = CopyTrial(its.Answers[0])
		its.Answers[0].TestLoss = proto.Float64(0.5)
	}
	return its
}

func indexesOf(its *Trajectory) (indexes []uint64) {
	for i := range its.Run.Milestones {
		indexes = append(indexes, uint64(10+i))
	}
	return indexes
}

// equalBits is proto.Equal, of numbers bit for bit, but for what follows from the spec.
func equalBits(t *rapid.T, what string, got, want proto.Message) {
	options := proto.MarshalOptions{Deterministic: true}
	a, err := options.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := options.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Fatalf("%s:\n got %v\nwant %v", what, got, want)
	}
}

var someTerms = []*Terms{nil, {Program: &trellisv1.Program{}, Objective: &trellisv1.Objective{
	Metric: "accuracy", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE, Of: trellisv1.Objective_SUMMARY_BEST,
}}, {Objective: &trellisv1.Objective{
	Metric: "train_loss", Direction: trellisv1.Direction_DIRECTION_MINIMIZE, Of: trellisv1.Objective_SUMMARY_MEAN, Epochs: 2,
}}}

// TestSeal: runs that are sealed together come back as they were, bit for bit, in any order.
func TestSeal(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		terms := rapid.SampledFrom(someTerms).Draw(t, "terms")
		var runs []*Trajectory
		for range rapid.IntRange(1, 5).Draw(t, "runs") {
			runs = append(runs, sealable(t, terms))
		}
		sealed, err := Seal(runs, func(slot int) []uint64 { return indexesOf(runs[slot]) })
		if err != nil {
			t.Fatal(err)
		}
		row := &trellisv1.SealedSection{}
		sealed.SetIn(row)
		if sealed, err = SealedOf(proto.CloneOf(row)); err != nil || sealed.Size() != len(runs) {
			t.Fatalf("%v, %v", sealed, err)
		}
		opened := Opened{Sealed: sealed, Terms: terms}
		for _, slot := range rapid.SliceOf(rapid.IntRange(0, len(runs)-1)).Draw(t, "slots") {
			want := runs[slot]
			has, err := sealed.HasOwn(slot)
			if flags := want.flags(indexesOf(want)); err != nil || has != hasOwnFields(want.Run, flags) {
				t.Fatalf("it has a message of its own: %t, %v", has, err)
			}
			if referring := len(want.Run.Checkpoints)+len(want.Run.Outputs) > 0; referring && !has {
				t.Fatal("its checkpoints or outputs would be missed")
			}
			if rapid.Bool().Draw(t, "reuse") {
				opened.Reuse()
			}
			its, err := opened.Unchecked(slot, want.Run.Milestones)
			if err != nil {
				t.Fatal(err)
			}
			if its.Answers == nil && rapid.Bool().Draw(t, "answer late") {
				opened.AnswerLate(its, indexesOf(want))
			}
			its.Complete(&trellisv1.Run{}, func([]uint32) []uint64 { return indexesOf(want) })
			its.Run.Parameters = nil
			equalBits(t, "run", its.Run, want.Run)
			equalBits(t, "losses", its.Losses, want.Losses)
			for i, answer := range its.Answers {
				answer.Parameters, want.Answers[i].Parameters = nil, nil
				equalBits(t, "answer", answer, want.Answers[i])
			}
			if span, err := sealed.Span(slot); err != nil || span != SpanOf(want) {
				t.Fatalf("%+v, %v, want %+v", span, err, SpanOf(want))
			}
		}
	})
}

// TestSealedFields: a field that is added to a run must be sealed, too.
func TestSealedFields(t *testing.T) {
	known := map[protoreflect.Name]bool{}
	for _, name := range []protoreflect.Name{
		"milestones", "state", "epochs", "train_loss", "validation_loss", "best_validation_loss", "best_epoch", "objective",
		"metric", "stop_reason", "failures", "error", "training_seconds", "modify_index", "attempt_epochs", "checkpoints",
		"shared_epochs", "shared_seconds", "shared_from", "spared", "missing_weights", "trainings", "audit", "outputs",
		// They follow from the spec.
		"study", "id", "parameters", "first_trial", "place",
		// A run that has one is not sealed.
		"attempt", "worker", "dispute", "decided",
	} {
		known[name] = true
	}
	fields := (&trellisv1.Run{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := fields.Get(i).Name(); !known[name] {
			t.Errorf("nobody seals %s: see frame.go and TestSeal", name)
		}
	}
	if n := (&trellisv1.Losses{}).ProtoReflect().Descriptor().Fields().Len(); n != 9 {
		t.Errorf("losses have %d fields, of which 9 are sealed: see frame.go and TestSeal", n)
	}
}

// TestSealedForged: what nobody has sealed is refused or read as something, and takes no more memory than a multiple of
// its bytes.
func TestSealedForged(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		terms := rapid.SampledFrom(someTerms).Draw(t, "terms")
		its := sealable(t, terms)
		sealed, err := Seal([]*Trajectory{its}, func(int) []uint64 { return indexesOf(its) })
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			sealed.data[rapid.IntRange(0, len(sealed.data)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		if rapid.Bool().Draw(t, "of others") {
			terms = rapid.SampledFrom(someTerms).Draw(t, "other terms")
		}
		if read, err := sealed.UnsealRun(0, terms); err == nil && EpochsIn(read.Losses) != int(read.Run.Epochs) {
			t.Fatalf("%d epochs, and losses of %d", read.Run.Epochs, EpochsIn(read.Losses))
		}
		_, _ = sealed.Span(0)
	})
}

// TestSealedWithoutData: what a row says that it has, but has not, gets no memory.
func TestSealedWithoutData(t *testing.T) {
	const epochs, metrics = 10_000, 5000
	its := &Trajectory{
		Run:    &trellisv1.Run{Milestones: []uint32{epochs}, State: lifecycle.RunSucceeded, Epochs: epochs},
		Losses: &trellisv1.Losses{Metrics: map[string]*trellisv1.Series{}},
	}
	for i := range metrics {
		its.Losses.Metrics[fmt.Sprint("m", i)] = &trellisv1.Series{}
	}
	frame, err := writeFrame(its)
	if err != nil {
		t.Fatal(err)
	}
	data := append(protowire.AppendVarint([]byte{0, secondsFollow}, epochs), 7) // modify_index
	opened := Opened{Sealed: &Sealed{[]string{frame}, data, []uint32{uint32(len(data))}}, Terms: &Terms{}}
	opened.Reuse()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := opened.Unchecked(0, []uint32{epochs}); err == nil {
		t.Error("it is read")
	}
	runtime.ReadMemStats(&after)
	if bytes := after.TotalAlloc - before.TotalAlloc; bytes > 16<<20 {
		t.Errorf("it took %d bytes", bytes)
	}
}

// TestSealedContradicts: a run that contradicts itself or the spec is refused before its rows are read, which may be
// long.
func TestSealedContradicts(t *testing.T) {
	const (
		bare   = hasLengths | secondsFollow | attemptFollows | hasOwn
		scored = bare | scoreFollows
	)
	for name, its := range map[string]struct {
		terms      *Terms
		milestones []uint32
		flags      byte
		epochs     uint64
		lengths    []uint64
		reads      bool
	}{
		"nothing":            {someTerms[1], []uint32{2, 4}, bare, 4, []uint64{0, 0, 0}, true},
		"most epochs":        {someTerms[1], []uint32{math.MaxUint32}, bare, math.MaxUint32, []uint64{0, 0, 0}, false},
		"their score":        {someTerms[1], []uint32{math.MaxUint32}, scored, math.MaxUint32, []uint64{0, 0, 0}, false},
		"other milestones":   {someTerms[1], []uint32{2, 3, 4}, bare, 4, []uint64{0, 0, 0}, false},
		"no milestones":      {someTerms[1], nil, bare, 4, []uint64{0, 0, 0}, false},
		"more epochs":        {someTerms[1], []uint32{2, 4}, bare, 5, []uint64{0, 0, 0}, false},
		"epochs of 33 bits":  {someTerms[1], []uint32{2, 4}, bare, 1<<32 + 4, []uint64{0, 0, 0}, false},
		"a score of lengths": {someTerms[1], []uint32{2, 4}, scored, 4, []uint64{0, 0, 0}, false},
		"long training":      {someTerms[1], []uint32{2, 4}, bare, 4, []uint64{5, 0, 0}, false},
		"long validation":    {someTerms[1], []uint32{2, 4}, bare, 4, []uint64{0, 5, 0}, false},
		"long times":         {someTerms[1], []uint32{2, 4}, bare, 4, []uint64{0, 0, 5}, false},
		"huge times":         {someTerms[1], []uint32{2, 4}, bare, 4, []uint64{0, 0, 1 << 40}, false},
	} {
		t.Run(name, func(t *testing.T) {
			written, err := writeFrame(&Trajectory{
				Run:    &trellisv1.Run{State: lifecycle.RunSucceeded, Milestones: its.milestones},
				Losses: &trellisv1.Losses{Epochs: 1},
			})
			if err != nil {
				t.Fatal(err)
			}
			data := append(protowire.AppendVarint([]byte{0, its.flags}, its.epochs), 1)
			for _, length := range its.lengths {
				data = protowire.AppendVarint(data, length)
			}
			for i, length := range its.lengths {
				switch {
				case length > 8:
				case i == 2:
					data = packed.AppendSeconds(data, make([]float32, length))
				default:
					data = packed.AppendFloats(data, make([]float64, length), nil)
				}
			}
			data = append(data, 0) // It has nothing of its own.
			opened := Opened{Sealed: &Sealed{[]string{written}, data, []uint32{uint32(len(data))}}, Terms: its.terms}
			run, err := opened.Unchecked(0, []uint32{2, 4})
			if (err == nil) != its.reads {
				t.Errorf("%v, %v", run, err)
			}
		})
	}
}
