package search

import (
	"bytes"
	"testing"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// The list of models in each format.
func TestGoldenModels(t *testing.T) {
	models := func(format output.Format, out *bytes.Buffer) error {
		list := output.NewList(out, format, "models", modelColumns)
		for _, model := range fake.Models() {
			if err := list.Add(model); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	golden.CheckListing(t, "models", func(format string, out *bytes.Buffer) error {
		return models(output.Format(format), out)
	})
}

func TestAxesOfTexts(t *testing.T) {
	axis := &trellisv1.ModelAxis{
		Name: "loss", Kind: trellisv1.Kind_KIND_TEXT, Texts: []string{"mse", "bce"}, Default: trellisv1.TextValue("mse"),
	}
	if got, want := describeAxis(axis), "loss: mse or bce, default mse"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
