package export

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// page is what a coordinator sends of a model's study: a run of two trials, one that diverged, one that nobody has
// begun.
func page() *trellisv1.ListTrialsResponse {
	loss, nan, test := 0.25, math.NaN(), 0.5
	point := func(lr *trellisv1.Value, epochs uint32) *trellisv1.Parameters {
		return &trellisv1.Parameters{MaxEpochs: epochs, Seed: 7, Values: map[string]*trellisv1.Value{
			"lr": lr, "name": trellisv1.TextValue("a,\n\"b\""), "worker": trellisv1.BooleanValue(epochs == 2),
		}}
	}
	return &trellisv1.ListTrialsResponse{
		Trials: []*trellisv1.Trial{
			{
				Study: "s", Index: 0, Run: "r", State: lifecycle.TrialSucceeded,
				Parameters: point(trellisv1.IntegerValue(1), 2),
				Objective:  &loss, BestEpoch: 2, Epochs: 2, TestLoss: &test,
				TrainLoss: []float64{0.5, 0.375}, ValidationLoss: []float64{0.5, 0.25},
				Metrics:     map[string]float64{"accuracy": 0.1, "state": 1},
				TestMetrics: map[string]float64{"accuracy": 0.2},
				EpochMetrics: map[string]*trellisv1.Series{
					"accuracy": {Values: []float64{0, 0.1}, Missing: []uint32{0}}, "epoch": {Values: []float64{9, 8}},
				},
			},
			{
				Study: "s", Index: 3, Run: "r", State: lifecycle.TrialDiverged,
				Parameters: point(trellisv1.NumberValue(0.5), 9),
				Objective:  &nan, Epochs: 3,
				TrainLoss: []float64{0.5, 0.375, math.Inf(1)}, ValidationLoss: []float64{0.5, 0.25, math.Inf(-1)},
			},
			{
				Study: "s", Index: 10, Run: "p", State: lifecycle.TrialPending,
				Parameters: point(trellisv1.IntegerValue(1), 2),
			},
		},
		Runs: []*trellisv1.Run{
			{
				Id: "r", Epochs: 3, State: lifecycle.RunSucceeded,
				StopReason:      trellisv1.StopReason_STOP_REASON_DIVERGED,
				TrainingSeconds: 1.5, SharedSeconds: 0.5, SharedFrom: "before", Worker: "late",
				Trainings: []*trellisv1.Training{
					{Attempt: 1, Worker: "first", Until: 2}, {Attempt: 5, Worker: "second", After: 2, Until: 3},
				},
				Failures: []*trellisv1.Failure{{Attempt: 1, Worker: "first"}, {Attempt: 3, Worker: "other"}},
			},
			{Id: "p", State: lifecycle.RunPending},
		},
	}
}

// wantTrials and wantEpochs are the tables of the page as CSV.
const (
	wantTrials = `study,trial,state,lr,name,parameter_worker,max_epochs,seed,objective,best_epoch,epochs,` +
		`stop_reason,test_loss,accuracy,metric_state,test_accuracy,run,worker,attempts,run_seconds,shared_from,error
s,0,succeeded,1,"a,
""b""",true,2,7,0.25,2,2,max_epochs,0.5,0.1,1,0.2,r,first,3,2,before,
s,3,diverged,0.5,"a,
""b""",false,9,7,NaN,,3,diverged,,,,,r,second,3,2,before,
s,10,pending,1,"a,
""b""",true,2,7,,,0,,,,,,p,,0,0,,
`
	wantEpochs = `study,trial,run,epoch,train_loss,validation_loss,accuracy,metric_epoch
s,0,r,1,0.5,0.5,,9
s,0,r,2,0.375,0.25,0.1,8
s,3,r,1,0.5,0.5,,
s,3,r,2,0.375,0.25,,
s,3,r,3,inf,-inf,,
`
)

