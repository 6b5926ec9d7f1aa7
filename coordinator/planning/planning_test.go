package planning

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"strconv"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestMain keeps rapid from writing failures into testdata: it prints the seed that repeats them.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// What a plan counts by index is what listing all runs counts, and what the study then has.
func TestStudiesArePlannedAsTheyAreListed(t *testing.T) {
	shared, trainedAgain := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		d := newDrawn(t)
		for range rapid.IntRange(0, 3).Draw(t, "studies") {
			d.create(rapid.StringMatching("[a-z]{3}").Draw(t, "name"))
			d.train(rapid.IntRange(0, 12).Draw(t, "attempts"))
		}
		study := d.draw("planned")
		plan, tally, err := Study(d.store.Snapshot(), study)
		its, invalid := lattice.New(study)
		if (err != nil) != (invalid != nil) {
			t.Fatalf("the plan says %v, and the grid %v", err, invalid)
		}
		if err != nil {
			return
		}
		wanted, tallied := d.listed(study, its)
		if !proto.Equal(plan, wanted) {
			t.Fatalf("the plan is\n%v, want\n%v", plan, wanted)
		}
		d.sameForecast(tally, tallied)
		d.ok(d.store.CreateStudy(d.next(), d.now(), study))
		progress := d.study("planned").Progress
		if plan.Trials != progress.Trials || plan.Runs != progress.Runs {
			t.Fatalf("planned %v, and created %v", plan, progress)
		}
		if plan.EpochsShared > 0 {
			shared++
		}
		if plan.EpochsAgain > 0 {
			trainedAgain++
		}
	})
	if manyChecks() && (shared == 0 || trainedAgain == 0) {
		t.Fatalf("%d studies have shared anything, and %d would train something again", shared, trainedAgain)
	}
}

// What the plan of an extension says is what it then adds.
func TestExtensionsArePlannedAsTheyExtend(t *testing.T) {
	var lengthened, again, reopened, refused, listed int
	rapid.Check(t, func(t *rapid.T) {
		d := newDrawn(t)
		if !d.create("s") {
			return
		}
		for range rapid.IntRange(1, 3).Draw(t, "extensions") {
			d.train(rapid.IntRange(0, 12).Draw(t, "attempts"))
			d.disturb()
			study := d.study("s")
			spec := d.extended(study.Spec)
			if proto.Equal(spec, study.Spec) || !grid.Extends(spec, study.Spec) {
				continue
			}
			snapshot := d.store.Snapshot()
			plan, tally, err := Extension(snapshot, study, spec, d.now().AsTime())
			if err == nil && plan.Trials > 0 && !grid.Sampled(spec) {
				by := &extension{snapshot: snapshot, tally: forecast.NewTally(spec), response: &trellisv1.PlanExtensionResponse{}}
				var invalid error
				by.its, _, invalid = results.Extended(study, spec)
				d.ok(invalid)
				by.has, invalid = snapshot.Catalog("s")
				d.ok(invalid)
				d.ok(by.list())
				if study.Untouched == nil && plan.RunsReopened == 0 { // What begins after all is counted by index only.
					if !proto.Equal(plan, by.response) {
						t.Fatalf("the plan is\n%v, and by listing\n%v", plan, by.response)
					}
					d.sameForecast(tally, by.tally)
				}
			}
			trials, extendErr := d.extend(study, spec)
			if (err != nil) != (extendErr != nil) && !(extendErr != nil && err == nil && plan.Trials == 0) {
				t.Fatalf("the plan says %v, %v, and the extension %v", plan, err, extendErr)
			}
			if err != nil || extendErr != nil {
				refused++
				continue
			}
			before, after := study.Progress, d.study("s").Progress
			if plan.Trials != trials || plan.Runs != after.Runs-before.Runs || plan.Epochs != after.EpochsLeft-before.EpochsLeft {
				t.Fatalf("the plan is %v, and the progress %v is now %v", plan, before, after)
			}
			if reopens := before.RunsCanceled - min(before.RunsCanceled, after.RunsCanceled); reopens != plan.RunsReopened {
				t.Fatalf("%d runs begin after all, and the plan is %v", reopens, plan)
			}
			if high := forecast.Make(forecast.Input{Study: tally}).Forecast.Epochs.High; high != float64(plan.Epochs+plan.EpochsBefore+plan.EpochsAgain) {
				t.Fatalf("%g epochs are forecast, and the plan is %v", high, plan)
			}
			count := func(n *int, is bool) {
				if is {
					*n++
				}
			}
			count(&lengthened, plan.RunsLengthened > 0)
			count(&again, plan.EpochsAgain > 0)
			count(&reopened, plan.RunsReopened > 0)
			its, err := d.store.Snapshot().Catalog("s")
			d.ok(err)
			count(&listed, !its.ListsNothing())
		}
	})
	for what, n := range map[string]int{
		"lengthen runs": lengthened, "train epochs again": again, "reopen runs": reopened, "are refused": refused, "list something": listed,
	} {
		if n == 0 && manyChecks() {
			t.Errorf("no extensions %s", what)
		}
	}
}

