package forecast

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// noneWaits says that no study waits.
func noneWaits(string) bool { return false }

// An older study is ahead only if it can use a worker of the study, and has what it needs.
func TestAheadAreOnlyThoseServed(t *testing.T) {
	queued := func(labels map[string]string, memory uint64, waits func(string) bool) time.Duration {
		store, err := results.New()
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		check(err)
		for i, spec := range []*trellisv1.StudySpec{{Name: "older", Workers: labels}, {Name: "younger"}} {
			spec.Model = "synthetic"
			spec.Synthetic = &trellisv1.Synthetic{EpochTime: durationpb.New(3 * time.Second)}
			spec.Grid = []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(uint32(4 + i)), "max_epochs": trellisv1.AxisOf[uint32](10),
			}}}
			study := &trellisv1.Study{Name: spec.GetName(), Spec: grid.WithDefaults(spec), Numerics: "test"}
			if i == 0 {
				study.Network = &trellisv1.ModelSize{Memory: memory}
			}
			check(store.CreateStudy(uint64(i+1), timestamppb.Now(), study))
		}
		check(store.SetWorker(3, timestamppb.Now(), 0, &trellisv1.Worker{
			Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1,
			Capacity: &trellisv1.Capacity{Memory: 1 << 30},
		}))
		snapshot := store.Snapshot()
		study, err := snapshot.Study(nil, "younger")
		check(err)
		maker := NewMaker(slog.New(slog.DiscardHandler), waits)
		in, err := maker.input(snapshot, study, NewTally(study.GetSpec()))
		check(err)
		sum := 0.0
		for _, ahead := range in.Ahead {
			sum += ahead.GetHigh()
		}
		return time.Duration(sum * float64(time.Second))
	}
	if got := queued(nil, 1<<30, noneWaits); got <= 0 {
		t.Errorf("%v of a study with the same workers is ahead", got)
	}
	if got := queued(map[string]string{"gpu": "a100"}, 0, noneWaits); got != 0 {
		t.Errorf("%v of a study that waits for other workers is ahead", got)
	}
	if got := queued(nil, 0, func(study string) bool { return study == "older" }); got != 0 {
		t.Errorf("%v of a study that waits for its data set is ahead", got)
	}
	if got := queued(nil, 2<<30, noneWaits); got != 0 {
		t.Errorf("%v of a study that waits for more memory is ahead", got)
	}
}

// A slot counts only if the worker has room for a run in it.
func TestSlotsWithoutRoomDoNotCount(t *testing.T) {
	for memory, want := range map[uint64]int{0: 4, 512 << 20: 2, 1 << 30: 1, 2 << 30: 0} {
		store, err := results.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := store.SetWorker(1, timestamppb.Now(), 0, &trellisv1.Worker{
			Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 4,
			Capacity: &trellisv1.Capacity{Memory: 1 << 30},
		}); err != nil {
			t.Fatal(err)
		}
		study := &trellisv1.Study{
			Spec:    &trellisv1.StudySpec{Name: "large", Model: "synthetic"},
			Network: &trellisv1.ModelSize{Memory: memory},
		}
		maker := NewMaker(slog.New(slog.DiscardHandler), noneWaits)
		in, err := maker.input(store.Snapshot(), study, NewTally(study.GetSpec()))
		if err != nil || in.slots() != want {
			t.Errorf("runs of %d bytes on a worker with %d: %d slots, error %v; want %d", memory, 1<<30, in.slots(), err, want)
		}
		if unsuited := Make(in).Forecast.GetBasis().GetUnsuited(); unsuited != (want == 0) {
			t.Errorf("runs of %d bytes are said to have no worker that suits: %v", memory, unsuited)
		}
	}
}

// What was trained last is measured first. Deleting the checkpoints of a study that ended long ago does not bring it to
// the front.
func TestLatestLike(t *testing.T) {
	study := func(name string, modified uint64, end int64) *trellisv1.Study {
		its := &trellisv1.Study{Name: name, ModifyIndex: modified, Progress: &trellisv1.Progress{TrainingSeconds: 1}}
		if end > 0 {
			its.EndTime = timestamppb.New(time.Unix(end, 0))
		}
		return its
	}
	var got []string
	for _, its := range latestLike([]*trellisv1.Study{
		study("first", 90, 10), study("paused", 50, 0), study("second", 20, 20), study("its own", 80, 0), study("runs", 60, 0),
	}, study("its own", 80, 0)) {
		got = append(got, its.Name)
	}
	if want := []string{"runs", "paused", "second", "first"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What a study has measured itself is not another study's in the forecast of its extension.
func TestAnExtensionIsOfTheStudyItself(t *testing.T) {
	measured := func() *Tally {
		run := runOf(leased, 10)
		run.TrainingSeconds = 20
		return tallyOf(exactSpec(), run)
	}
	itself, other := measured(), measured()
	basis := Make(Input{
		Study: NewTally(exactSpec()), Others: []*Tally{itself, other}, Itself: itself, Workers: []Worker{{"w", 1}},
	}).Forecast.GetBasis()
	if basis.GetEpochs() != 10 || basis.GetOtherEpochs() != 10 || basis.GetOtherStudies() != 1 {
		t.Errorf("the forecast is from %v, want 10 epochs of the study and 10 of 1 other", basis)
	}
}
