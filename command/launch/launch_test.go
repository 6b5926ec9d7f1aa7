package launch

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

// How many workers are started, and which are not needed any more.
func TestChange(t *testing.T) {
	for name, test := range map[string]struct {
		demand demand
		submit int
		cancel []string
	}{
		"nothing to do":                       {demand{}, 0, nil},
		"runs wait":                           {demand{waiting: 2.5}, 3, nil},
		"no more than allowed":                {demand{waiting: 50}, 5, nil},
		"those that start are enough":         {demand{waiting: 2, starting: 1, queued: []string{"7"}}, 0, nil},
		"those that work are not free":        {demand{waiting: 1, connected: 2}, 1, nil},
		"not all of those queued are needed":  {demand{waiting: 1, queued: []string{"7_1", "7_2", "7_3"}}, 0, []string{"7_2", "7_3"}},
		"none of those queued is needed":      {demand{connected: 1, queued: []string{"7"}}, 0, []string{"7"}},
		"more run than are allowed":           {demand{waiting: 9, connected: 7, queued: []string{"7"}}, 0, []string{"7"}},
		"a third and two thirds are a worker": {demand{waiting: 1.0/3 + 2.0/3}, 1, nil},
		"one may tell what they have":         {demand{unsure: 4}, 1, nil},
		"one of them is enough":               {demand{unsure: 4, queued: []string{"7"}}, 0, nil},
		"none is canceled for that":           {demand{unsure: 2.5, queued: []string{"7_1", "7_2", "7_3", "7_4"}}, 0, []string{"7_4"}},
		"besides those that are large enough": {demand{waiting: 1.5, unsure: 4, connected: 1}, 3, nil},
	} {
		submit, cancel := test.demand.change(5)
		if submit != test.submit || !slices.Equal(cancel, test.cancel) {
			t.Errorf("%s: %d and %q, want %d and %q", name, submit, cancel, test.submit, test.cancel)
		}
	}
}

// Which studies a launch has workers for, and how many.
func TestNeed(t *testing.T) {
	kind := (&launchOptions{slots: 4, gpus: 1, labels: map[string]string{"gpu": "a100"}, programs: true}).kind()
	study := func(spec *trellisv1.StudySpec) *trellisv1.Study {
		return &trellisv1.Study{
			State: trellisv1.StudyState_STUDY_STATE_RUNNING, Spec: spec,
			Progress: &trellisv1.Progress{Runs: 20, RunsSucceeded: 6, RunsRunning: 6},
		}
	}
	model := study(&trellisv1.StudySpec{})
	paused, absent, busy := study(&trellisv1.StudySpec{}), study(&trellisv1.StudySpec{}), study(&trellisv1.StudySpec{})
	paused.State = trellisv1.StudyState_STUDY_STATE_PAUSED
	absent.WaitingFor = &trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING}
	busy.Progress.RunsRunning = 14
	for name, test := range map[string]struct {
		study   *trellisv1.Study
		waiting float64
		open    bool
	}{
		"a model":              {model, 2, true},
		"a paused study":       {paused, 0, false},
		"its data is missing":  {absent, 0, false},
		"all runs are trained": {busy, 0, true},
		"labels":               {study(&trellisv1.StudySpec{Workers: map[string]string{"gpu": "a100"}}), 2, true},
		"others' labels":       {study(&trellisv1.StudySpec{Workers: map[string]string{"gpu": "h100"}}), 0, false},
		"one GPU each": {
			study(&trellisv1.StudySpec{Program: &trellisv1.Program{}, Resources: &trellisv1.Resources{Gpus: 1}}), 8, true,
		},
		"more GPUs than a worker has": {
			study(&trellisv1.StudySpec{Program: &trellisv1.Program{}, Resources: &trellisv1.Resources{Gpus: 2}}), 0, false,
		},
	} {
		waiting, _, open := kind.lacking([]*trellisv1.Study{test.study}, nil)
		if waiting != test.waiting || open != test.open {
			t.Errorf("%s: %v and %v, want %v and %v", name, waiting, open, test.waiting, test.open)
		}
	}
}

