package describe

import (
	"strings"
	"testing"

	"trellis/command/fake"
)

func TestDescribeOwnAxes(t *testing.T) {
	text := Parameters(fake.NoisyTrials()[0].GetParameters(), Axes{})
	if !strings.Contains(text, ", divergence weight 1, noise 0.3333") {
		t.Errorf("described as %s", text)
	}
}