// manyChecks says whether so many studies are drawn that each kind must be among them.
func manyChecks() bool {
	const many = 1000
	checks, err := strconv.Atoi(flag.Lookup("rapid.checks").Value.String())
	return err == nil && checks >= many && !testing.Short()
}

// drawn is a store to which random things happen.
type drawn struct {
	*rapid.T
	store *results.Store
	index uint64
}

func newDrawn(t *rapid.T) *drawn {
	store, err := results.New()
	d := &drawn{T: t, store: store}
	d.ok(err)
	d.ok(store.SetWorker(d.next(), d.now(), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1000,
	}))
	return d
}

func (d *drawn) ok(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *drawn) next() uint64 {
	d.index++
	return d.index
}

// now is the time of a command.
func (d *drawn) now() *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Add(time.Duration(d.index) * time.Second))
}

func (d *drawn) study(name string) *trellisv1.Study {
	study, err := d.store.Snapshot().Study(nil, name)
	d.ok(err)
	return study
}

func axisFrom[V float64 | uint32](t *rapid.T, name string, values ...V) *trellisv1.Axis {
	return trellisv1.AxisOf(rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, len(values), rapid.ID).Draw(t, name)...)
}

// draw draws a study that may share runs with others.
func (d *drawn) draw(name string) *trellisv1.Study {
	spec := &trellisv1.StudySpec{
		Name: name, Model: "synthetic", Seeds: axisFrom[uint32](d.T, "seeds", 1, 2),
		Order: rapid.SampledFrom([]trellisv1.Order{
			trellisv1.Order_ORDER_UNSPECIFIED, trellisv1.Order_ORDER_LONGEST, trellisv1.Order_ORDER_RANDOM, trellisv1.Order_ORDER_AS_WRITTEN,
		}).Draw(d.T, "order"),
	}
	for range rapid.IntRange(1, 2).Draw(d.T, "grids") {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    axisFrom[uint32](d.T, "latent_dim", 4, 8, 16, 32),
			"learning_rate": axisFrom(d.T, "learning_rate", 1e-3, 1e-2, 1e-1),
			"weight_decay":  axisFrom(d.T, "weight_decay", 0, 1e-5),
			"batch_size":    trellisv1.AxisOf[uint32](256),
			"max_epochs":    axisFrom[uint32](d.T, "max_epochs", 1, 2, 3, 5),
		}})
	}
	spec.Where = rapid.SampledFrom([]string{"", "", "latent_dim > 4", "learning_rate < 0.05 || latent_dim < 16", "max_epochs > 1 || seed == 1"}).Draw(d.T, "where")
	switch rapid.IntRange(0, 6).Draw(d.T, "budget") {
	case 0:
		spec.Budget = &trellisv1.Budget{Trials: rapid.Uint64Range(1, 40).Draw(d.T, "trials")}
	case 1:
		spec.Budget = &trellisv1.Budget{Epochs: rapid.Uint64Range(1, 100).Draw(d.T, "epochs")}
	case 2, 3:
		spec.Budget = &trellisv1.Budget{Time: durationpb.New(time.Duration(rapid.IntRange(1, 20).Draw(d.T, "seconds")) * time.Second)}
	}
	if rapid.IntRange(0, 3).Draw(d.T, "stopping") == 0 {
		spec.EarlyStopping = &trellisv1.EarlyStopping{Patience: 2}
	}
	return &trellisv1.Study{Name: name, Numerics: "1", Fresh: rapid.IntRange(0, 3).Draw(d.T, "fresh") == 0, Spec: grid.WithDefaults(spec)}
}

// create creates a study, whose runs may all be listed, and says whether there is one.
func (d *drawn) create(name string) bool {
	study := d.draw(name)
	if rapid.IntRange(0, 3).Draw(d.T, "listed") > 0 || study.Spec.Budget != nil {
		err := d.store.CreateStudy(d.next(), d.now(), study)
		return err == nil
	}
	trials, runs, err := grid.Expand(study.Spec, nil, study.Numerics, nil)
	return err == nil && d.store.CreateListed(d.next(), d.now(), study, runs, trials) == nil
}

