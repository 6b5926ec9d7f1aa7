package forecast

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// A forecast is kept for a while, but not when the study is paused, resumed or extended meanwhile: another is made at
// once.
func TestAForecastIsOfTheStudyAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := results.New()
		if err != nil {
			t.Fatal(err)
		}
		spec := grid.WithDefaults(&trellisv1.StudySpec{
			Name: "slow", Model: "synthetic",
			Synthetic: &trellisv1.Synthetic{EpochTime: durationpb.New(3 * time.Second)},
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim":    trellisv1.AxisOf[int](4),
				"learning_rate": trellisv1.AxisOf[float64](1e-3),
				"max_epochs":    trellisv1.AxisOf[int](10),
			}}},
		})
		study := &trellisv1.Study{Name: "slow", Spec: spec, Numerics: "test"}
		if err := store.CreateStudy(1, timestamppb.Now(), study); err != nil {
			t.Fatal(err)
		}
		maker := NewMaker(slog.New(slog.DiscardHandler))
		forecast := func() *trellisv1.Forecast {
			t.Helper()
			snapshot := store.Snapshot()
			study, err := snapshot.Study(nil, "slow")
			if err != nil {
				t.Fatal(err)
			}
			if study.GetForecast() != nil {
				t.Error("the stored study has a forecast")
			}
			return maker.On(snapshot, study).GetForecast()
		}
		first := forecast()
		if first == nil {
			t.Fatal("there is no forecast")
		}
		time.Sleep(Life - 1)
		if forecast() != first {
			t.Errorf("another forecast is made within %v", Life)
		}
		time.Sleep(time.Nanosecond)
		second := forecast()
		if second == first {
			t.Errorf("the same forecast after %v", Life)
		}
		if err := store.SetStudyState(2, timestamppb.Now(), "slow",
			trellisv1.StudyState_STUDY_STATE_PAUSED); err != nil {
			t.Fatal(err)
		}
		if forecast() == second {
			t.Error("a paused study has the forecast of a running one")
		}
	})
}
