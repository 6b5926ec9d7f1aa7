package answer

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"trellis/command/fake"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// A long CSV is written as it comes, once the metrics are known; one of several studies when all have come.
func TestTrialListIsWrittenAsItComes(t *testing.T) {
	best := sampleBest()
	best.Trial = fake.MeasuredTrials()[1]
	asked := 0
	answering := &fake.Coordinator{OnBest: func(*trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error) {
		asked++
		return best, nil
	}}
	c := connect(t, answering.Serve(t))
	for _, test := range []struct {
		name         string
		whole        bool
		first        *trellisv1.Trial
		asked, early int
	}{
		{"measured", false, fake.MeasuredTrials()[2], 0, 2},
		{"not trained, for two lines of reasons", false, fake.MeasuredTrials()[0], 1, 3},
		{"several studies", true, fake.MeasuredTrials()[2], 0, 0},
	} {
		var out bytes.Buffer
		list := NewTrialList(&out, output.CSV, TrialColumns(commonNames))
		list.Whole, asked = test.whole, 0
		if err := list.Add(test.first); err != nil {
			t.Fatal(err)
		}
		if err := list.releaseAfter(t.Context(), c, "sample"); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(out.String(), "\n"); lines != test.early || asked != test.asked {
			t.Errorf("%s: %d lines after the first page, and the best was asked for %d times; want %d and %d",
				test.name, lines, asked,
				test.early, test.asked)
		}
		if err := list.Add(fake.MeasuredTrials()[1]); err != nil {
			t.Fatal(err)
		}
		if err := list.Close(""); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(&out).ReadAll()
		if err != nil || !slices.Contains(records[0], "accuracy") || !slices.Contains(records[0], "test_accuracy") ||
			len(records) != 3 {
			t.Errorf("%s: got %q, %v", test.name, records, err)
		}
	}
}

// A CSV with losses has a column of each metric by epoch, one without has none.
func TestTrialListMetricsByEpoch(t *testing.T) {
	measured := fake.MeasuredTrials()[2]
	measured.EpochMetrics = map[string]*trellisv1.Series{"train_accuracy": {Values: []float64{0.5, 0.75, 0}, Missing: []uint32{2}}}
	for _, columns := range [][]output.Column[trial]{TrialColumns(commonNames), slices.Concat(TrialColumns(commonNames), lossColumns)} {
		var out bytes.Buffer
		list := NewTrialList(&out, output.CSV, columns)
		list.ByEpoch = len(columns) > len(TrialColumns(commonNames))
		for _, trial := range []*trellisv1.Trial{measured, fake.MeasuredTrials()[0]} {
			if err := list.Add(trial); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.Close(""); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(records) != 3 {
			t.Fatalf("got %q, %v", records, err)
		}
		column := slices.Index(records[0], "train_accuracy")
		if len(columns) == len(TrialColumns(commonNames)) {
			if column >= 0 {
				t.Errorf("without losses, there is a column of metrics by epoch: %q", records[0])
			}
			continue
		}
		if column < 0 || records[1][column] != "0.5 0.75 null" || records[2][column] != "" {
			t.Errorf("metrics by epoch are in column %d of %q", column, records)
		}
	}
}

// A program's trials have columns of what it reports, and none of losses or test images.
func TestColumnsOfPrograms(t *testing.T) {
	spec := &trellisv1.StudySpec{Program: &trellisv1.Program{}, Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"optimizer": trellisv1.AxisOf("adam", "sgd"), "max_epochs": trellisv1.AxisOf(2),
	}}}}
	for _, test := range []struct {
		specs []*trellisv1.StudySpec
		want  string
	}{
		{
			[]*trellisv1.StudySpec{spec},
			"study index state optimizer max_epochs seed objective best_epoch epochs acc run error",
		},
		{
			[]*trellisv1.StudySpec{spec, {}},
			"study index state optimizer max_epochs seed objective best_epoch epochs test_loss acc test_acc run error",
		},
	} {
		var names []string
		for _, column := range withMetrics(ColumnsOf(test.specs...), []string{"acc"}) {
			names = append(names, column.Name)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