// train gives runs to a worker, which reports some epochs and checkpoints.
func (d *drawn) train(attempts int) {
	for range attempts {
		runs, err := d.store.Snapshot().NextRuns(nil, 5)
		d.ok(err)
		if len(runs) == 0 {
			return
		}
		d.attempt(runs[rapid.IntRange(0, len(runs)-1).Draw(d.T, "run")])
	}
}

func (d *drawn) attempt(run *trellisv1.Run) {
	granted := d.next()
	place, err := d.store.Snapshot().Place(run)
	d.ok(err)
	for _, err := range d.store.Grant(granted, d.now(), []*trellisv1.Grant{{Study: run.Study, Run: run.Id, Worker: "w", Place: &place}}) {
		d.ok(err)
	}
	attempt := results.AttemptNumber(granted, 0)
	run, err = d.store.Snapshot().Run(nil, run.Study, run.Id)
	d.ok(err)
	last := run.Parameters.MaxEpochs
	until := rapid.Uint32Range(run.AttemptEpochs, last).Draw(d.T, "until")
	var entries []*trellisv1.RecordCommand_Entry
	if n := until - run.AttemptEpochs; n > 0 {
		values, seconds := make([]float64, n), make([]float64, n)
		for i := range values {
			values[i], seconds[i] = 1/float64(run.AttemptEpochs+uint32(i)+1), 0.25
		}
		entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: &trellisv1.Reports{
			Study: run.Study, Run: run.Id, Attempt: attempt, FirstEpoch: run.AttemptEpochs + 1, Seconds: seconds,
			TrainLoss: values, ValidationLoss: values,
		}}})
	}
	if epoch := rapid.Uint32Range(0, until).Draw(d.T, "checkpoint"); epoch > run.AttemptEpochs {
		sum := sha256.Sum256([]byte{byte(epoch)})
		entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Checkpoint{
			Checkpoint: &trellisv1.CheckpointReport{Study: run.Study, Run: run.Id, Attempt: attempt, Checkpoint: &trellisv1.Checkpoint{
				Epoch: epoch, Sha256: hex.EncodeToString(sum[:]), Size: 1000, BestEpoch: epoch,
			}},
		}})
	}
	outcome := &trellisv1.Outcome{Study: run.Study, Run: run.Id, Attempt: attempt}
	switch rapid.IntRange(0, 5).Draw(d.T, "how") {
	case 0:
		outcome = nil
	case 1:
		outcome.Result = &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
			Attempt: attempt, Worker: "w", Message: "no", Class: trellisv1.FailureClass_FAILURE_CLASS_INPUT,
		}}
	case 2:
		outcome.Result = &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}
	default:
		if until == 0 || until < run.Epochs {
			outcome = nil
			break
		}
		reason := trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
		if until == last {
			reason = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
		}
		outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{Epochs: until, StopReason: reason}}
	}
	if outcome != nil {
		entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}})
	}
	for _, err := range d.store.Record(d.next(), d.now(), trajectory.LatestRules, entries) {
		if err != nil {
			d.Fatal(err)
		}
	}
}

// disturb ends the time of a budget, fails all runs that wait, or adds a seed, as settle does.
func (d *drawn) disturb() {
	study := d.study("s")
	switch rapid.IntRange(0, 2).Draw(d.T, "disturbance") {
	case 0:
		if results.TimeIsOver(study, d.now().AsTime()) && study.State == lifecycle.StudyRunning {
			d.ok(d.store.EndTimeBudget(d.next(), d.now(), "s", study.CreateIndex))
		}
	case 1:
		run, err := d.store.Snapshot().NextRuns(nil, 1)
		d.ok(err)
		if len(run) == 0 {
			return
		}
		point := proto.CloneOf(run[0].Parameters)
		point.Seed = rapid.SampledFrom([]uint32{2, 7}).Draw(d.T, "seed")
		command := &trellisv1.ExtendStudyCommand{Study: "s", Indices: study.Indices, Points: []*trellisv1.Parameters{point}}
		trials, runs, next, err := grid.ExpandExtension(study, command)
		d.ok(err)
		_, err = d.store.ExtendStudy(d.next(), d.now(), "s", results.Extension{
			Indices: study.Indices, NextIndices: next, Runs: runs, Trials: trials, KeepDifference: true,
		})
		if err != nil {
			d.Log(err) // It has the point.
		}
	}
}