// For how many runs there is no room on the workers that a launch has, of those that others of their kind have room
// for.
func TestLacking(t *testing.T) {
	const giga = 1 << 30
	study := func(waiting, running, memory uint64) *trellisv1.Study {
		return &trellisv1.Study{
			State: trellisv1.StudyState_STUDY_STATE_RUNNING, Spec: &trellisv1.StudySpec{},
			Network:  &trellisv1.ModelSize{Memory: memory},
			Progress: &trellisv1.Progress{Runs: waiting + running, RunsRunning: running},
		}
	}
	tooLarge := study(40, 0, 20*giga)
	tooLarge.WaitingFor = &trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE}
	// workers has one for each number of runs.
	workers := func(runs ...uint32) (connected []*trellisv1.Worker) {
		for _, runs := range runs {
			connected = append(connected, &trellisv1.Worker{Slots: 8, Runs: runs, Capacity: &trellisv1.Capacity{Memory: 10 * giga}})
		}
		return connected
	}
	type studies []*trellisv1.Study
	for name, test := range map[string]struct {
		memory    string
		studies   studies
		connected []*trellisv1.Worker
		want      float64
		unsure    float64
	}{
		"free slots":                        {"10G", studies{study(10, 6, 0)}, workers(6, 0), 0, 0},
		"fewer free slots":                  {"10G", studies{study(10, 6, 0)}, workers(6), 1, 0},
		"one slot of many":                  {"10G", studies{study(4000, 15, giga)}, workers(8, 7), 500 - 1./8, 0},
		"their memory is full":              {"10G", studies{study(10, 4, 5*giga)}, workers(2, 2), 5, 0},
		"half of it is":                     {"10G", studies{study(10, 2, 5*giga)}, workers(1, 1), 4, 0},
		"it is full of another's":           {"10G", studies{study(10, 0, 4*giga), study(0, 2, 8*giga)}, workers(1, 1), 5, 0},
		"it has room beside another's":      {"10G", studies{study(10, 0, 4*giga), study(0, 2, 5*giga)}, workers(1, 1), 4, 0},
		"small ones fit beside another's":   {"10G", studies{study(16, 0, 0), study(0, 2, 8*giga)}, workers(1, 1), 0.25, 0},
		"what one gets another does not":    {"10G", studies{study(4, 4, 0), study(4, 0, 0)}, workers(4), 0.5, 0},
		"nobody has said how much":          {"", studies{study(40, 0, 20*giga)}, nil, 5, 0},
		"they have too little":              {"", studies{study(40, 0, 20*giga)}, workers(0), 0, 0},
		"others' workers have too little":   {"", studies{tooLarge}, nil, 0, 5},
		"and theirs too":                    {"", studies{tooLarge}, workers(0), 0, 0},
		"too large for what was said":       {"10G", studies{tooLarge}, nil, 0, 0},
		"one study is too large of several": {"10G", studies{tooLarge, study(8, 0, giga)}, nil, 1, 0},
	} {
		kind := (&launchOptions{slots: 8, memory: test.memory}).kind()
		kind.learn(test.connected)
		if got, unsure, open := kind.lacking(test.studies, test.connected); got != test.want || unsure != test.unsure {
			t.Errorf("%s: %v and %v (%v), want %v and %v", name, got, unsure, open, test.want, test.unsure)
		}
	}
}

func TestReachable(t *testing.T) {
	for _, address := range []string{"head:7070", "10.1.2.3:7070", "a:7070,b:7070", "[fd00::1]:7070", "dns:///head:7070", "file:/no/address"} {
		if err := checkReachable(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{
		"localhost:7070", "127.0.0.1:7070", "[::1]:7070", "0.0.0.0:7070", "a:7070,LOCALHOST:7070", "127.0.1.1:7071", "unix:///run/t",
	} {
		err := checkReachable(address)
		if err == nil || !strings.Contains(err.Error(), "with --coordinator HOST:") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestScript(t *testing.T) {
	script := batch{
		options: []string{"--job-name=trellis-w", "--signal=B:TERM@90"}, variables: []string{"TRELLIS=/opt/my tools/trellis"},
		args: []string{"--coordinator", "head:7070", "--label", "it's=x"},
	}.script(50)
	for _, want := range []string{
		"#SBATCH --array=1-50\n", "export TRELLIS='/opt/my tools/trellis'\n", `set -- --coordinator head:7070 --label 'it'\''s=x'` + "\n",
	} {
		if strings.Count(script, want) != 1 {
			t.Errorf("there is no %q, or several:\n%s", want, script)
		}
	}
	if strings.Count(script, "--job-name") != 1 || !strings.HasPrefix(script, "#!/bin/bash\n") ||
		strings.Index(script, "--signal=B:TERM@60") > strings.Index(script, "--signal=B:TERM@90") ||
		strings.LastIndex(script, "\n#SBATCH") > strings.Index(script, "\nset -u") {
		t.Errorf("the options are\n%s", script)
	}
	larger, err := resized(script, 7)
	if err != nil || !strings.Contains(larger, "#SBATCH --array=1-7\n") || len(larger) != len(script)-1 {
		t.Errorf("%v:\n%s", err, larger)
	}
	if _, err := resized("#!/bin/sh\n", 7); err == nil {
		t.Error("took a script that is not ours")
	}
	for limit, want := range map[time.Duration]string{
		4 * time.Hour: "0-04:00:00", 50*time.Hour + 90*time.Second: "2-02:01:30", time.Millisecond: "0-00:00:01",
	} {
		if got := timeLimit(limit); got != want {
			t.Errorf("%v: %s, want %s", limit, got, want)
		}
	}
}

// Where Slurm is not, that is said.
func TestNoSlurm(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := (slurm{}).jobs(t.Context(), ""); !errors.Is(err, exit.ErrUsage) ||
		!strings.Contains(err.Error(), "squeue is not here: run this command where Slurm's commands are") {
		t.Error(err)
	}
}
