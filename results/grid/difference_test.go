//go:build !race

package grid

import (
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestDifferencesOfExtensions take a study's spec back to each of those that it had, whatever was added to it.
func TestDifferencesOfExtensions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		study := &trellisv1.Study{Spec: drawSpec(t), SpecHistory: &trellisv1.SpecHistory{}}
		var want []*trellisv1.StudySpec
		for range rapid.IntRange(1, 4).Draw(t, "extensions") {
			next, err := testModels.Merge(study.Spec, drawRequest(t, study.Spec))
			if err != nil {
				t.Skip(err)
			}
			want = append(want, proto.CloneOf(study.Spec))
			study.SpecHistory.Differences = append(study.SpecHistory.Differences, Difference(study.Spec, next))
			study.Spec = next
		}
		checkEarlier(t, study, want)
	})
}

// TestDifferencesOfAnything: a spec that no extension leads to is kept whole.
func TestDifferencesOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawSpec(t), drawSpec(t)
		checkEarlier(t, &trellisv1.Study{Spec: after, SpecHistory: &trellisv1.SpecHistory{
			Differences: []*trellisv1.SpecDifference{Difference(before, after)},
		}}, []*trellisv1.StudySpec{before})
	})
}

// TestForgedDifferences don't panic: a backup may have any.
func TestForgedDifferences(t *testing.T) {
	spec := &trellisv1.StudySpec{Grid: []*trellisv1.Grid{{}}}
	for _, axis := range []*trellisv1.AxisDifference{
		{Grid: 7, Axis: "learning_rate", Count: 3},
		{Grid: 7, Axis: "own"},
		{Axis: "own", Count: 1},
		{Axis: "seeds", Count: 1},
		{Axis: "seeds", Whole: &trellisv1.Axis{}},
		{Axis: "own", Whole: &trellisv1.Axis{}},
		{},
	} {
		Before(spec, &trellisv1.SpecDifference{Axes: []*trellisv1.AxisDifference{axis}})
	}
}

// TestDifferenceIsSmall: an extension of a large spec by one value.
func TestDifferenceIsSmall(t *testing.T) {
	grids := make([]*trellisv1.Grid, 10)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range grids {
		rates := make([]float64, 1000)
		for j := range rates {
			rates[j] = random.Float64()
		}
		grids[i] = &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[int](4),
			"learning_rate": trellisv1.AxisOf[float64](rates...),
			"max_epochs":    trellisv1.AxisOf[int](2),
		}}
	}
	before := WithDefaults(&trellisv1.StudySpec{Name: "large", Model: "synthetic", Grid: grids})
	after, err := testModels.Merge(before, &trellisv1.ExtendStudyRequest{Study: "large", Seeds: trellisv1.AxisOf[int](2), Axes: map[string]*trellisv1.Axis{"learning_rate": trellisv1.AxisOf[float64](5)}})
	if err != nil {
		t.Fatal(err)
	}
	difference := Difference(before, after)
	if size := proto.Size(difference); size > 300 || difference.GetWhole() != nil {
		t.Errorf("the difference of a spec of %d bytes has %d", proto.Size(before), size)
	}
}

func checkEarlier(t *rapid.T, study *trellisv1.Study, want []*trellisv1.StudySpec) {
	before := proto.CloneOf(study)
	got := EarlierSpecs(study)
	if !proto.Equal(study, before) {
		t.Fatal("the study has changed")
	}
	if len(got) != len(want) || Extensions(study) != len(want) {
		t.Fatalf("%d earlier specs, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Fatalf("spec %d:\n got %v\nwant %v", i, got[i], want[i])
		}
	}
}
