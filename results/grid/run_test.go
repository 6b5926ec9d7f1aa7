//go:build !race

package grid

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

func newConfig() *trellisv1.RunConfig {
	return &trellisv1.RunConfig{
		Model:         "conv-autoencoder",
		Parameters:    &trellisv1.Parameters{MaxEpochs: 150, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 16, "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 256})},
		DataSet:       "<digest>",
		Split:         &trellisv1.Split{Train: 50_000, Validation: 10_000},
		EarlyStopping: &trellisv1.EarlyStopping{Patience: 10, MinDelta: 1e-5},
		Numerics:      "1",
		Milestones:    []uint32{50, 150},
	}
}

// TestRunID hashes the text of the documentation.
func TestRunID(t *testing.T) {
	const text = `trellis run 1
model "conv-autoencoder"
data_set "<digest>"
numerics "1"
split 50000 10000
early_stopping 10 0x1.4f8b588e368f1p-17
latent_dim 16
learning_rate 0x1.0624dd2f1a9fcp-10
weight_decay 0x0p+00
seed 1
batch_size 256
`
	sum := sha256.Sum256([]byte(text))
	if got, want := RunID(newConfig()), hex.EncodeToString(sum[:])[:32]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	config := newConfig()
	config.Parameters.Values["noise"], config.Parameters.Values["angle"] = trellisv1.NumberValue(0.5), trellisv1.IntegerValue(3)
	sum = sha256.Sum256([]byte(text + "value \"angle\" 0x1.8p+01\nvalue \"noise\" 0x1p-01\n"))
	if got, want := RunID(config), hex.EncodeToString(sum[:])[:32]; got != want {
		t.Errorf("with own values: got %s, want %s", got, want)
	}
	config.Parameters.Values["shift"] = trellisv1.IntegerValue(0)
	if got, want := RunID(config), hex.EncodeToString(sum[:])[:32]; got != want {
		t.Errorf("with a shift of 0: got %s, want %s as without", got, want)
	}
	config.Parameters.Values["shift"] = trellisv1.NumberValue(2)
	sum = sha256.Sum256([]byte(text + "value \"angle\" 0x1.8p+01\nvalue \"noise\" 0x1p-01\nvalue \"shift\" 0x1p+01\n"))
	if got, want := RunID(config), hex.EncodeToString(sum[:])[:32]; got != want {
		t.Errorf("with a shift of 2: got %s, want %s", got, want)
	}
	config.Parameters.Values["amp"], config.Parameters.Values["optimizer"] = trellisv1.BooleanValue(true), trellisv1.TextValue("adam")
	sum = sha256.Sum256([]byte(text + "value \"amp\" true\nvalue \"angle\" 0x1.8p+01\nvalue \"noise\" 0x1p-01\n" +
		"value \"optimizer\" \"adam\"\nvalue \"shift\" 0x1p+01\n"))
	if got, want := RunID(config), hex.EncodeToString(sum[:])[:32]; got != want {
		t.Errorf("with other kinds of values: got %s, want %s", got, want)
	}
	if got := RunID(&trellisv1.RunConfig{}); len(got) != 32 {
		t.Errorf("an empty configuration has the id %q", got)
	}
}

// TestRunIDCovers changes one thing at a time. A field that is added has to be put down here, on one side or the other.
func TestRunIDCovers(t *testing.T) {
	for _, test := range []struct {
		field      string
		change     func(c *trellisv1.RunConfig)
		determines bool
	}{
		{"model", func(c *trellisv1.RunConfig) { c.Model = "x" }, true},
		{"data_set", func(c *trellisv1.RunConfig) { c.DataSet = "x" }, true},
		{"numerics", func(c *trellisv1.RunConfig) { c.Numerics = "2" }, true},
		{"split.train", func(c *trellisv1.RunConfig) { c.Split.Train++ }, true},
		{"split.validation", func(c *trellisv1.RunConfig) { c.Split.Validation++ }, true},
		{"early_stopping.patience", func(c *trellisv1.RunConfig) { c.EarlyStopping.Patience++ }, true},
		{"early_stopping.min_delta", func(c *trellisv1.RunConfig) { c.EarlyStopping.MinDelta = 0 }, true},
		{"parameters.latent_dim", func(c *trellisv1.RunConfig) { c.Parameters.Values["latent_dim"] = trellisv1.ValueOf(17) }, true},
		{"parameters.learning_rate", func(c *trellisv1.RunConfig) { c.Parameters.Values["learning_rate"] = trellisv1.ValueOf(1e-3 + 2e-19) }, true},
		{"parameters.weight_decay", func(c *trellisv1.RunConfig) { c.Parameters.Values["weight_decay"] = trellisv1.ValueOf(5e-324) }, true},
		{"parameters.seed", func(c *trellisv1.RunConfig) { c.Parameters.Seed++ }, true},
		{"parameters.batch_size", func(c *trellisv1.RunConfig) { c.Parameters.Values["batch_size"] = trellisv1.ValueOf(257) }, true},
		{"another value", func(c *trellisv1.RunConfig) { c.Parameters.Values["noise"] = trellisv1.NumberValue(0) }, true},
		{"the same number", func(c *trellisv1.RunConfig) {
			c.Parameters.Values["latent_dim"] = trellisv1.NumberValue(16)
		}, false},
		{"parameters.max_epochs", func(c *trellisv1.RunConfig) { c.Parameters.MaxEpochs++ }, false},
		{"milestones", func(c *trellisv1.RunConfig) { c.Milestones = nil }, false},
		{"synthetic.epoch_time", func(c *trellisv1.RunConfig) {
			c.Synthetic = &trellisv1.Synthetic{EpochTime: durationpb.New(time.Second)}
		}, false},
		{"pretrained", func(c *trellisv1.RunConfig) { c.Pretrained = "x" }, true},
		{"pretrained_size", func(c *trellisv1.RunConfig) { c.PretrainedSize = 1 }, false},
		{"early_stopping.metric", func(c *trellisv1.RunConfig) { c.EarlyStopping.Metric = "x" }, true},
		{"early_stopping.direction", func(c *trellisv1.RunConfig) { c.EarlyStopping.Direction = 2 }, true},
		{"objective", func(c *trellisv1.RunConfig) { c.Objective = &trellisv1.Objective{Metric: "x"} }, true},
		{"resources", func(c *trellisv1.RunConfig) { c.Resources = &trellisv1.Resources{Gpus: 1} }, false},
		{"input", func(c *trellisv1.RunConfig) { c.Input = &trellisv1.ModelInput{Height: 32} }, false},
		{"last_epoch", func(c *trellisv1.RunConfig) { c.LastEpoch = 1 }, false},
		{"program", func(c *trellisv1.RunConfig) { c.Program = &trellisv1.Program{} }, true},
	} {
		config := newConfig()
		test.change(config)
		if changed := RunID(config) != RunID(newConfig()); changed != test.determines {
			t.Errorf("%s: it changes the id: %t, want %t", test.field, changed, test.determines)
		}
	}
	newProgram := func() *trellisv1.RunConfig {
		config := newConfig()
		config.Program = &trellisv1.Program{
			Command: []string{"python", "train.py"}, Files: &trellisv1.Files{Sha256: "a", Size: 1},
			Environment: map[string]string{"a": "b"}, Prefix: true,
		}
		return config
	}
	for _, test := range []struct {
		field      string
		change     func(c *trellisv1.RunConfig)
		determines bool
	}{
		{"command", func(c *trellisv1.RunConfig) { c.Program.Command[1] = "test.py" }, true},
		{"command's parts", func(c *trellisv1.RunConfig) { c.Program.Command = []string{"python train.py"} }, true},
		{"files.sha256", func(c *trellisv1.RunConfig) { c.Program.Files.Sha256 = "b" }, true},
		{"files.size", func(c *trellisv1.RunConfig) { c.Program.Files.Size, c.Program.Files.Count = 2, 3 }, false},
		{"environment", func(c *trellisv1.RunConfig) { c.Program.Environment["a"] = "c" }, true},
		{"resumable", func(c *trellisv1.RunConfig) { c.Program.Resumable = true }, false},
		{"prefix", func(c *trellisv1.RunConfig) { c.Program.Prefix = false }, true},
		{"max_epochs of prefixes", func(c *trellisv1.RunConfig) { c.Parameters.MaxEpochs++ }, false},
		{"deterministic", func(c *trellisv1.RunConfig) { c.Program.Deterministic = true }, false},
		{"reports", func(c *trellisv1.RunConfig) {
			c.Program.Reports = &trellisv1.ReportPattern{Pattern: "x"}
		}, true},
		{"no weight decay", func(c *trellisv1.RunConfig) { delete(c.Parameters.Values, "weight_decay") }, true},
		{"text for a number", func(c *trellisv1.RunConfig) {
			c.Parameters.Values["learning_rate"] = trellisv1.TextValue("0.001")
		}, true},
		{"grace", func(c *trellisv1.RunConfig) { c.Program.Grace = durationpb.New(time.Second) }, false},
		{"objective", func(c *trellisv1.RunConfig) { c.Objective = &trellisv1.Objective{Metric: "x"} }, false},
	} {
		config := newProgram()
		test.change(config)
		if changed := RunID(config) != RunID(newProgram()); changed != test.determines {
			t.Errorf("program: %s: it changes the id: %t, want %t", test.field, changed, test.determines)
		}
	}
	for _, test := range []struct {
		declared   bool
		resources  *trellisv1.Resources
		determines bool
	}{
		{false, &trellisv1.Resources{Cpus: 2, Gpus: 1}, false},
		{true, nil, false},
		{true, &trellisv1.Resources{}, false},
		{true, &trellisv1.Resources{Cpus: 0.5, Memory: 1 << 30, Time: durationpb.New(time.Hour)}, false},
		{true, &trellisv1.Resources{Cpus: 1.5}, true}, // Two threads.
		{true, &trellisv1.Resources{Gpus: 1}, true},
	} {
		config := newProgram()
		config.Program.Deterministic, config.Resources = test.declared, test.resources
		if changed := RunID(config) != RunID(newProgram()); changed != test.determines {
			t.Errorf("deterministic %t with %v: it changes the id: %t, want %t", test.declared, test.resources, changed,
				test.determines)
		}
	}
	shifted := newProgram()
	shifted.Parameters.Values["shift"] = trellisv1.NumberValue(0)
	if RunID(shifted) == RunID(newProgram()) {
		t.Error("a program whose parameter shift is 0 has the id of one that has no such parameter")
	}
	config, longer := newProgram(), newProgram()
	config.Program.Prefix, longer.Program.Prefix = false, false
	longer.Parameters.MaxEpochs++
	if RunID(config) == RunID(longer) {
		t.Error("a program whose reports depend on max_epochs has one id for two of them")
	}
	for message, fields := range map[proto.Message]int{
		&trellisv1.RunConfig{}: 15, &trellisv1.Parameters{}: 8, &trellisv1.Split{}: 2, &trellisv1.EarlyStopping{}: 4,
		&trellisv1.Synthetic{}: 1, &trellisv1.Program{}: 8, &trellisv1.Objective{}: 4,
	} {
		if got := message.ProtoReflect().Descriptor().Fields().Len(); got != fields {
			t.Errorf("%T has %d fields; RunID and this test know %d", message, got, fields)
		}
	}
}

func TestRunConfigFor(t *testing.T) {
	spec := newSpec()
	spec.Synthetic = &trellisv1.Synthetic{EpochTime: durationpb.New(time.Second)}
	study := &trellisv1.Study{Spec: spec, DataSet: newDataSet()}
	run := &trellisv1.Run{Parameters: newConfig().Parameters, Milestones: []uint32{50, 150}}
	want := newConfig()
	want.DataSet, want.Synthetic = "d161", spec.Synthetic
	if got := RunConfigFor(study, run, "1", run.Parameters.MaxEpochs); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// A stage ends earlier, and leaves the run as it is.
	before := proto.CloneOf(run)
	want.Parameters.MaxEpochs = 60
	if got := RunConfigFor(study, run, "1", 60); !proto.Equal(got, want) || !proto.Equal(run, before) {
		t.Errorf("up to epoch 60: got %v, want %v; the run is %v", got, want, run)
	}
}

func TestResolveSplit(t *testing.T) {
	for _, test := range []struct {
		name        string
		images      uint32
		split, want *trellisv1.Split
		message     string
	}{
		{"the paper's", 60_000, nil, &trellisv1.Split{Train: 50_000, Validation: 10_000}, ""},
		{"not divisible by six", 11, nil, &trellisv1.Split{Train: 10, Validation: 1}, ""},
		{"two images", 2, nil, &trellisv1.Split{Train: 1, Validation: 1}, ""},
		{"one image", 1, nil, nil, `data: the data set "mnist" has 1 training images: at least one`},
		{"no images", 0, nil, nil, `data: the data set "mnist" has 0 training images`},
		{"given", 100, &trellisv1.Split{Train: 10, Validation: 20}, &trellisv1.Split{Train: 10, Validation: 20}, ""},
		{"all", 30, &trellisv1.Split{Train: 10, Validation: 20}, &trellisv1.Split{Train: 10, Validation: 20}, ""},
		{
			"one too many", 60_000, &trellisv1.Split{Train: 50_000, Validation: 10_001}, nil,
			`split: the data set "mnist" has 60,000 training images, and train: 50000 and validation: 10001 together are more`,
		},
		{
			"a sum that overflows", 60_000, &trellisv1.Split{Train: 1 << 31, Validation: 1 << 31}, nil,
			"together are more",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec, dataSet := newSpec(), newDataSet()
			spec.Split, dataSet.TrainImages = test.split, test.images
			got, err := ResolveSplit(spec, dataSet)
			_, _, expandErr := Expand(spec, dataSet, "1", nil)
			if test.message == "" {
				if err != nil || expandErr != nil || !proto.Equal(got, test.want) {
					t.Errorf("got %v, %v, %v; want %v", got, err, expandErr, test.want)
				}
				return
			}
			if _, ok := errors.AsType[*protovalidate.ValidationError](err); !ok ||
				!strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v; want %q", err, test.message)
			}
			if expandErr == nil {
				t.Error("Expand accepted it")
			}
		})
	}
	spec := newSpec()
	spec.Model, spec.Split = synthetic, &trellisv1.Split{Train: 1, Validation: 1}
	if got, err := ResolveSplit(spec, nil); got != nil || err != nil {
		t.Errorf("synthetic: got %v, %v", got, err)
	}
}

