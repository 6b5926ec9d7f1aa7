package search

import (
	"bytes"
	"testing"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
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
