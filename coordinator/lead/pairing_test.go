package lead

import (
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/resources"
)

// Which worker gets a run that has failed: one of another machine first, then another worker of the same.
func TestPairing(t *testing.T) {
	const trainer, unfit = trellisv1.FailureClass_FAILURE_CLASS_TRAINER, trellisv1.FailureClass_FAILURE_CLASS_WORKER
	on := func(name, machine string) *trellisv1.Worker { return &trellisv1.Worker{Name: name, Machine: machine} }
	failed := func(worker *trellisv1.Worker, class trellisv1.FailureClass) *trellisv1.Failure {
		return &trellisv1.Failure{Worker: worker.GetName(), Machine: worker.GetMachine(), Class: class}
	}
	a1, a2, b, avoided := on("a1", "a"), on("a2", "a"), on("b", "b"), on("avoided", "c")
	for _, test := range []struct {
		name     string
		failures []*trellisv1.Failure
		// ready are the workers that are READY, slots those of them that have one free. want is who gets the run.
		ready, slots []*trellisv1.Worker
		want         string
	}{
		{"it has not failed", nil, []*trellisv1.Worker{a1, b}, []*trellisv1.Worker{a1, b}, "a1"},
		{
			"another machine",
			[]*trellisv1.Failure{failed(a1, trainer)},
			[]*trellisv1.Worker{a1, a2, b},
			[]*trellisv1.Worker{a1, a2, b},
			"b",
		},
		{
			"another machine, whose slots are taken",
			[]*trellisv1.Failure{failed(a1, trainer)},
			[]*trellisv1.Worker{a1, a2, b},
			[]*trellisv1.Worker{a1, a2},
			"",
		},
		{
			"another worker of the machine",
			[]*trellisv1.Failure{failed(a1, trainer)},
			[]*trellisv1.Worker{a1, a2},
			[]*trellisv1.Worker{a1, a2},
			"a2",
		},
		{
			"all have been tried",
			[]*trellisv1.Failure{failed(a1, trainer), failed(b, trainer)},
			[]*trellisv1.Worker{a1, b},
			[]*trellisv1.Worker{a1, b},
			"a1",
		},
		{
			"the worker was at fault",
			[]*trellisv1.Failure{failed(a1, unfit)},
			[]*trellisv1.Worker{a1, b},
			[]*trellisv1.Worker{a1, b},
			"b",
		},
		{
			"the worker of the other machine was at fault",
			[]*trellisv1.Failure{failed(a1, trainer), failed(b, unfit)},
			[]*trellisv1.Worker{a1, b},
			[]*trellisv1.Worker{a1},
			"a1",
		},
		{
			"the worker of another machine is avoided",
			[]*trellisv1.Failure{failed(a1, trainer)},
			[]*trellisv1.Worker{a1, avoided},
			[]*trellisv1.Worker{a1, avoided},
			"a1",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			failing := newFailing(slog.New(slog.DiscardHandler))
			failing.ended("avoided", &trellisv1.Outcome{
				Study: "s", Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{Class: unfit}},
			})
			p := &pairing{
				failing: failing, now: time.Now(), offers: offersOf(test.slots),
				ready: func() []*trellisv1.Worker { return test.ready },
			}
			got := ""
			if p.Run(&trellisv1.Run{Study: "s", Id: "r", Failures: test.failures}) {
				got = p.workers[0]
			}
			if left := len(test.slots) - p.left(); got != test.want || left != len(p.workers) {
				t.Errorf("the run goes to %q, want %q; %d slots are taken", got, test.want, left)
			}
		})
	}
}

