//go:build !race

package grid

//lint:file-ignore SA1019 Old data is in the deprecated fields.

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// oldGrid and oldPoint are as older versions wrote them.
func oldGrid(latentDim ...uint32) *trellisv1.Grid {
	return &trellisv1.Grid{
		OldLatentDim:    &trellisv1.IntegerAxis{Values: latentDim},
		OldLearningRate: &trellisv1.NumberAxis{Log10: newRange(1e-4, 1e-2, 3)},
		OldWeightDecay:  &trellisv1.NumberAxis{Values: []float64{0, 1e-5}},
		OldMaxEpochs:    &trellisv1.IntegerAxis{Values: []uint32{5, 10}},
		OldAxes:         map[string]*trellisv1.NumberAxis{"fine_tune": {Values: []float64{0, 1}}},
	}
}

func oldPoint() *trellisv1.Parameters {
	return &trellisv1.Parameters{
		OldLatentDim: 8, OldLearningRate: 1e-3, MaxEpochs: 10, Seed: 3, OldBatchSize: 128,
		OldValues: map[string]float64{"fine_tune": 1},
	}
}

func todaysGrid(batchSize *trellisv1.Axis, latentDim ...uint32) *trellisv1.Grid {
	return &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
		"latent_dim": integers(latentDim...), "learning_rate": {Log10: newRange(1e-4, 1e-2, 3)},
		"weight_decay": numbers(0, 1e-5), "batch_size": batchSize, "max_epochs": integers(5, 10),
		"fine_tune": numbers(0, 1),
	}}
}

func todaysPoint() *trellisv1.Parameters {
	return &trellisv1.Parameters{MaxEpochs: 10, Seed: 3, Values: map[string]*trellisv1.Value{
		"latent_dim": trellisv1.IntegerValue(8), "learning_rate": trellisv1.NumberValue(1e-3),
		"weight_decay": trellisv1.NumberValue(0), "batch_size": trellisv1.IntegerValue(128),
		"fine_tune": trellisv1.NumberValue(1),
	}}
}

func oldSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: "old", Model: "classifier", OldSeeds: &trellisv1.IntegerAxis{Values: []uint32{1, 2}},
		OldBatchSize: &trellisv1.IntegerAxis{Values: []uint32{128, 256}},
		Grid:         []*trellisv1.Grid{oldGrid(4), oldGrid(8, 16)},
	}
}

func todaysSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: "old", Model: "classifier", Seeds: integers(1, 2),
		Grid: []*trellisv1.Grid{todaysGrid(integers(128, 256), 4), todaysGrid(integers(128, 256), 8, 16)},
	}
}

// Whatever an older version wrote becomes what today's would have written, and that stays as it is.
func TestUpgrade(t *testing.T) {
	difference := func(grid uint32, axis string, count uint32, whole *trellisv1.Axis) *trellisv1.AxisDifference {
		return &trellisv1.AxisDifference{Grid: grid, Axis: axis, Count: count, Whole: whole}
	}
	for name, test := range map[string]struct{ old, want proto.Message }{
		"spec": {oldSpec(), todaysSpec()},
		"spec without batch sizes, which were 256, and weight decays, which were 0": {
			&trellisv1.StudySpec{Grid: []*trellisv1.Grid{{OldMaxEpochs: &trellisv1.IntegerAxis{Values: []uint32{5}}}}},
			&trellisv1.StudySpec{Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"max_epochs": integers(5), "weight_decay": numbers(0), "batch_size": integers(256),
			}}}},
		},
		"run":   {&trellisv1.Run{Parameters: oldPoint()}, &trellisv1.Run{Parameters: todaysPoint()}},
		"trial": {&trellisv1.Trial{Parameters: oldPoint()}, &trellisv1.Trial{Parameters: todaysPoint()}},
		"study": {
			&trellisv1.Study{
				Spec: oldSpec(), EarlierSpecs: []*trellisv1.StudySpec{oldSpec()},
				Pretrained: &trellisv1.Source{Parameters: oldPoint()},
				SpecHistory: &trellisv1.SpecHistory{Differences: []*trellisv1.SpecDifference{
					{Axes: []*trellisv1.AxisDifference{
						difference(0, "batch_size", 1, nil),
						{Grid: 1, Axis: "max_epochs", OldIntegers: &trellisv1.IntegerAxis{Linear: newRange(1, 5, 5)}},
						{Axis: "learning_rate", OldNumbers: &trellisv1.NumberAxis{Values: []float64{1e-3}}},
					}},
					{Whole: oldSpec()},
				}},
			},
			&trellisv1.Study{
				Spec: todaysSpec(), EarlierSpecs: []*trellisv1.StudySpec{todaysSpec()},
				Pretrained: &trellisv1.Source{Parameters: todaysPoint()},
				SpecHistory: &trellisv1.SpecHistory{Differences: []*trellisv1.SpecDifference{
					{Axes: []*trellisv1.AxisDifference{
						difference(0, "batch_size", 1, nil),
						difference(1, "batch_size", 1, nil),
						difference(1, "max_epochs", 0, &trellisv1.Axis{Linear: newRange(1, 5, 5)}),
						difference(0, "learning_rate", 0, numbers(1e-3)),
					}},
					{Whole: todaysSpec()},
				}},
			},
		},
		"command that creates": {
			&trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
				Spec: oldSpec(), Pretrained: &trellisv1.Source{Parameters: oldPoint()},
			}}},
			&trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: &trellisv1.CreateStudyCommand{
				Spec: todaysSpec(), Pretrained: &trellisv1.Source{Parameters: todaysPoint()},
			}}},
		},
		"command that extends": {
			&trellisv1.Command{Change: &trellisv1.Command_ExtendStudy{ExtendStudy: &trellisv1.ExtendStudyCommand{
				Spec: oldSpec(), Points: []*trellisv1.Parameters{oldPoint()},
			}}},
			&trellisv1.Command{Change: &trellisv1.Command_ExtendStudy{ExtendStudy: &trellisv1.ExtendStudyCommand{
				Spec: todaysSpec(), Points: []*trellisv1.Parameters{todaysPoint()},
			}}},
		},
		"request": {
			&trellisv1.ExtendStudyRequest{
				OldBatchSize: &trellisv1.IntegerAxis{Values: []uint32{64}},
				OldSeeds:     &trellisv1.IntegerAxis{Values: []uint32{7}},
				OldAxes:      map[string]*trellisv1.NumberAxis{"fine_tune": {Values: []float64{1}}},
			},
			&trellisv1.ExtendStudyRequest{
				Seeds: integers(7),
				Axes:  map[string]*trellisv1.Axis{"batch_size": integers(64), "fine_tune": numbers(1)},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if Upgrade(test.old); !proto.Equal(test.old, test.want) {
					t.Fatalf("\n got %v\nwant %v", test.old, test.want)
				}
			}
		})
	}
}

