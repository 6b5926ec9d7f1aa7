package insight

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// A sample of all trials says what reading them does.
func TestSampleOfAll(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		points := drawTrained(t)
		store := newTrainedStore(tb, sampleSpec(), points...)
		study, err := store.Snapshot().Study(nil, "s")
		ok(tb, err)
		want, err := newSurvey(store.Snapshot(), "s")
		ok(tb, err)
		got, err := newSample(store.Snapshot(), study, 1000)
		ok(tb, err)
		if (got.check() == nil) != (want.check() == nil) || got.leftOutTotal() != want.leftOutTotal() ||
			!proto.Equal(got.leftOut(), want.leftOut()) {
			t.Fatalf("leaves out %v (%v), want %v (%v)", got.leftOut(), got.check(), want.leftOut(), want.check())
		}
		if want.check() != nil {
			return
		}
		if a, b := got.best(), want.best(); a.point != b.point || a.loss != b.loss {
			t.Fatalf("best is %v, want %v", a, b)
		}
		none := func() error { return nil }
		a, err := got.importance(none)
		ok(tb, err)
		b, err := want.importance(none)
		ok(tb, err)
		sameImportance(t, a, b)
	})
}

// sameImportance compares but for rounding: the order of sums differs.
func sameImportance(t *rapid.T, got, want *trellisv1.Importance) {
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }
	same := len(got.Axes) == len(want.Axes) && got.Configurations == want.Configurations && got.SampledFrom == 0 &&
		near(got.Rest, want.Rest) && len(got.UnansweredAxes) == len(want.UnansweredAxes) &&
		len(got.DivergedAt) == len(want.DivergedAt)
	byName := map[string]*trellisv1.AxisEffect{}
	for _, effect := range want.Axes {
		byName[effect.Axis] = effect
	}
	for _, effect := range got.Axes {
		its := byName[effect.Axis]
		same = same && its != nil && near(effect.Importance, its.Importance) && near(effect.Total, its.Total) &&
			len(effect.Values) == len(its.Values)
		for i := 0; same && i < len(its.Values); i++ {
			a, b := effect.Values[i], its.Values[i]
			same = proto.Equal(a.Value, b.Value) && near(a.Mean, b.Mean) && a.Best == b.Best && proto.Equal(a.BestAt, b.BestAt) &&
				a.Configurations == b.Configurations
		}
	}
	if !same {
		t.Fatalf("got\n%v\nwant\n%v", got, want)
	}
}

func sampleSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim": trellisv1.AxisOf(1, 2, 3, 4), "learning_rate": trellisv1.AxisOf(1e-3, 1e-2),
		"weight_decay": trellisv1.AxisOf(0.0, 0.1, 0.2), "max_epochs": trellisv1.AxisOf(20), "batch_size": trellisv1.AxisOf(256),
	}}}}
}

func drawTrained(t *rapid.T) (points []trainedTrial) {
	for latent := range uint32(4) {
		for _, rate := range []float64{1e-3, 1e-2} {
			for _, decay := range []float64{0, 0.1, 0.2} {
				loss := rapid.SampledFrom([]float64{0.5, 1, 2, 4, math.NaN(), 0.25}).Draw(t, "loss")
				its := at1(1+latent, rate, decay, loss)
				if rapid.IntRange(0, 5).Draw(t, "waits") == 0 {
					its.losses = nil
				}
				points = append(points, its)
			}
		}
	}
	return points
}

// A sample is no larger than it may be, has the best, and finds the axis that matters.
func TestSample(t *testing.T) {
	var points []trainedTrial
	for i := range 3000 {
		loss := float64(1+i%10) + float64(i/10%7)/100
		if i == 1234 {
			loss = 0.9
		}
		points = append(points, at1(uint32(1+i%10), float64(1+i/10%30), float64(i/300), loss))
	}
	store := newTrainedStore(t, &trellisv1.StudySpec{}, points...)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	s, err := newSample(store.Snapshot(), study, 400)
	ok(t, err)
	if len(s.findings) < 150 || len(s.findings) > 401 || s.sampledFrom != 3000 || s.best().index != 1234 {
		t.Fatalf("%d of %d, the best is trial %d", len(s.findings), s.sampledFrom, s.best().index)
	}
	found, err := s.importance(store.Snapshot().Err)
	ok(t, err)
	if found.SampledFrom != 3000 || found.Axes[0].Axis != "latent_dim" || found.Axes[0].Importance < 0.9 ||
		len(found.Interactions) > 0 || math.Abs(found.Axes[0].Importance+found.Axes[1].Importance+found.Axes[2].Importance+
		found.Rest-1) > 1e-9 {
		t.Fatalf("the sample says %v", found)
	}
}