// Who gets a run that is disputed or to be audited, and who gets none.
func TestPairingOfWhatIsCompared(t *testing.T) {
	on := func(name, machine string) *trellisv1.Worker { return &trellisv1.Worker{Name: name, Machine: machine} }
	a1, a2, b, c := on("a1", "a"), on("a2", "a"), on("b", "b"), on("c", "c")
	wrong := on("wrong", "d")
	wrong.Wrong = &trellisv1.WrongLosses{Study: "s"}
	training := func(worker *trellisv1.Worker, attempt uint64) *trellisv1.Training {
		return &trellisv1.Training{
			Attempt: attempt, Worker: worker.GetName(), Machine: worker.GetMachine(), Until: 3,
		}
	}
	disputed := func(by ...*trellisv1.Worker) *trellisv1.Run {
		dispute := &trellisv1.Disagreement{Epoch: 4}
		for i, worker := range by {
			dispute.Claims = append(dispute.Claims, &trellisv1.Claim{Training: training(worker, uint64(i+1))})
		}
		return &trellisv1.Run{Study: "s", Id: "r", State: trellisv1.RunState_RUN_STATE_PENDING, Dispute: dispute}
	}
	audited := func(by ...*trellisv1.Worker) *trellisv1.Run {
		run := &trellisv1.Run{
			Study: "s", Id: "r", State: trellisv1.RunState_RUN_STATE_SUCCEEDED,
			Audit: &trellisv1.Audit{State: trellisv1.AuditState_AUDIT_STATE_DUE},
		}
		for i, worker := range by {
			run.Trainings = append(run.Trainings, training(worker, uint64(i+1)))
		}
		return run
	}
	all := func(workers ...*trellisv1.Worker) []*trellisv1.Worker { return workers }
	plain := &trellisv1.Run{Study: "s", Id: "r", State: trellisv1.RunState_RUN_STATE_PENDING}
	for name, test := range map[string]struct {
		run   *trellisv1.Run
		ready []*trellisv1.Worker
		want  string
	}{
		"a third machine decides":                    {disputed(a1, b), all(a1, a2, b, c), "c"},
		"it is waited for":                           {disputed(a1, b), all(a1, a2, b), ""},
		"the only machine decides":                   {disputed(a1, a1), all(a1, a2), "a1"},
		"another machine rather than the only one":   {disputed(a1, a1), all(a1, b), "b"},
		"one that was wrong decides nothing":         {disputed(a1, b), all(a1, b, wrong), ""},
		"another machine audits":                     {audited(a1), all(a1, a2, b), "b"},
		"another worker audits":                      {audited(a1), all(a1, a2), "a2"},
		"the only worker audits":                     {audited(a1), all(a1), "a1"},
		"one that was wrong audits nothing":          {audited(a1), all(wrong, a1), "a1"},
		"one that was wrong gets nothing":            {plain, all(wrong, b), "b"},
		"one that was wrong is better than nobody":   {plain, all(wrong), "wrong"},
		"a machine that trained some audits nothing": {audited(a1, b), all(a2, b, c), "c"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &pairing{
				failing: newFailing(slog.New(slog.DiscardHandler)), now: time.Now(), offers: offersOf(test.ready),
				ready: func() []*trellisv1.Worker { return test.ready },
			}
			got := ""
			if p.Run(test.run) {
				got = p.workers[0]
			}
			if got != test.want {
				t.Errorf("the run goes to %q, want %q", got, test.want)
			}
		})
	}
}

// offersOf has free slots of workers, each of which is named for each of its slots.
func offersOf(slots []*trellisv1.Worker) (offers []*offer) {
	for _, worker := range slots {
		i := slices.IndexFunc(offers, func(o *offer) bool { return o.worker == worker })
		if i < 0 {
			i, offers = len(offers), append(offers, &offer{worker: worker})
		}
		offers[i].left++
	}
	return offers
}

// A run goes to a worker that has the labels, and leaves those that others need to them as long as it can.
func TestPairingByLabels(t *testing.T) {
	plain, gpu := &trellisv1.Worker{Name: "plain"}, &trellisv1.Worker{Name: "gpu", Labels: map[string]string{"gpu": "a100"}}
	own, other := &trellisv1.Worker{Name: "own", Study: "s"}, &trellisv1.Worker{Name: "other", Study: "t"}
	for name, test := range map[string]struct {
		labels map[string]string
		slots  []*trellisv1.Worker
		want   []string
	}{
		"its own, then those without labels": {nil, []*trellisv1.Worker{other, gpu, plain, own}, []string{"own", "plain", "gpu"}},
		"with the label":                     {gpu.Labels, []*trellisv1.Worker{plain, own, gpu, gpu}, []string{"gpu", "gpu"}},
		"none":                               {map[string]string{"gpu": "h100"}, []*trellisv1.Worker{plain, own, gpu}, nil},
	} {
		packs := newPacking(nil, nil)
		packs.needs["s"] = resources.Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{Name: "s", Workers: test.labels}})
		d := &dispatcher{chosen: newChosen(), sessions: everybody{}, leases: everybody{}}
		for _, worker := range test.slots {
			worker.Slots = 1
		}
		ready := func() []*trellisv1.Worker { return test.slots }
		p := &pairing{
			failing: newFailing(slog.New(slog.DiscardHandler)), data: noAbsences{}, now: time.Now(), packing: packs, ready: ready,
			offers: d.freeSlots(test.slots, nil),
		}
		for p.Study("s") && p.Run(&trellisv1.Run{Study: "s"}) {
		}
		if !slices.Equal(p.workers, test.want) {
			t.Errorf("%s: runs go to %q, want %q", name, p.workers, test.want)
		}
		if p.Run(&trellisv1.Run{Study: "s"}) {
			t.Errorf("%s: a run goes to %q", name, p.workers)
		}
	}
}