// The text that RunID hashes is the one that its documentation has, written in the slow and plain way.
func TestRunIDIsPlain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := &trellisv1.RunConfig{
			Model: rapid.String().Draw(t, "model"), Numerics: "1",
			EarlyStopping: &trellisv1.EarlyStopping{Patience: 3, MinDelta: rapid.Float64().Draw(t, "min_delta")},
			Pretrained:    rapid.SampledFrom([]string{"", "a"}).Draw(t, "pretrained"),
			Parameters: &trellisv1.Parameters{
				MaxEpochs: rapid.Uint32().Draw(t, "max_epochs"), Seed: rapid.Uint32().Draw(t, "seed"),
				Values: map[string]*trellisv1.Value{},
			},
		}
		if rapid.Bool().Draw(t, "a program") {
			config.Program = &trellisv1.Program{
				Command: []string{"a", rapid.String().Draw(t, "argument")}, Prefix: rapid.Bool().Draw(t, "prefix"),
				Deterministic: rapid.Bool().Draw(t, "deterministic"),
			}
			config.Resources = &trellisv1.Resources{Gpus: rapid.Uint32Range(0, 2).Draw(t, "gpus")}
		}
		for _, name := range []string{LatentDim, LearningRate, WeightDecay, BatchSize, "shift", "noise", "amp"} {
			switch rapid.IntRange(0, 4).Draw(t, name) {
			case 0:
				config.Parameters.Values[name] = trellisv1.NumberValue(rapid.Float64().Draw(t, "number"))
			case 1:
				config.Parameters.Values[name] = trellisv1.IntegerValue(rapid.Int64Range(0, 1<<31).Draw(t, "integer"))
			case 2:
				config.Parameters.Values[name] = trellisv1.TextValue(rapid.String().Draw(t, "text"))
			case 3:
				config.Parameters.Values[name] = trellisv1.BooleanValue(rapid.Bool().Draw(t, "boolean"))
			}
		}
		sum := sha256.Sum256([]byte(plainText(config)))
		if got, want := RunID(config), hex.EncodeToString(sum[:16]); got != want {
			t.Fatalf("id %s, want %s, of\n%s", got, want, plainText(config))
		}
	})
}

