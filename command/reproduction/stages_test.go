package reproduction

import (
	"errors"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
)

// read reads a reproduction from JSON.
func read(t *testing.T, text string) *trellisv1.Reproduction {
	t.Helper()
	r := new(trellisv1.Reproduction)
	if err := protojson.Unmarshal([]byte(text), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// accept finds nothing wrong with any study.
func accept(*trellisv1.StudySpec) error { return nil }

const whole = `{
	"title": "whole",
	"stages": [
		{"study": {"name": "plain", "model": "conv-autoencoder"}},
		{"best_of": "plain", "study": {"name": "noisy", "model": "denoising-autoencoder"}},
		{"best_of": "plain", "study": {"name": "drawn", "model": "variational-autoencoder"}},
		{"study": {"name": "read", "model": "classifier", "pretrained": {"study": "plain"}}}
	],
	"analysis": {"autoencoder": "plain", "denoising": "noisy", "classifier": "read", "variational": "drawn"}
}`

func TestCompleteTakesWhatIsLeftOut(t *testing.T) {
	stage := &trellisv1.Stage{BestOf: "plain", Study: &trellisv1.StudySpec{
		Name: "a", Model: trainer.ConvAutoencoder, Grid: []*trellisv1.Grid{
			{Axes: map[string]*trellisv1.Axis{"learning_rate": trellisv1.AxisOf(0.5)}},
			{Axes: map[string]*trellisv1.Axis{
				"max_epochs": trellisv1.AxisOf(7, 8), "weight_decay": trellisv1.AxisOf(0.0),
			}},
		},
	}}
	before := proto.CloneOf(stage)
	best := &trellisv1.Parameters{MaxEpochs: 150, Seed: 3, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 16, "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 64})}
	got := Complete(testModels(), stage, best)
	want := proto.CloneOf(stage.Study)
	want.Grid[0].Axes = map[string]*trellisv1.Axis{
		"latent_dim": trellisv1.AxisOf(16), "learning_rate": trellisv1.AxisOf(0.5), "weight_decay": trellisv1.AxisOf(1e-5),
		"max_epochs": trellisv1.AxisOf(150), "batch_size": trellisv1.AxisOf(64),
	}
	want.Grid[1].Axes = map[string]*trellisv1.Axis{
		"latent_dim": trellisv1.AxisOf(16), "learning_rate": trellisv1.AxisOf(1e-3), "weight_decay": trellisv1.AxisOf(0.0),
		"max_epochs": trellisv1.AxisOf(7, 8), "batch_size": trellisv1.AxisOf(64),
	}
	if !proto.Equal(got, want) {
		t.Errorf("completed to %v\nwant %v", got, want)
	}
	if !proto.Equal(stage, before) {
		t.Error("the stage has changed")
	}
	if got := Complete(testModels(), stage, nil); !proto.Equal(got, stage.Study) {
		t.Errorf("without a best trial, it has become %v", got)
	}
}

func TestValidate(t *testing.T) {
	replace := func(from, to string) string {
		if !strings.Contains(whole, from) {
			t.Fatalf("%q is not there", from)
		}
		return strings.Replace(whole, from, to, 1)
	}
	for name, test := range map[string]struct {
		text string
		// path and message of the only violation; both empty if there is none.
		path, message string
	}{
		"whole":       {text: whole},
		"no analysis": {text: `{"title": "short", "stages": [{"study": {"name": "plain"}}]}`},
		"no title":    {replace(`"whole"`, `""`), "title", "value is required"},
		"later study": {
			replace(`"best_of": "plain", "study": {"name": "noisy"`, `"best_of": "drawn", "study": {"name": "noisy"`),
			"stages[1]", `there is no earlier stage with a study "drawn"`,
		},
		"pretrained on itself": {
			replace(`"pretrained": {"study": "plain"}`, `"pretrained": {"study": "read"}`),
			"stages[3]", `there is no earlier stage with a study "read"`,
		},
		"name twice": {
			replace(`"noisy", "model"`, `"plain", "model"`), "stages[1].study.name", "two stages",
		},
		"unknown role": {
			replace(`"variational": "drawn"`, `"variational": "painted"`), "analysis.variational", `there is no stage with a study "painted"`,
		},
		"wrong role": {
			replace(`"variational": "drawn"`, `"variational": "plain"`), "analysis.variational",
			"study plain has the model conv-autoencoder, but must have variational-autoencoder",
		},
		"another data set": {
			replace(`"name": "read",`, `"name": "read", "data": "letters",`), "stages[3].study.data",
			`the studies of the analysis need the same data set: study read has "letters", study plain has ""`,
		},
		"perplexity too high for the images": {
			replace(`"variational": "drawn"`, `"variational": "drawn", "images": 200, "perplexity": 100`), "analysis.perplexity",
			"200 images, perplexity 100",
		},
		"perplexity as high as can be": {text: replace(`"variational": "drawn"`, `"variational": "drawn", "images": 200, "perplexity": 66`)},
		"few iterations": {
			replace(`"variational": "drawn"`, `"variational": "drawn", "iterations": 7`), "analysis.iterations",
			"iterations must be between",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(testModels(), read(t, test.text), accept)
			if test.path == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
			if !ok {
				t.Fatalf("got %v, want a *protovalidate.ValidationError", err)
			}
			v := invalid.Violations[0].Proto
			if path := protovalidate.FieldPathString(v.GetField()); path != test.path ||
				!strings.Contains(v.GetMessage(), test.message) {
				t.Errorf("got %s: %s\nwant %s: %s", path, v.GetMessage(), test.path, test.message)
			}
		})
	}
}

// What is wrong with a study is told where it stands in the reproduction.
func TestValidateNamesTheStage(t *testing.T) {
	err := Validate(testModels(), read(t, whole), func(spec *trellisv1.StudySpec) error {
		if spec.GetName() != "drawn" {
			return nil
		}
		v := violation("rule", "it does not please", "title")
		return &protovalidate.ValidationError{Violations: []*protovalidate.Violation{v}}
	})
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok || len(invalid.Violations) != 1 {
		t.Fatalf("got %v, want one violation", err)
	}
	if path := protovalidate.FieldPathString(invalid.Violations[0].Proto.GetField()); path != "stages[2].study.title" {
		t.Errorf("it is at %s", path)
	}
}

// testModels are the trainer's models, with the axes that all have.
func testModels() grid.Models {
	var models grid.Models
	for _, model := range trainer.Models() {
		message := &trellisv1.Model{Name: model.Name}
		for _, axis := range model.Axes {
			message.Axes = append(message.Axes, &trellisv1.ModelAxis{Name: axis.Name, Common: axis.Common})
		}
		models = append(models, message)
	}
	return models
}
