package studies

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"trellis/command/cli"
	trellisv1 "trellis/proto/trellis/v1"
)

// Each axis of a model has a flag of its own, which takes its values alone.
func TestFlagsOfAxes(t *testing.T) {
	cmd := ExtendCommand(&cli.Environment{})
	for _, name := range []string{"latent-dim", "seeds", "max-epochs", "filters", "depth", "kernel", "hidden", "loss", "noise"} {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("there is no --%s", name)
		}
	}
	for flag, values := range map[string]string{"loss": "bce,mse", "filters": "16,32"} {
		if err := cmd.Flags().Set(flag, values); err != nil {
			t.Error(err)
		}
	}
	if err := cmd.Flags().Set("loss", "l1"); err == nil || !strings.Contains(err.Error(), "must be mse, bce, separated by commas") {
		t.Error(err)
	}
}

// What is given to extend for a model's own axes.
func TestAxisFlag(t *testing.T) {
	request := new(trellisv1.ExtendStudyRequest)
	flag := axesFlag{request}
	for _, text := range []string{"noise=0.2, 0.4", "width=3", "noise=1e-3", `optimizer=adam,"4"`, "amp=true,false"} {
		if err := flag.Set(text); err != nil {
			t.Error(err)
		}
	}
	want := &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{
		"noise": trellisv1.AxisOf(0.2, 0.4, 1e-3), "width": trellisv1.AxisOf(3), "optimizer": trellisv1.AxisOf("adam", "4"),
		"amp": trellisv1.AxisOf(true, false),
	}}
	if !proto.Equal(request, want) {
		t.Errorf("got %v, want %v", request, want)
	}
	for text, says := range map[string]string{
		"noise": "must be an axis", "=3": "must be an axis", "noise=nan": "must be numbers", "noise=": "must be values",
		"seed=2,3": "use --seeds 2,3", "seeds=2": "use --seeds 2",
	} {
		if err := flag.Set(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}
