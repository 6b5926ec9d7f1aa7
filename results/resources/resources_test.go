package resources

import (
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func worker(capacity *trellisv1.Capacity) *trellisv1.Worker {
	return &trellisv1.Worker{Slots: 2, Capacity: capacity}
}

func TestRoom(t *testing.T) {
	program := func(r *trellisv1.Resources) Need {
		return Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{Program: &trellisv1.Program{}, Resources: r}})
	}
	large := &trellisv1.Capacity{
		Cpus: 4, Memory: 1000, Gpus: []*trellisv1.Gpu{{Id: "0"}, {Id: "1"}}, Programs: true,
	}
	for name, test := range map[string]struct {
		need     Need
		capacity *trellisv1.Capacity
		// fit is how many runs fit side by side, up to 100.
		fit     int
		missing trellisv1.WaitingReason
	}{
		"a model needs its slot alone": {Of(&trellisv1.Study{}), nil, 100, 0},
		"a program needs a worker that runs programs": {
			program(nil), &trellisv1.Capacity{Cpus: 4}, 0, trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS,
		},
		"a program needs a core":                 {program(nil), large, 4, 0},
		"tenths of a core add up":                {program(&trellisv1.Resources{Cpus: 0.1}), large, 40, 0},
		"memory":                                 {program(&trellisv1.Resources{Memory: 400}), large, 2, 0},
		"unknown memory is enough":               {program(&trellisv1.Resources{Memory: 1 << 50}), &trellisv1.Capacity{Programs: true}, 2, 0},
		"GPUs":                                   {program(&trellisv1.Resources{Gpus: 1}), large, 2, 0},
		"more GPUs than the worker has":          {program(&trellisv1.Resources{Gpus: 3}), large, 0, trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE},
		"unknown cores are as many as the slots": {program(nil), &trellisv1.Capacity{Programs: true}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			room, fit := RoomOf(worker(test.capacity)), 0
			for ; fit < 100 && room.Fits(test.need); fit++ {
				room.Take(test.need)
			}
			if fit != test.fit {
				t.Errorf("%d runs fit, want %d", fit, test.fit)
			}
			if missing := Missing(test.need, slices.Values([]*trellisv1.Worker{worker(test.capacity)})); missing != test.missing {
				t.Errorf("missing is %v, want %v", missing, test.missing)
			}
		})
	}
}

func TestModelsTakeCoresFromPrograms(t *testing.T) {
	room := RoomOf(worker(&trellisv1.Capacity{Cpus: 2, Programs: true}))
	room.Take(Of(&trellisv1.Study{}))
	two := Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{
		Program: &trellisv1.Program{}, Resources: &trellisv1.Resources{Cpus: 2},
	}})
	if room.Fits(two) {
		t.Error("two cores are free beside a model on two cores")
	}
}

func TestNothingIsMissingWithoutWorkers(t *testing.T) {
	if missing := Missing(Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{Program: &trellisv1.Program{}}}), slices.Values([]*trellisv1.Worker(nil))); missing != 0 {
		t.Errorf("missing is %v", missing)
	}
}

// Which workers may be given runs of a study at all.
func TestServing(t *testing.T) {
	plain := &trellisv1.Worker{Name: "plain"}
	a100 := &trellisv1.Worker{Name: "a100", Labels: map[string]string{"gpu": "a100", "zone": "b"}}
	own := &trellisv1.Worker{Name: "own", Study: "s"}
	others := &trellisv1.Worker{Name: "others", Study: "t", Labels: map[string]string{"gpu": "a100"}}
	const missing = trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING
	for name, test := range map[string]struct {
		labels  map[string]string
		workers []*trellisv1.Worker
		want    string
		missing trellisv1.WaitingReason
	}{
		"any":                           {nil, []*trellisv1.Worker{plain, a100, own}, "plain a100 own", 0},
		"not those of others":           {nil, []*trellisv1.Worker{others, plain}, "plain", 0},
		"with a label":                  {map[string]string{"gpu": "a100"}, []*trellisv1.Worker{plain, a100, own, others}, "a100", 0},
		"with another value":            {map[string]string{"gpu": "h100"}, []*trellisv1.Worker{plain, a100}, "", missing},
		"all of the labels":             {map[string]string{"gpu": "a100", "disk": "x"}, []*trellisv1.Worker{a100}, "", missing},
		"only those of others":          {nil, []*trellisv1.Worker{others}, "", missing},
		"no workers":                    {nil, nil, "", 0},
		"no workers, and labels wanted": {map[string]string{"gpu": "a100"}, nil, "", missing},
	} {
		study := &trellisv1.Study{Spec: &trellisv1.StudySpec{Name: "s", Workers: test.labels}}
		var names []string
		for _, worker := range Serving(study, test.workers) {
			names = append(names, worker.GetName())
			if room := RoomOf(worker); !room.Fits(Of(study)) {
				t.Errorf("%s: no room on %s", name, worker.GetName())
			}
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		if got := Missing(Of(study), slices.Values(test.workers)); got != test.missing {
			t.Errorf("%s: missing %v, want %v", name, got, test.missing)
		}
		program := &trellisv1.Study{Spec: &trellisv1.StudySpec{
			Name: "s", Workers: test.labels, Program: &trellisv1.Program{},
		}}
		for _, worker := range test.workers {
			room := RoomOf(&trellisv1.Worker{
				Slots: 1, Labels: worker.GetLabels(), Study: worker.GetStudy(), Capacity: &trellisv1.Capacity{Programs: true},
			})
			if fits := room.Fits(Of(program)); fits != slices.Contains(names, worker.GetName()) {
				t.Errorf("%s: a program fits %s: %v", name, worker.GetName(), fits)
			}
		}
	}
}
