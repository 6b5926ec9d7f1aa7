package describe

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestRefuted(t *testing.T) {
	training := func(worker string, maxEpochs, after uint32, values map[string]float64) *trellisv1.Retraining {
		return &trellisv1.Retraining{
			Worker: worker, Machine: "host-" + worker, MaxEpochs: maxEpochs, After: after, Values: values,
		}
	}
	study := &trellisv1.Study{
		Spec: &trellisv1.StudySpec{
			Program: &trellisv1.Program{}, Objective: &trellisv1.Objective{Metric: "val_acc"},
		},
		Refuted: []*trellisv1.Refutation{
			{
				Declaration: trellisv1.Declaration_DECLARATION_PREFIX, Trial: 3, Epoch: 2,
				Trainings: []*trellisv1.Retraining{
					training("a", 30, 0, map[string]float64{"loss": 1, "val_acc": 0.5}),
					training("b", 30, 0, map[string]float64{"loss": 1, "val_acc": 0.5}),
					training("c", 10, 0, map[string]float64{"loss": 2, "val_acc": 0.25}),
				},
			},
			{
				Declaration: trellisv1.Declaration_DECLARATION_DETERMINISTIC, Trial: 4, Epoch: 6,
				Trainings: []*trellisv1.Retraining{
					training("a", 30, 0, map[string]float64{"loss": 1.25}), training("b", 30, 5, nil),
					training("c", 30, 0, map[string]float64{"loss": 1.25}),
				},
				Studies: []string{"t", "u"},
			},
		},
	}
	want := []string{
		"The program's results depend on max_epochs: in epoch 2 of trial 3, val_acc was 0.5 with max_epochs 30 and " +
			"0.25 with max_epochs 10. Trials with a smaller max_epochs do not have the results that it would give. To get " +
			"them, submit the spec under another name with prefix: false.",
		"The program is not deterministic: in epoch 6 of trial 4, loss was 1.25 on worker a on host-a and loss was not " +
			"reported on worker b on host-b after it resumed from a checkpoint of epoch 5. The study keeps the first results, " +
			"and audits no more. Set deterministic: false in specs of this program. Other studies shared its runs: t, u.",
	}
	got := Refuted(study)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			break
		}
	}
	if words := RefutedWords(study); words != "prefix deterministic" {
		t.Errorf("words %q", words)
	}
	again := study.Refuted[1].Trainings[1]
	again.Worker, again.Machine, again.After, again.Values = "a", "host-a", 0, map[string]float64{"loss": 1.5}
	if got := Refuted(study)[1]; !strings.Contains(got, "trial 4, loss was 1.25 and then 1.5 on worker a on host-a. The") {
		t.Errorf("got %s", got)
	}
	again.Worker, again.Machine, again.Ended = "b", "host-b", true
	if got := Refuted(study)[1]; !strings.Contains(got, "and the program had ended on worker b on host-b") {
		t.Errorf("got %s", got)
	}
}

func TestIsDeterministic(t *testing.T) {
	study := &trellisv1.Study{Spec: &trellisv1.StudySpec{}}
	for _, test := range []struct {
		what   string
		change func()
		want   bool
	}{
		{"a model", func() {}, true},
		{"a program that declares nothing", func() { study.Spec.Program = &trellisv1.Program{} }, false},
		{"one that is declared deterministic", func() { study.Spec.Program.Deterministic = true }, true},
		{"one that depends on max_epochs", func() {
			study.Refuted = []*trellisv1.Refutation{{Declaration: trellisv1.Declaration_DECLARATION_PREFIX}}
		}, true},
		{"one that is not what it is declared", func() {
			study.Refuted = append(study.Refuted,
				&trellisv1.Refutation{Declaration: trellisv1.Declaration_DECLARATION_DETERMINISTIC})
		}, false},
	} {
		test.change()
		if got := IsDeterministic(study); got != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
}
