package output

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"trellis/command/fake"
	"trellis/command/golden"
	trellisv1 "trellis/proto/trellis/v1"
)

// What JSON and YAML say is what the coordinator has said, NaN and all.
func TestOutputKeepsValues(t *testing.T) {
	for _, want := range slices.Concat(fake.Trials(), fake.MeasuredTrials()) {
		data, err := marshalJSON(want, "")
		if err != nil {
			t.Fatal(err)
		}
		node, err := yamlNode(want)
		if err != nil {
			t.Fatal(err)
		}
		text, err := EncodeYAML(node)
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		fromYAML, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"JSON": data, "YAML": fromYAML} {
			var rest map[string]any
			if err := json.Unmarshal(data, &rest); err != nil {
				t.Fatal(err)
			}
			checkPoint(t, rest["parameters"].(map[string]any), want.Parameters)
			delete(rest, "parameters")
			data, err := json.Marshal(rest)
			if err != nil {
				t.Fatal(err)
			}
			want := proto.CloneOf(want)
			want.Parameters = nil
			got := new(trellisv1.Trial)
			if err := golden.ReadMessage(data, got); err != nil || !proto.Equal(got, want) {
				t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
			}
		}
	}
}

// checkPoint compares a point with its JSON, which is a plain mapping.
func checkPoint(t *testing.T, got map[string]any, want *trellisv1.Parameters) {
	t.Helper()
	if len(got) != len(want.Values)+2 || got["max_epochs"] != float64(want.MaxEpochs) || got["seed"] != float64(want.Seed) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, value := range want.Values {
		if x, numeric := value.Numeric(); numeric && got[name] != x || !numeric && got[name] != value.Plain() {
			t.Errorf("%s: got %v, want %v", name, got[name], value)
		}
	}
}

// Forms that scripts rely on: enums are words, integers of any size numbers, and what JSON has no number for a string.
func TestFormsOfJSON(t *testing.T) {
	for _, test := range []struct {
		message proto.Message
		want    []string
		not     []string
	}{
		{
			&trellisv1.Trial{
				Study: "<a> & \x01", Index: 1<<64 - 1, State: trellisv1.TrialState_TRIAL_STATE_SUCCEEDED,
				Objective: proto.Float64(math.NaN()), TestLoss: proto.Float64(math.Inf(-1)),
				Metrics: map[string]float64{"b": 1e-7, "a": 1e21},
			},
			[]string{
				`"study":"<a> & \u0001"`, `"index":18446744073709551615`, `"state":"succeeded"`, `"objective":"NaN"`,
				`"test_loss":"-Infinity"`, `"metrics":{"a":1e+21,"b":1e-7}`, `"train_loss":[]`, `"epochs":0`,
			},
			[]string{"stop_reason", "parameters"},
		},
		{
			&trellisv1.Run{
				State: trellisv1.RunState_RUN_STATE_LEASED, StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
			},
			[]string{`"state":"leased"`, `"stop_reason":"max_epochs"`},
			nil,
		},
		{
			&trellisv1.Losses{Seconds: []float32{0.1, float32(math.NaN())}, TestLoss: map[uint32]float64{10: 1, 9: 2}},
			[]string{`"seconds":[0.1,"NaN"]`, `"test_loss":{"10":1,"9":2}`},
			nil,
		},
		{&trellisv1.Trial{State: 99}, []string{`"state":"unknown"`}, nil},
	} {
		data, err := compactJSON(test.message)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if !strings.Contains(string(data), want) {
				t.Errorf("no %s in %s", want, data)
			}
		}
		for _, not := range test.not {
			if strings.Contains(string(data), not) {
				t.Errorf("there is %s in %s", not, data)
			}
		}
	}
}

// What a metric was in each epoch is null where it was not reported, and not the zero that the message has there.
func TestSeries(t *testing.T) {
	series := &trellisv1.Series{Values: []float64{0, 2.5, math.NaN(), 0}, Missing: []uint32{0, 3}}
	data, err := compactJSON(&trellisv1.Trial{EpochMetrics: map[string]*trellisv1.Series{"acc": series}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `"epoch_metrics":{"acc":{"values":[null,2.5,"NaN",null]}}`; !strings.Contains(string(data), want) {
		t.Errorf("got %s, want %s", data, want)
	}
}
