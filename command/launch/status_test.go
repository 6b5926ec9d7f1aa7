package launch

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"trellis/command/cli"
	"trellis/command/output"
)

// queue is a scheduler with these jobs.
type queue struct {
	scheduler
	all []job
}

func (q queue) jobs(context.Context, string) ([]job, error) { return slices.Clone(q.all), nil }

// The status counts the jobs of each launch that have not ended, in each of the formats.
func TestStatus(t *testing.T) {
	some := []job{
		{id: "7_1", launch: "w", phase: running},
		{id: "7_2", launch: "w", phase: queued},
		{id: "7_3", launch: "w", phase: ended},
		{id: "9", launch: "gpu", phase: ending},
		{id: "8", launch: "w", phase: running},
		{id: "10", launch: "old", phase: failed},
	}
	for _, test := range []struct {
		format output.Format
		jobs   []job
		want   string
	}{
		{output.Table, some, "NAME  QUEUED  RUNNING  ENDING\ngpu        0        0       1\nw          1        2       0\n"},
		{output.Table, nil, "There are no workers of a launch. Start some: trellis launch slurm --count 10\n"},
		{output.CSV, some, "name,queued,running,ending\ngpu,0,0,1\nw,1,2,0\n"},
		{output.CSV, nil, "name,queued,running,ending\n"},
		{output.JSON, some[:1], `{"launches":[{"name":"w","queued":0,"running":1,"ending":0}]}`},
		{output.JSON, nil, `{"launches":[]}`},
		{output.YAML, some[3:4], "launches:\n  - name: gpu\n    queued: 0\n    running: 0\n    ending: 1\n"},
	} {
		var out bytes.Buffer
		if err := writeStatus(t.Context(), &cli.Environment{Out: &out}, queue{all: test.jobs}, test.format); err != nil {
			t.Error(err)
		}
		got := out.String()
		if test.format == output.JSON {
			got = strings.Join(strings.Fields(got), "")
		}
		if got != test.want {
			t.Errorf("%s of %d jobs is\n%q, want\n%q", test.format, len(test.jobs), got, test.want)
		}
	}
}