// An old point has the id of today's, so that what was trained is found.
func TestUpgradeKeepsRuns(t *testing.T) {
	old, today := oldSpec(), todaysSpec()
	Upgrade(old)
	for _, spec := range []*trellisv1.StudySpec{old, today} {
		spec.Grid = spec.Grid[:1]
	}
	_, runs, err := Expand(old, newDataSet(), "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := Expand(today, newDataSet(), "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if runs[i].GetId() != want[i].GetId() {
			t.Errorf("run %d is %s, want %s", i, runs[i].GetId(), want[i].GetId())
		}
	}
}

// What today's version wrote is upgraded too whenever a snapshot of it is restored, and must stay as it is.
func TestUpgradeLeavesTodaysForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		study := &trellisv1.Study{Spec: drawSpec(t), SpecHistory: &trellisv1.SpecHistory{}}
		for range rapid.IntRange(0, 3).Draw(t, "extensions") {
			next, err := testModels.Merge(study.Spec, drawRequest(t, study.Spec))
			if err != nil {
				t.Skip(err)
			}
			study.SpecHistory.Differences = append(study.SpecHistory.Differences, Difference(study.Spec, next))
			study.Spec = next
		}
		before := proto.CloneOf(study)
		if Upgrade(study); !proto.Equal(study, before) {
			t.Fatalf("\n got %v\nwant %v", study, before)
		}
	})
}

// A batch size that one of two grids had already: only the other has a difference, and it stays the only one.
func TestUpgradeLeavesBatchSizes(t *testing.T) {
	before := todaysSpec()
	before.Grid[0].Axes["batch_size"] = integers(128)
	study := &trellisv1.Study{Spec: todaysSpec(), SpecHistory: &trellisv1.SpecHistory{
		Differences: []*trellisv1.SpecDifference{Difference(before, todaysSpec())},
	}}
	for range 3 {
		Upgrade(study)
	}
	if got := EarlierSpecs(study); !proto.Equal(got[0], before) {
		t.Errorf("\n got %v\nwant %v", got[0], before)
	}
}

// An earlier spec without a weight decay or a batch size had their defaults, which today's form writes down.
func TestUpgradeOfAbsentAxes(t *testing.T) {
	old := &trellisv1.Study{
		Spec: &trellisv1.StudySpec{
			OldBatchSize: &trellisv1.IntegerAxis{Values: []uint32{256, 64}},
			Grid: []*trellisv1.Grid{{
				OldMaxEpochs:   &trellisv1.IntegerAxis{Values: []uint32{5}},
				OldWeightDecay: &trellisv1.NumberAxis{Values: []float64{0, 1e-5}},
				OldAxes:        map[string]*trellisv1.NumberAxis{"fine_tune": {Values: []float64{1}}},
			}},
		},
		SpecHistory: &trellisv1.SpecHistory{Differences: []*trellisv1.SpecDifference{{
			Axes: []*trellisv1.AxisDifference{{Axis: "batch_size"}, {Axis: "weight_decay"}, {Axis: "fine_tune"}},
		}}},
	}
	before := &trellisv1.StudySpec{Grid: []*trellisv1.Grid{{OldMaxEpochs: &trellisv1.IntegerAxis{Values: []uint32{5}}}}}
	Upgrade(before)
	for range 2 {
		Upgrade(old)
		if got := EarlierSpecs(old)[0]; !proto.Equal(got, before) {
			t.Errorf("the earlier spec is\n%v, want\n%v", got, before)
		}
	}
}