// everybody is connected and has just been heard.
type everybody struct{}

func (everybody) connected(string) bool        { return true }
func (everybody) quiet(*trellisv1.Worker) bool { return false }
func (everybody) begin(string)                 {}

// A failed run does not wait for a machine whose workers can't serve its study.
func TestPairingDoesNotWaitForOthers(t *testing.T) {
	gpu := &trellisv1.Worker{Name: "gpu", Machine: "a", Labels: map[string]string{"gpu": "a100"}}
	plain := &trellisv1.Worker{Name: "plain", Machine: "b"}
	packs := newPacking(nil, nil)
	packs.needs["s"] = resources.Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{Name: "s", Workers: gpu.Labels}})
	p := &pairing{
		failing: newFailing(slog.New(slog.DiscardHandler)), data: noAbsences{}, now: time.Now(), packing: packs,
		ready:  func() []*trellisv1.Worker { return []*trellisv1.Worker{gpu, plain} },
		offers: offersOf([]*trellisv1.Worker{gpu}),
	}
	failed := &trellisv1.Failure{Worker: "gpu", Machine: "a", Class: trellisv1.FailureClass_FAILURE_CLASS_TRAINER}
	if !p.Run(&trellisv1.Run{Study: "s", Failures: []*trellisv1.Failure{failed}}) {
		t.Error("it waits for the other machine")
	}
}

// Runs spread over workers although their labels differ, and although another study asks for one of these labels and has
// taken slots of it.
func TestRunsSpreadOverLabels(t *testing.T) {
	var workers []*trellisv1.Worker
	for _, zone := range []string{"0", "1", "2", "3"} {
		workers = append(workers, &trellisv1.Worker{Name: "w" + zone, Slots: 8, Labels: map[string]string{"zone": zone}})
	}
	packs := newPacking(nil, nil)
	packs.needs["all"] = resources.Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{Name: "all"}})
	packs.needs["zone"] = resources.Of(&trellisv1.Study{Spec: &trellisv1.StudySpec{
		Name: "zone", Workers: map[string]string{"zone": "1"},
	}})
	d := &dispatcher{chosen: newChosen(), sessions: everybody{}, leases: everybody{}}
	p := &pairing{
		failing: newFailing(slog.New(slog.DiscardHandler)), data: noAbsences{}, now: time.Now(), packing: packs,
		ready: func() []*trellisv1.Worker { return workers }, offers: d.freeSlots(workers, nil),
	}
	give := func(study string, runs int) {
		for range runs {
			if !p.Study(study) || !p.Run(&trellisv1.Run{Study: study}) {
				t.Fatalf("no slot for a run of %s", study)
			}
		}
	}
	give("all", 1)
	give("zone", 4)
	give("all", 8)
	counts := map[string]int{}
	for _, name := range p.workers {
		counts[name]++
	}
	if want := map[string]int{"w0": 3, "w1": 4, "w2": 3, "w3": 3}; !maps.Equal(counts, want) {
		t.Errorf("workers got %v, want %v", counts, want)
	}
	give("zone", 4)
	if p.Study("zone") || p.Run(&trellisv1.Run{Study: "zone"}) {
		t.Errorf("a worker got more runs than it has slots: %q", p.workers)
	}
	if give("all", 32-17); p.left() != 0 || p.Study("all") {
		t.Errorf("%d slots are left", p.left())
	}
}
