package tensorboard

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	tensorboardv1 "trellis/proto/tensorboard/v1"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/export"
	"trellis/results/lifecycle"
)

// The checksum is that of TensorFlow's test of its own (hash/crc32c_test.cc): CRC-32C of 32 zero bytes is 0x8a9136aa.
func TestMasked(t *testing.T) {
	sum := uint32(0x8a9136aa)
	if got, want := masked(make([]byte, 32)), (sum>>15|sum<<17)+0xa282ead8; got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func written(t *testing.T) string {
	t.Helper()
	nan, loss, test := math.NaN(), 0.25, 0.5
	page := &trellisv1.ListTrialsResponse{
		Trials: []*trellisv1.Trial{
			{
				Study: "s", Index: 2, Run: "r", State: lifecycle.TrialSucceeded, Objective: &loss,
				BestEpoch: 1, Epochs: 2,
				TestLoss: &test, TrainLoss: []float64{0.5, 0.25}, ValidationLoss: []float64{0.25, 0.75},
				Parameters: &trellisv1.Parameters{MaxEpochs: 2, Seed: 7, Values: map[string]*trellisv1.Value{
					"lr": trellisv1.NumberValue(0.5), "opt": trellisv1.TextValue("adam"),
					"amp": trellisv1.BooleanValue(false),
				}},
				TestMetrics: map[string]float64{"accuracy": 0.875},
				EpochMetrics: map[string]*trellisv1.Series{
					"objective":     {Values: []float64{1, 2}, Missing: []uint32{0}},
					"test_accuracy": {Values: []float64{5, 6}},
				},
			},
			{
				Study: "s", Index: 10, State: lifecycle.TrialDiverged, Objective: &nan, Epochs: 1,
				TrainLoss: []float64{nan}, ValidationLoss: []float64{nan},
				Parameters: &trellisv1.Parameters{MaxEpochs: 2},
			},
			{Study: "s", Index: 11, State: lifecycle.TrialPending, Parameters: &trellisv1.Parameters{MaxEpochs: 2}},
		},
		Runs: []*trellisv1.Run{{Id: "r", Epochs: 4, TrainingSeconds: 6, SharedSeconds: 2}},
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
	study := &trellisv1.Study{Name: "s", Indices: 12, CreateTime: timestamppb.New(time.Unix(1000, 0))}
	if err := Write(folder, study, spool); err != nil {
		t.Fatal(err)
	}
	return folder
}

// read returns the events of a file, whose checksums it checks.
func read(t *testing.T, folder string) []*tensorboardv1.Event {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "events.out.tfevents.0000001000.trellis"))
	if err != nil {
		t.Fatal(err)
	}
	var events []*tensorboardv1.Event
	for len(data) > 0 {
		length := binary.LittleEndian.Uint64(data)
		if sum := binary.LittleEndian.Uint32(data[8:]); sum != masked(data[:8]) {
			t.Fatalf("the length's checksum is %#x", sum)
		}
		record := data[12 : 12+length]
		if sum := binary.LittleEndian.Uint32(data[12+length:]); sum != masked(record) {
			t.Fatalf("the record's checksum is %#x", sum)
		}
		event := new(tensorboardv1.Event)
		if err := proto.Unmarshal(record, event); err != nil {
			t.Fatal(err)
		}
		events, data = append(events, event), data[16+length:]
	}
	return events
}

// lines are what is in a file, a line for each value.
func lines(t *testing.T, folder string) (lines []string) {
	t.Helper()
	for _, event := range read(t, folder) {
		if version := event.GetFileVersion(); version != "" {
			lines = append(lines, version)
		}
		for _, value := range event.GetSummary().GetValues() {
			at := fmt.Sprintf("%v %d %s", event.GetWallTime(), event.GetStep(), value.GetTag())
			if value.GetMetadata().GetPluginData().GetPluginName() == "scalars" {
				lines = append(lines, fmt.Sprintf("%s %v", at, value.GetSimpleValue()))
				continue
			}
			data := new(tensorboardv1.HParamsPluginData)
			if err := proto.Unmarshal(value.GetMetadata().GetPluginData().GetContent(), data); err != nil {
				t.Fatal(err)
			}
			switch {
			case data.GetExperiment() != nil:
				for _, its := range data.GetExperiment().GetHparamInfos() {
					at += fmt.Sprintf(" %s:%d", its.GetName(), its.GetType())
				}
				for _, its := range data.GetExperiment().GetMetricInfos() {
					at += " " + its.GetName().GetTag()
				}
			case data.GetSessionStartInfo() != nil:
				var its []string
				for name, value := range data.GetSessionStartInfo().GetHparams() {
					its = append(its, fmt.Sprintf("%s=%v", name, value.AsInterface()))
				}
				slices.Sort(its)
				at += fmt.Sprintf(" %s %s", data.GetSessionStartInfo().GetGroupName(), strings.Join(its, " "))
			default:
				end := data.GetSessionEndInfo()
				at += fmt.Sprintf(" %d at %v", end.GetStatus(), end.GetEndTimeSecs())
			}
			lines = append(lines, at)
		}
	}
	return lines
}

func TestWrite(t *testing.T) {
	folder := written(t)
	for name, want := range map[string][]string{
		".": {
			"brain.Event:2",
			"1000 0 _hparams_/experiment amp:2 lr:3 opt:1 max_epochs:3 seed:3 " +
				"objective validation_loss train_loss test_loss metric/objective test_accuracy metric/test_accuracy",
		},
		"trial-02": {
			"brain.Event:2",
			"1000 0 _hparams_/session_start_info trial-02 amp=false lr=0.5 max_epochs=2 opt=adam seed=7",
			"1002 1 train_loss 0.5", "1002 1 validation_loss 0.25", "1002 1 test_accuracy 5",
			"1004 2 train_loss 0.25", "1004 2 validation_loss 0.75", "1004 2 metric/objective 2", "1004 2 test_accuracy 6",
			"1004 1 objective 0.25", "1004 1 test_loss 0.5", "1004 1 metric/test_accuracy 0.875",
			"1004 0 _hparams_/session_end_info 1 at 1004",
		},
		"trial-10": {
			"brain.Event:2",
			"1000 0 _hparams_/session_start_info trial-10 max_epochs=2 seed=0",
			"1000 1 train_loss NaN", "1000 1 validation_loss NaN", "1000 0 objective NaN",
			"1000 0 _hparams_/session_end_info 2 at 1000",
		},
		"trial-11": {"brain.Event:2", "1000 0 _hparams_/session_start_info trial-11 max_epochs=2 seed=0"},
	} {
		got := lines(t, filepath.Join(folder, name))
		if !slices.Equal(got, want) {
			t.Errorf("%s has\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// The same trials have the same bytes.
func TestWriteAgain(t *testing.T) {
	a, b := written(t), written(t)
	for _, name := range []string{".", "trial-02", "trial-10", "trial-11"} {
		path := filepath.Join(name, "events.out.tfevents.0000001000.trellis")
		first, err := os.ReadFile(filepath.Join(a, path))
		if err != nil {
			t.Fatal(err)
		}
		if second, err := os.ReadFile(filepath.Join(b, path)); err != nil || string(first) != string(second) {
			t.Errorf("%s has other bytes (error %v)", name, err)
		}
	}
}