func spooled(t *testing.T, pages ...*trellisv1.ListTrialsResponse) *Spool {
	t.Helper()
	spool, err := NewSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, page := range pages {
		if err := spool.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	if err := spool.Finish(); err != nil {
		t.Fatal(err)
	}
	return spool
}

// Trials are sorted by their keys, each with its run, in whatever memory there is.
func TestSort(t *testing.T) {
	before := sortedAtOnce
	defer func() { sortedAtOnce = before }()
	for _, sortedAtOnce = range []int{1, 40, 1 << 20} {
		var pages []*trellisv1.ListTrialsResponse
		for i := range uint64(10) {
			run := &trellisv1.Run{Id: fmt.Sprint(i % 3)}
			pages = append(pages, &trellisv1.ListTrialsResponse{
				Trials: []*trellisv1.Trial{{Index: 2 * i, Run: run.Id}, {Index: 2*i + 1, Run: run.Id}},
				Runs:   []*trellisv1.Run{run},
			})
		}
		spool := spooled(t, pages...)
		if err := spool.Sort(func(trial *trellisv1.Trial) [24]byte {
			return [24]byte{byte(7 * trial.GetIndex() % 20)}
		}); err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for row, err := range spool.Rows() {
			if err != nil || row.Run.GetId() != row.Trial.GetRun() {
				t.Fatalf("trial %v has run %v, error %v", row.Trial, row.Run, err)
			}
			got = append(got, row.Trial.GetIndex())
		}
		want := "[0 3 6 9 12 15 18 1 4 7 10 13 16 19 2 5 8 11 14 17]"
		if fmt.Sprint(got) != want || spool.Trials() != 20 {
			t.Errorf("with %d bytes: %v of %d, want %s", sortedAtOnce, got, spool.Trials(), want)
		}
	}
}

func TestCSV(t *testing.T) {
	spool := spooled(t, page())
	for _, test := range []struct {
		table Table
		want  string
	}{{spool.TrialTable(), wantTrials}, {spool.EpochTable(), wantEpochs}} {
		var out strings.Builder
		if err := WriteCSV(&out, test.table); err != nil || out.String() != test.want {
			t.Errorf("got (error %v)\n%s\nwant\n%s", err, out.String(), test.want)
		}
	}
}

// Parquet has the same as CSV, with columns of the right kinds, and the same bytes each time.
func TestParquet(t *testing.T) {
	spool := spooled(t, page())
	kinds := map[Kind]parquet.Kind{
		Integer: parquet.Int64, Number: parquet.Double, Boolean: parquet.Boolean, Text: parquet.ByteArray,
	}
	for name, table := range map[string]Table{wantTrials: spool.TrialTable(), wantEpochs: spool.EpochTable()} {
		metadata := map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}
		var first bytes.Buffer
		for range 5 {
			var out bytes.Buffer
			if err := WriteParquet(&out, table, metadata); err != nil {
				t.Fatal(err)
			}
			if first.Len() == 0 {
				first = out
			} else if !bytes.Equal(first.Bytes(), out.Bytes()) {
				t.Fatal("the same table has other bytes")
			}
		}
		file, err := parquet.OpenFile(bytes.NewReader(first.Bytes()), int64(first.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if value, ok := file.Lookup("c"); !ok || value != "3" {
			t.Errorf("metadata c is %q, %v", value, ok)
		}
		for i, field := range file.Schema().Fields() {
			if column := table.Columns[i]; field.Name() != column.Name || !field.Optional() ||
				field.Type().Kind() != kinds[column.Kind] {
				t.Errorf("column %d is %v, want %v", i, field, column)
			}
		}
		again := Table{Columns: table.Columns, Rows: func(yield func([]Cell, error) bool) {
			readParquet(t, file, table, yield)
		}}
		var out strings.Builder
		if err := WriteCSV(&out, again); err != nil || out.String() != name {
			t.Errorf("read back (error %v):\n%s\nwant\n%s", err, out.String(), name)
		}
	}
}

// readParquet yields a file's rows as cells.
func readParquet(t *testing.T, file *parquet.File, table Table, yield func([]Cell, error) bool) {
	reader := file.RowGroups()[0].Rows()
	defer reader.Close()
	rows := make([]parquet.Row, 1)
	for {
		n, err := reader.ReadRows(rows)
		if n == 1 {
			cells := make([]Cell, len(table.Columns))
			for i, value := range rows[0] {
				if value.IsNull() {
					continue
				}
				cells[i] = Cell{known: true, kind: table.Columns[i].Kind}
				switch table.Columns[i].Kind {
				case Integer:
					cells[i].integer = value.Int64()
				case Number:
					cells[i].number = value.Double()
				case Boolean:
					if value.Boolean() {
						cells[i].integer = 1
					}
				case Text:
					cells[i].text = string(value.ByteArray())
				}
			}
			if !yield(cells, nil) {
				return
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// A program's trials have no columns of losses, and parameters of several kinds become text.
func TestProgramTable(t *testing.T) {
	trial := func(index uint64, value *trellisv1.Value) *trellisv1.Trial {
		return &trellisv1.Trial{
			Study: "s", Index: index, State: lifecycle.TrialRunning, Epochs: 1,
			Parameters: &trellisv1.Parameters{MaxEpochs: 3, Values: map[string]*trellisv1.Value{"x": value}},
			EpochMetrics: map[string]*trellisv1.Series{
				fmt.Sprintf("m%d", index): {Values: []float64{float64(index)}},
			},
		}
	}
	spool := spooled(t, &trellisv1.ListTrialsResponse{Trials: []*trellisv1.Trial{trial(0, trellisv1.NumberValue(0.5))}},
		&trellisv1.ListTrialsResponse{Trials: []*trellisv1.Trial{
			trial(1, trellisv1.TextValue("auto")), trial(2, trellisv1.BooleanValue(true)),
		}})
	var trials, epochs strings.Builder
	if err := WriteCSV(&trials, spool.TrialTable()); err != nil {
		t.Fatal(err)
	}
	if err := WriteCSV(&epochs, spool.EpochTable()); err != nil {
		t.Fatal(err)
	}
	wantTrials := `study,trial,state,x,max_epochs,seed,objective,best_epoch,epochs,stop_reason,run,worker,` +
		`attempts,run_seconds,shared_from,error
s,0,running,0.5,3,0,,,1,,,,0,,,
s,1,running,auto,3,0,,,1,,,,0,,,
s,2,running,true,3,0,,,1,,,,0,,,
`
	// A metric that only a later trial has is a column too.
	wantEpochs := "study,trial,run,epoch,m0,m1,m2\ns,0,,1,0,,\ns,1,,1,,1,\ns,2,,1,,,2\n"
	if trials.String() != wantTrials || epochs.String() != wantEpochs {
		t.Errorf("got\n%s\n%s\nwant\n%s\n%s", trials.String(), epochs.String(), wantTrials, wantEpochs)
	}
}
