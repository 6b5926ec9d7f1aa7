package search

import (
	"bytes"
	"strings"
	"testing"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/fake"
	"trellis/command/node"
	trellisv1 "trellis/proto/trellis/v1"
)

// Studies beside those that were asked for are told of, and whether they come before them.
func TestDescribeOthers(t *testing.T) {
	t.Parallel()
	study := func(name string, state trellisv1.StudyState) *trellisv1.Study {
		return &trellisv1.Study{Name: name, State: state}
	}
	const running = trellisv1.StudyState_STUDY_STATE_RUNNING
	fake := &fake.Coordinator{Studies: []*trellisv1.Study{
		study("older", running), study("paused", trellisv1.StudyState_STUDY_STATE_PAUSED), study("asked", running),
		study("newer", running),
	}}
	c := connect(t, fake.Serve(t))
	var said bytes.Buffer
	env := &cli.Environment{Err: &said}
	specs := []*trellisv1.StudySpec{{Name: "asked"}}
	if err := describeOthers(t.Context(), env, c, specs, node.Directory{Path: "/studies"}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Study older in /studies is still running: it is trained first. To pause it: trellis pause older ",
		"Study newer in /studies is still running: it uses the slots that are free. To pause it: ",
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if len(lines) != len(want) || !strings.HasPrefix(lines[0], want[0]) || !strings.HasPrefix(lines[1], want[1]) {
		t.Errorf("it says\n%s", said.String())
	}
}

// connect returns a client of the coordinator at an address.
func connect(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(address, client.Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context(), client.DefaultWait); err != nil {
		t.Fatal(err)
	}
	return c
}
