//go:build !race

package grid

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func programSpec(program *trellisv1.Program) *trellisv1.StudySpec {
	program.Command = []string{"train"}
	return WithDefaults(&trellisv1.StudySpec{
		Name: "p", Program: program, Objective: &trellisv1.Objective{Metric: "loss"},
		Resources: &trellisv1.Resources{Gpus: 1},
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[int](1),
			"learning_rate": trellisv1.AxisOf[float64](0.1, 0.2),
			"max_epochs":    trellisv1.AxisOf[int](5, 10),
		}}},
	})
}

// A program's runs are shared between max_epochs only if its spec says that they are the same.
func TestRunsOfPrograms(t *testing.T) {
	for _, prefix := range []bool{false, true} {
		spec, want := programSpec(&trellisv1.Program{Prefix: prefix}), 4
		if prefix {
			want = 2
		}
		trials, runs, err := Expand(spec, nil, "1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(trials) != 4 || len(runs) != want {
			t.Errorf("prefix %t: %d trials in %d runs", prefix, len(trials), len(runs))
		}
		ids := map[string]bool{}
		for _, run := range runs {
			ids[run.GetId()] = true
			if !prefix && len(run.GetMilestones()) != 1 {
				t.Errorf("a run has the milestones %v", run.GetMilestones())
			}
		}
		if len(ids) != want {
			t.Errorf("prefix %t: %d ids", prefix, len(ids))
		}
		// The trainer's arithmetic has no part in it.
		_, again, err := Expand(spec, nil, "2", nil)
		if err != nil {
			t.Fatal(err)
		}
		if again[0].GetId() != runs[0].GetId() {
			t.Error("numerics change the id")
		}
	}
}

// At the end of a stage, a program is told where its attempt ends, and still which max_epochs it has.
func TestConfigOfPrograms(t *testing.T) {
	spec := programSpec(&trellisv1.Program{Files: &trellisv1.Files{Sha256: "x"}})
	_, runs, err := Expand(spec, nil, "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	study := &trellisv1.Study{Spec: spec}
	config := RunConfigFor(study, runs[1], "1", 4)
	if config.GetParameters().GetMaxEpochs() != 10 || config.GetLastEpoch() != 4 || config.GetResources().GetGpus() != 1 ||
		config.GetProgram().GetFiles().GetSha256() != "x" || config.GetNumerics() != "" || config.GetSplit() != nil {
		t.Errorf("got %v", config)
	}
	if config := RunConfigFor(study, runs[1], "1", 10); config.GetLastEpoch() != 0 {
		t.Errorf("a whole run ends at epoch %d", config.GetLastEpoch())
	}
}

func TestSharingOfPrograms(t *testing.T) {
	for _, test := range []struct {
		spec *trellisv1.StudySpec
		want bool
	}{
		{&trellisv1.StudySpec{Model: synthetic}, true},
		{programSpec(&trellisv1.Program{}), false},
		{programSpec(&trellisv1.Program{Deterministic: true}), true},
	} {
		if Shares(test.spec) != test.want {
			t.Errorf("%v: shared: %t", test.spec, !test.want)
		}
	}
}

// What is wrong with a spec is said in the same order each time.
func TestErrorsOfProgramsInOrder(t *testing.T) {
	spec := programSpec(&trellisv1.Program{})
	spec.Data, spec.Split, spec.Synthetic = "mnist", &trellisv1.Split{Train: 1, Validation: 1}, &trellisv1.Synthetic{}
	spec.Pretrained = &trellisv1.Pretrained{Study: "s"}
	spec.Objective.Metric, spec.EarlyStopping = "a b", &trellisv1.EarlyStopping{Patience: 1, Metric: "c d"}
	var first string
	for range 20 {
		err := Models{}.Validate(spec)
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Fatalf("\n%v, and before\n%s", err, first)
		}
	}
	at := 0
	for _, field := range []string{"data is for models", "split is", "synthetic is", "pretrained is", "objective.metric", "early_stopping.metric"} {
		next := strings.Index(first[at:], field)
		if next < 0 {
			t.Fatalf("%s does not come next in\n%s", field, first)
		}
		at += next
	}
}

// A program gets no less memory than a process needs to start: where a control group had a few pages, the kernel would look
// for more forever.
func TestMemoryOfPrograms(t *testing.T) {
	for memory, refused := range map[uint64]bool{0: false, 1: true, 1 << 20: true, 16<<20 - 1: true, 16 << 20: false, 1 << 40: false} {
		spec := programSpec(&trellisv1.Program{})
		spec.Resources.Memory = memory
		err := Models(nil).Validate(spec)
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "memory must be at least 16MiB") {
			t.Errorf("memory %d: error %v", memory, err)
		}
	}
}
