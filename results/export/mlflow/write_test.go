package mlflow

import (
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/export"
	"trellis/results/lifecycle"
)

func TestFileNames(t *testing.T) {
	for _, test := range []struct{ names, want []string }{
		{[]string{"loss", "val/acc", "a.b", "_x-1"}, []string{"loss", "val/acc", "a.b", "_x-1"}},
		// A name is a file, and a folder for another.
		{[]string{"val", "val/acc"}, []string{"val", "val_acc"}},
		// Paths that are others, or lead elsewhere.
		{[]string{"a/../b", "a//c", "a/", "a/./d"}, []string{"a____b", "a__c", "a_", "a___d"}},
		{[]string{"A", "a", "val/x", "val", "val_x"}, []string{"A", "a_2", "val_x", "val", "val_x_2"}},
	} {
		got := fileNames(test.names)
		for i, name := range test.names {
			if got[name] != test.want[i] {
				t.Errorf("of %q, %q is %q, want %q", test.names, name, got[name], test.want[i])
			}
		}
	}
}

// files are the contents of a store, by their paths.
func files(t *testing.T) map[string]string {
	t.Helper()
	nan, loss, test := math.NaN(), 0.25, 0.5
	page := &trellisv1.ListTrialsResponse{
		Trials: []*trellisv1.Trial{
			{
				Study: "s", Index: 2, Run: "r", State: lifecycle.TrialSucceeded, Objective: &loss,
				BestEpoch: 1, Epochs: 2,
				TestLoss: &test, TrainLoss: []float64{0.5, 0.25}, ValidationLoss: []float64{0.25, 0.75},
				Parameters: &trellisv1.Parameters{MaxEpochs: 2, Seed: 7, Values: map[string]*trellisv1.Value{
					"opt.lr": trellisv1.NumberValue(0.5),
				}},
				TestMetrics: map[string]float64{"accuracy": 0.875, "loss": 0.625},
				EpochMetrics: map[string]*trellisv1.Series{
					"objective":              {Values: []float64{1, 2}, Missing: []uint32{0}},
					"metric_objective":       {Values: []float64{3, 4}},
					"test_accuracy":          {Values: []float64{5, 6}},
					"metric_validation_loss": {Values: []float64{7, 8}},
					"validation_loss":        {Values: []float64{9, 10}},
				},
			},
			{
				Study: "s", Index: 10, State: lifecycle.TrialFailed, Objective: &nan, Epochs: 1,
				Error:     "it's \"broken\"",
				TrainLoss: []float64{nan}, ValidationLoss: []float64{math.Inf(1)},
				Parameters: &trellisv1.Parameters{MaxEpochs: 2},
			},
		},
		Runs: []*trellisv1.Run{{Id: "r", Epochs: 4, TrainingSeconds: 6, SharedSeconds: 2, Worker: "w"}},
	}
	spool, err := export.NewSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	if err := spool.Add(page); err != nil {
		t.Fatal(err)
	}
	if err := spool.Finish(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	study := &trellisv1.Study{Name: "s", CreateTime: timestamppb.New(time.Unix(1000, 0))}
	if err := Write(Config{
		Folder: folder, Final: "/a folder/out", Study: study, Spool: spool, User: "ann", Best: &trellisv1.Trial{Index: 2},
		Files: map[string][]byte{"model/MLmodel": []byte("x")},
		Checkpoint: func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "weights"), []byte("y"), 0o666)
		},
	}); err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	if err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		contents[filepath.ToSlash(name)] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return contents
}

func TestWrite(t *testing.T) {
	const experiment = "235414249070992513"
	first, second := experiment+"/"+RunID("s", 2)+"/", experiment+"/"+RunID("s", 10)+"/"
	meta := func(trial, id, status, end string) string {
		return `artifact_uri: "file:///a%20folder/out/` + experiment + "/" + id + `/artifacts"
deleted_time: null
end_time: ` + end + `
entry_point_name: ""
experiment_id: "` + experiment + `"
lifecycle_stage: "active"
run_id: "` + id + `"
run_name: "` + trial + `"
run_uuid: "` + id + `"
source_name: ""
source_type: 4
source_version: ""
start_time: 1000000
status: ` + status + `
tags: []
user_id: "ann"
`
	}
	want := map[string]string{
		experiment + "/meta.yaml": `artifact_location: "file:///a%20folder/out/` + experiment + `"
creation_time: 1000000
experiment_id: "` + experiment + `"
last_update_time: 1000000
lifecycle_stage: "active"
name: "s"
`,
		experiment + "/tags/mlflow.experimentKind": "custom_model_development",

		first + "meta.yaml":                meta("trial-2", RunID("s", 2), "3", "1004000"),
		first + "params/opt.lr":            "0.5",
		first + "params/max_epochs":        "2",
		first + "params/seed":              "7",
		first + "metrics/objective":        "1004000 0.25 1\n",
		first + "metrics/train_loss":       "1002000 0.5 1\n1004000 0.25 2\n",
		first + "metrics/validation_loss":  "1002000 0.25 1\n1004000 0.75 2\n",
		first + "metrics/metric_objective": "1002000 3 1\n1004000 4 2\n",
		// Names that others have.
		first + "metrics/metric_metric_objective":       "1004000 2 2\n",
		first + "metrics/metric_validation_loss":        "1002000 7 1\n1004000 8 2\n",
		first + "metrics/metric_metric_validation_loss": "1002000 9 1\n1004000 10 2\n",
		first + "metrics/test_accuracy":                 "1002000 5 1\n1004000 6 2\n",
		first + "metrics/metric_test_accuracy":          "1004000 0.875 1\n",
		first + "metrics/metric_test_loss":              "1004000 0.625 1\n",
		first + "metrics/test_loss":                     "1004000 0.5 1\n",
		first + "tags/mlflow.runName":                   "trial-2",
		first + "tags/mlflow.user":                      "ann",
		first + "tags/mlflow.source.name":               "trellis",
		first + "tags/trellis.study":                    "s",
		first + "tags/trellis.trial":                    "2",
		first + "tags/trellis.run":                      "r",
		first + "tags/trellis.state":                    "succeeded",
		first + "tags/trellis.stop_reason":              "max_epochs",
		first + "tags/trellis.worker":                   "w",
		first + "tags/trellis.best":                     "true",
		first + "artifacts/model/MLmodel":               "x",
		first + "artifacts/checkpoint/weights":          "y",

		second + "meta.yaml":               meta("trial-10", RunID("s", 10), "4", "1000000"),
		second + "params/max_epochs":       "2",
		second + "params/seed":             "0",
		second + "metrics/objective":       "1000000 NaN 0\n",
		second + "metrics/train_loss":      "1000000 NaN 1\n",
		second + "metrics/validation_loss": "1000000 +Inf 1\n",
		second + "tags/mlflow.runName":     "trial-10",
		second + "tags/mlflow.user":        "ann",
		second + "tags/mlflow.source.name": "trellis",
		second + "tags/trellis.study":      "s",
		second + "tags/trellis.trial":      "10",
		second + "tags/trellis.state":      "failed",
		second + "tags/trellis.error":      "it's \"broken\"",
	}
	got := files(t)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s has\n%s\nwant\n%s", name, got[name], text)
		}
	}
	for name, text := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("unexpected file %s: %s", name, text)
		}
	}
	if again := files(t); !reflect.DeepEqual(again, got) {
		t.Error("the same trials have other files")
	}
	if id := RunID("s", 2); len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("the id of a run is %q", id)
	}
}