// extended draws a larger spec.
func (d *drawn) extended(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	add := func(axis *trellisv1.Axis, value *trellisv1.Value) *trellisv1.Axis {
		values := axis.GetValues()
		for _, had := range values {
			if grid.KeyOf(had) == grid.KeyOf(value) {
				return axis
			}
		}
		return trellisv1.ListOf(append(values, value)...)
	}
	if rapid.Bool().Draw(d.T, "more values") {
		for _, g := range spec.Grid {
			switch rapid.IntRange(0, 3).Draw(d.T, "axis") {
			case 0, 1:
				g.Axes["max_epochs"] = add(g.Axes["max_epochs"], trellisv1.IntegerValue(rapid.SampledFrom([]int64{2, 4, 7, 9}).Draw(d.T, "more epochs")))
			case 2:
				g.Axes["latent_dim"] = add(g.Axes["latent_dim"], trellisv1.IntegerValue(rapid.SampledFrom([]int64{4, 64}).Draw(d.T, "more latent")))
			case 3:
				spec.Seeds = add(spec.Seeds, trellisv1.IntegerValue(3))
			}
		}
	}
	if b := spec.Budget; b != nil && rapid.Bool().Draw(d.T, "more budget") {
		switch more := rapid.Uint64Range(1, 50).Draw(d.T, "budget"); {
		case more > 45:
			spec.Budget = nil
		case b.Trials > 0:
			b.Trials += more
		case b.Epochs > 0:
			b.Epochs += 2 * more
		default:
			b.Time = durationpb.New(b.Time.AsDuration() + time.Duration(more)*time.Second)
		}
	}
	return spec
}

// extend does what the state machine does to extend the study s.
func (d *drawn) extend(study *trellisv1.Study, spec *trellisv1.StudySpec) (trials uint64, err error) {
	extension := results.Extension{Indices: study.Indices, NextIndices: study.Indices, Spec: spec, KeepDifference: true, Indexed: true}
	// The plan was made for the time of the last command.
	now := d.now()
	if trials, err = d.store.ExtendStudy(d.next(), now, "s", extension); !errors.Is(err, results.ErrNotIndexed) {
		return trials, err
	}
	extension.Indexed = false
	if !grid.OnlyRaises(spec, study.Spec) {
		command := &trellisv1.ExtendStudyCommand{Study: "s", Spec: spec, Indices: study.Indices}
		if extension.Trials, extension.Runs, extension.NextIndices, err = grid.ExpandExtension(study, command); err != nil {
			var invalid *protovalidate.ValidationError
			if !errors.As(err, &invalid) {
				d.Fatal(err)
			}
			return 0, err
		}
	}
	return d.store.ExtendStudy(d.next(), now, "s", extension)
}

// listed is the plan of a study whose runs are looked at one by one.
func (d *drawn) listed(study *trellisv1.Study, its *lattice.Lattice) (*trellisv1.PlanStudyResponse, *forecast.Tally) {
	snapshot, tally, r := d.store.Snapshot(), forecast.NewTally(study.Spec), &trellisv1.PlanStudyResponse{}
	studies, err := snapshot.Studies(nil)
	d.ok(err)
	for place := range its.Runs() {
		run := its.Run(place)
		r.Runs++
		r.Trials += uint64(len(run.Milestones))
		r.Epochs += uint64(run.Parameters.MaxEpochs)
		for _, milestone := range run.Milestones {
			r.EpochsAlone += uint64(milestone)
		}
		var most *trellisv1.Run
		var known *trellisv1.Losses
		for _, other := range studies {
			twin, err := snapshot.Run(nil, other.Name, run.Id)
			if err != nil || study.Fresh {
				continue
			}
			if twin.Epochs > most.GetEpochs() || twin.Epochs == most.GetEpochs() && twin.Epochs > 0 && other.Name < most.GetStudy() {
				losses, err := snapshot.Losses(nil, other.Name, run.Id)
				d.ok(err)
				most, known = twin, losses
			}
		}
		if most == nil {
			tally.Add(run, nil)
			continue
		}
		had := trajectory.Share(run, most)
		run.Epochs, run.SharedEpochs = had.Epochs, had.Epochs
		r.EpochsShared += uint64(had.Epochs)
		r.SecondsShared += had.Seconds
		if had.Ended {
			r.RunsShared++
			run.State, run.StopReason = lifecycle.RunSucceeded, had.Reason
		} else {
			trajectory.ShareCheckpoints(run, most)
			saved := uint32(0)
			for _, checkpoint := range run.Checkpoints {
				saved = max(saved, checkpoint.Epoch)
			}
			r.EpochsAgain += uint64(run.Epochs - min(run.Epochs, saved))
		}
		tally.Add(run, trajectory.FirstEpochs(known, run.Epochs))
	}
	return r, tally
}

func (d *drawn) sameForecast(got, want *forecast.Tally) {
	d.Helper()
	if a, b := forecast.Make(forecast.Input{Study: got}).Forecast, forecast.Make(forecast.Input{Study: want}).Forecast; !proto.Equal(a, b) {
		d.Fatalf("the forecast is\n%v, want\n%v", a, b)
	}
}
