package describe

import (
	"bytes"
	"testing"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/output"
)

// A study in each format.
func TestGoldenStudy(t *testing.T) {
	t.Setenv("TZ", "UTC")
	study := func(format output.Format, out *bytes.Buffer) error {
		return output.WriteOne(out, format, fake.Study(), StudyColumns)
	}
	golden.CheckListing(t, "study", func(format string, out *bytes.Buffer) error {
		return study(output.Format(format), out)
	})
}