// plainText is what RunID hashes, of a config without objective and early stopping by metrics.
func plainText(config *trellisv1.RunConfig) string {
	p := config.Parameters
	old := p
	if config.Program != nil {
		old = nil
	}
	text := fmt.Sprintf("trellis run 1\nmodel %q\ndata_set %q\nnumerics %q\nsplit 0 0\nearly_stopping %d %x\n", config.Model,
		config.DataSet, config.Numerics, config.EarlyStopping.Patience, config.EarlyStopping.MinDelta)
	text += fmt.Sprintf("latent_dim %d\nlearning_rate %x\nweight_decay %x\nseed %d\nbatch_size %d\n", whole(old, LatentDim),
		real(old, LearningRate), real(old, WeightDecay), p.Seed, whole(old, BatchSize))
	for _, name := range slices.Sorted(maps.Keys(p.Values)) {
		x, numeric := p.Values[name].Numeric()
		if old != nil && (numeric && place(name) != place("") || name == "shift" && x == 0) {
			continue
		}
		switch kind := p.Values[name].Kind.(type) {
		case *trellisv1.Value_Text:
			text += fmt.Sprintf("value %q %q\n", name, kind.Text)
		case *trellisv1.Value_Boolean:
			text += fmt.Sprintf("value %q %t\n", name, kind.Boolean)
		default:
			text += fmt.Sprintf("value %q %x\n", name, x+0)
		}
	}
	if config.Pretrained != "" {
		text += fmt.Sprintf("pretrained %q\n", config.Pretrained)
	}
	if config.Program == nil {
		return text
	}
	for _, part := range config.Program.Command {
		text += fmt.Sprintf("command %q\n", part)
	}
	text += "files \"\"\nreports \"\"\n"
	if !config.Program.Prefix {
		text += fmt.Sprintf("max_epochs %d\n", p.MaxEpochs)
	}
	if gpus := config.Resources.GetGpus(); config.Program.Deterministic && gpus > 0 {
		text += fmt.Sprintf("gpus %d\n", gpus)
	}
	return text
}
