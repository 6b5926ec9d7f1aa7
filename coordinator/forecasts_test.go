package coordinator

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
)

// slowSpec is a study of so many runs, of 10 epochs of 3 seconds each.
func slowSpec(name string, runs uint32) *trellisv1.StudySpec {
	var latent []uint32
	for n := range runs {
		latent = append(latent, n+1)
	}
	spec := syntheticSpec(name, latent, []uint32{10})
	spec.Synthetic = &trellisv1.Synthetic{EpochTime: durationpb.New(3 * time.Second)}
	return spec
}

func about(e *trellisv1.Estimate, want float64) bool {
	return e != nil && math.Abs(e.GetExpected()-want) <= 0.03*want && e.GetLow() <= want && want <= e.GetHigh()
}

// forecast is the study's, as GetStudy says it once the last one is out of date.
func (h *harness) forecast(name string) *trellisv1.Forecast {
	h.Helper()
	time.Sleep(time.Minute)
	return h.study(name).GetForecast()
}

func TestEveryStatusSaysWhatIsToCome(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(slowSpec("slow", 4))
		if f := h.forecast("slow"); f.GetEpochs().GetExpected() != 40 || f.GetSeconds() != nil || f.GetSlots() != 0 {
			t.Errorf("without workers: %v", f)
		}
		w := h.connect("w", 2)
		a, b := w.assignment(), w.assignment()
		w.train(a)
		c := w.assignment()
		f := h.forecast("slow")
		if f.GetEpochs().GetExpected() != 30 || !about(f.GetSeconds(), 60) || f.GetSlots() != 2 ||
			f.GetConfidence() != 0.9 {
			t.Errorf("with two runs begun and one left on two slots: %v", f)
		}
		// Every answer that has the study has its forecast.
		listed, err := h.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{})
		if err != nil || !proto.Equal(listed.GetStudies()[0].GetForecast(), f) {
			t.Errorf("listed %v, %v", listed, err)
		}
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "slow"})
		if err != nil || !proto.Equal(best.GetStudy().GetForecast(), f) {
			t.Errorf("the best trial's study is %v, %v", best.GetStudy(), err)
		}
		if seen := h.receive(h.watch("slow", 0)); !proto.Equal(seen.GetStudy().GetForecast(), f) {
			t.Errorf("watched %v", seen)
		}
		stored, err := h.store.Snapshot().Study(nil, "slow")
		if err != nil || stored.GetForecast() != nil {
			t.Errorf("the store has %v, %v", stored, err)
		}
		w.train(b)
		d := w.assignment()
		w.train(c)
		w.train(d)
		if f := h.forecast("slow"); f != nil {
			t.Errorf("nothing is to come, and the forecast is %v", f)
		}
	})
}

func TestOlderStudiesAreServedFirst(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(slowSpec("older", 4))
		paused, younger := slowSpec("paused", 4), slowSpec("younger", 2)
		// They are not to share runs.
		paused.Grid[0].Axes["learning_rate"], younger.Grid[0].Axes["learning_rate"] = trellisv1.AxisOf(2e-3), trellisv1.AxisOf(3e-3)
		h.create(paused)
		if _, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "paused"}); err != nil {
			t.Fatal(err)
		}
		h.create(younger)
		w := h.connect("w", 1)
		w.train(w.assignment())
		w.assignment()
		if f := h.forecast("older"); !about(f.GetSeconds(), 90) {
			t.Errorf("three runs of the older study are left: %v", f)
		}
		if f := h.forecast("younger"); f.GetEpochs().GetExpected() != 20 || !about(f.GetSeconds(), 90+60) {
			t.Errorf("three runs of the older study and two of this are left: %v", f)
		}
		if f := h.forecast("paused"); !about(f.GetSeconds(), 90+120) {
			t.Errorf("if it were resumed, three runs of the older study and four of this were left: %v", f)
		}
	})
}

func TestForecastsAreKeptForAWhile(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(slowSpec("slow", 4))
		w := h.connect("w", 1)
		before := h.forecast("slow")
		w.train(w.assignment())
		if f := h.study("slow").GetForecast(); !proto.Equal(f, before) {
			t.Errorf("at once, %v has become %v", before, f)
		}
		time.Sleep(forecast.Life)
		if f := h.study("slow").GetForecast(); f.GetEpochs().GetExpected() != 30 {
			t.Errorf("after %v, %v has become %v", forecast.Life, before, f)
		}
	})
}
