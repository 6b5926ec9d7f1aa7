package command

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// A suggestion is a spec that is read back as what was suggested, short and with its reasons.
func TestGoldenSuggestion(t *testing.T) {
	spec, err := parseSpec("spec.yaml", []byte(`
name: sample-2
data: mnist
model: conv-autoencoder
grid: {latent_dim: [11, 16, 32], learning_rate: [3e-4, 1e-3, 0.0031622776601683794], weight_decay: [0, 1e-5], max_epochs: [60]}
seeds: [1, 2]
early_stopping: {patience: 10, min_delta: 1e-5}
settle: {max_seeds: 5}
pruning: asha
`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := suggestionText("sample", &trellisv1.SuggestStudyResponse{
		Spec: spec, Reasons: []string{"latent_dim takes 11, 16, 32: 16 was best", strings.Repeat("many words ", 20)},
	})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/output/suggestion.yaml", string(text))
}

// Every example can be written as a spec, and is read back as what it was.
func TestSpecsReadBack(t *testing.T) {
	for _, path := range exampleStudies(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := parseSpec(path, text)
		if err != nil {
			t.Fatal(err)
		}
		written, err := specYAML(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseSpec(path, written)
		if err != nil {
			t.Fatalf("%v in\n%s", err, written)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

// What would not be read back as it is meant is not written.
func TestSuggestionThatIsNotValid(t *testing.T) {
	_, err := suggestionText("sample", &trellisv1.SuggestStudyResponse{Spec: &trellisv1.StudySpec{Name: "sample-2"}})
	if err == nil || !strings.Contains(err.Error(), "model is missing") {
		t.Errorf("got %v", err)
	}
}
