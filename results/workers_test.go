package results

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

func TestWorkerRegisters(t *testing.T) {
	store := newStore(t)
	get := func() *trellisv1.Worker {
		worker, err := store.Snapshot().Worker(nil, "w")
		ok(t, err)
		return worker
	}
	hello := &trellisv1.Worker{
		Name: "w", State: lifecycle.WorkerReady, Slots: 2, Version: "1", Processor: "p",
		Runs: 77,
	}
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, hello))
	want := proto.CloneOf(hello)
	want.Runs, want.CreateTime, want.UpdateTime, want.ModifyIndex = 0, at(1), at(1), 1
	equal(t, "registered", get(), want)

	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, hello))
	equal(t, "the same again", get(), want)

	hello.Version = "2"
	ok(t, store.SetWorker(3, at(3), trajectory.LatestRules, hello))
	want.Version, want.ModifyIndex = "2", 3
	equal(t, "with another version", get(), want)

	ok(t, store.SetWorker(4, at(4), trajectory.LatestRules, &trellisv1.Worker{Name: "w", State: lifecycle.WorkerLost}))
	want.State, want.UpdateTime, want.ModifyIndex = lifecycle.WorkerLost, at(4), 4
	equal(t, "lost", get(), want)

	hello.Slots = 5
	ok(t, store.SetWorker(5, at(5), trajectory.LatestRules, hello))
	want.State, want.Slots, want.UpdateTime, want.ModifyIndex = lifecycle.WorkerReady, 5, at(5), 5
	equal(t, "back", get(), want)

	for _, name := range []string{"", "a\x00b"} {
		if err := store.SetWorker(6, at(6), trajectory.LatestRules, &trellisv1.Worker{
			Name: name, State: lifecycle.WorkerReady,
			Slots: 1,
		}); !errors.Is(err, ErrInvalid) {
			t.Errorf("worker %q: %v", name, err)
		}
	}
	if _, err := store.Snapshot().Worker(nil, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a worker that is not there: %v", err)
	}
}

// TestWorkersAreForgotten: the table does not grow for ever.
func TestWorkersAreForgotten(t *testing.T) {
	store := newStore(t)
	const more = 5
	index := uint64(0)
	set := func(name string, state trellisv1.WorkerState) {
		index++
		ok(t, store.SetWorker(index, at(index), trajectory.LatestRules,
			&trellisv1.Worker{Name: name, State: state, Slots: 1}))
	}
	set("alive", lifecycle.WorkerReady)
	for i := range MaxEndedWorkers + more {
		// The names do not sort as the workers end.
		name := fmt.Sprintf("w%04d", 9999-i)
		set(name, lifecycle.WorkerReady)
		set(name, []trellisv1.WorkerState{lifecycle.WorkerLost, lifecycle.WorkerGone}[i%2])
	}
	workers, err := store.Snapshot().Workers(nil)
	ok(t, err)
	if len(workers) != MaxEndedWorkers+1 {
		t.Errorf("%d workers are remembered, want %d and one that is alive", len(workers), MaxEndedWorkers)
	}
	// The first that was lost, and the second. The one between them has left, and is forgotten.
	if last := workers[len(workers)-2:]; workers[0].Name != "alive" || last[0].Name != "w9997" || last[1].Name != "w9999" {
		t.Errorf("remembered are %s to %s and %s", workers[0].Name, last[0].Name, last[1].Name)
	}
	checkIndexes(t, store.Snapshot())
}

// Of workers that have ended, those that have left are forgotten before those that were lost, whose processes may come
// back and need their names: the earliest first. By older rules, the earliest is forgotten, whatever it is.
func TestWorkersThatHaveLeftAreForgottenFirst(t *testing.T) {
	for rules, want := range map[trajectory.Rules]string{
		trajectory.LatestRules: "[gone-0 gone-1 lost-0]", trajectory.TrainAgain: "[lost-0 gone-0]",
	} {
		store := newStore(t)
		index := uint64(0)
		set := func(name string, state trellisv1.WorkerState) {
			index++
			ok(t, store.SetWorker(index, at(index), rules, &trellisv1.Worker{Name: name, State: state, Slots: 1}))
		}
		end := func(name string, state trellisv1.WorkerState) {
			set(name, lifecycle.WorkerReady)
			set(name, state)
		}
		end("lost-0", lifecycle.WorkerLost)
		end("gone-0", lifecycle.WorkerGone)
		for i := range MaxEndedWorkers - 3 {
			end(fmt.Sprintf("w%04d", i), lifecycle.WorkerLost)
		}
		end("gone-1", lifecycle.WorkerGone)
		var forgotten []string
		for i := range 3 {
			end(fmt.Sprint("more-", i), lifecycle.WorkerLost)
			for _, name := range []string{"lost-0", "gone-0", "gone-1"} {
				_, err := store.Snapshot().Worker(nil, name)
				if errors.Is(err, ErrNotFound) && !slices.Contains(forgotten, name) {
					forgotten = append(forgotten, name)
				}
			}
		}
		if got := fmt.Sprint(forgotten); got != want {
			t.Errorf("by rules %d, forgotten are %s, want %s", rules, got, want)
		}
	}
}

func TestListWorkers(t *testing.T) {
	store := newStore(t)
	for i, name := range []string{"c", "a", "ab", "b"} {
		ok(t, store.SetWorker(uint64(i+1), at(1), trajectory.LatestRules, &trellisv1.Worker{
			Name: name, State: lifecycle.WorkerReady,
			Slots: 1,
		}))
	}
	request := &trellisv1.ListWorkersRequest{PageSize: 2}
	var names []string
	for {
		page, err := store.Snapshot().ListWorkers(request)
		ok(t, err)
		for _, worker := range page.Workers {
			names = append(names, worker.Name)
		}
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[a ab b c]" {
		t.Errorf("workers: %v", names)
	}
	studies, err := store.Snapshot().ListStudies(&trellisv1.ListStudiesRequest{PageToken: "zzzz"})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("a token that is none: %v, %v", studies, err)
	}
}

// A name belongs to the first key and principal: for another, it neither registers nor drains. Whoever loses or dismisses
// the worker needs none.
func TestAWorkerKeepsItsKey(t *testing.T) {
	store := newStore(t)
	own := &trellisv1.Worker{
		Name: "w", State: lifecycle.WorkerReady, Slots: 1, Key: []byte("own"),
		Principal: &trellisv1.Principal{Role: trellisv1.Role_ROLE_WORKER, Name: "farm"},
	}
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, own))
	for index, state := range []trellisv1.WorkerState{
		lifecycle.WorkerReady, lifecycle.WorkerDraining, lifecycle.WorkerLost, lifecycle.WorkerReady,
	} {
		for _, change := range []func(*trellisv1.Worker){
			func(w *trellisv1.Worker) { w.Key = []byte("other") },
			func(w *trellisv1.Worker) { w.Key = nil },
			func(w *trellisv1.Worker) { w.Principal = nil },
		} {
			other := proto.CloneOf(own)
			other.State, other.Slots = state, 9
			change(other)
			if state == lifecycle.WorkerLost {
				continue
			}
			err := store.SetWorker(uint64(2+index), at(2), trajectory.LatestRules, other)
			if !errors.Is(err, ErrNotOwner) {
				t.Errorf("%v as %v: %v", state, other, err)
			}
		}
		same := proto.CloneOf(own)
		same.State = state
		ok(t, store.SetWorker(uint64(2+index), at(2), trajectory.LatestRules, same))
	}
	worker, err := store.Snapshot().Worker(nil, "w")
	ok(t, err)
	if worker.Slots != 1 || string(worker.Key) != "own" || worker.Principal.GetName() != "farm" {
		t.Errorf("the worker is %v", worker)
	}
}

// Workers are found by their labels and by the study that they are there for alone.
func TestFreeWorkersByLabels(t *testing.T) {
	store, index := newStore(t), uint64(0)
	set := func(name string, labels map[string]string, study string, state trellisv1.WorkerState) {
		index++
		ok(t, store.SetWorker(index, at(index), trajectory.LatestRules, &trellisv1.Worker{
			Name: name, State: state, Slots: 1, Labels: labels, Study: study,
		}))
	}
	a100, zone := map[string]string{"gpu": "a100"}, map[string]string{"gpu": "a100", "zone": "b"}
	for _, name := range []string{"p2", "p1"} {
		set(name, nil, "", lifecycle.WorkerReady)
	}
	set("g2", a100, "", lifecycle.WorkerReady)
	set("g1", a100, "", lifecycle.WorkerReady)
	set("z", zone, "", lifecycle.WorkerReady)
	set("own", a100, "s", lifecycle.WorkerReady)
	set("away", map[string]string{"gone": "yes"}, "", lifecycle.WorkerDraining)
	// A worker without a free slot comes after those of its kind that have one.
	run, trials := testRun("a", 16, 0, 2)
	index++
	ok(t, store.CreateListed(index, at(index), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	set("busy", a100, "", lifecycle.WorkerReady)
	index++
	grant1(t, store, index, "s", "a", "busy")
	find := func(found []*trellisv1.Worker, err error) string {
		ok(t, err)
		var names []string
		for _, worker := range found {
			names = append(names, worker.Name)
		}
		return strings.Join(names, " ")
	}
	snapshot := store.Snapshot()
	for got, want := range map[string]string{
		find(snapshot.FreeWorkersOf("")):                                            "g1 g2 p1 p2 z",
		"own: " + find(snapshot.FreeWorkersOf("s")):                                 "own: own",
		"none: " + find(snapshot.FreeWorkersOf("t")):                                "none: ",
		"a100: " + find(snapshot.FreeWorkersWith(a100)):                             "a100: g1 g2 z",
		"zone: " + find(snapshot.FreeWorkersWith(zone)):                             "zone: z",
		"gone: " + find(snapshot.FreeWorkersWith(map[string]string{"gone": "yes"})): "gone: ",
	} {
		if got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	owners, err := snapshot.OwnersOfWorkers()
	ok(t, err)
	if !slices.Equal(owners, []string{"s"}) {
		t.Errorf("workers are there for %q alone", owners)
	}
	// What a worker was started with is what counts when it comes again.
	set("g1", nil, "", lifecycle.WorkerReady)
	if got := find(store.Snapshot().FreeWorkersWith(a100)); got != "g2 z" {
		t.Errorf("found %q afterwards", got)
	}
}

// A study whose runs no worker has the memory for is told what the largest has of those that it may use.
func TestAwaitedMemory(t *testing.T) {
	const giga = 1 << 30
	worker := func(memory uint64, study string, labels map[string]string) *trellisv1.Worker {
		return &trellisv1.Worker{Study: study, Labels: labels, Capacity: &trellisv1.Capacity{Memory: memory * giga}}
	}
	one := map[string]string{"a": "1"}
	for name, test := range map[string]struct {
		workers []*trellisv1.Worker
		asked   map[string]string
		// largest is in GiB, and -1 if the study waits for no memory.
		largest int
	}{
		"no worker":               {nil, nil, -1},
		"the largest":             {[]*trellisv1.Worker{worker(2, "", nil), worker(3, "", nil), worker(1, "", nil)}, nil, 3},
		"one is large enough":     {[]*trellisv1.Worker{worker(2, "", nil), worker(5, "", nil)}, nil, -1},
		"those with its labels":   {[]*trellisv1.Worker{worker(6, "", nil), worker(1, "", one)}, one, 1},
		"none with its labels":    {[]*trellisv1.Worker{worker(1, "", nil)}, one, -1},
		"not that of another":     {[]*trellisv1.Worker{worker(6, "t", nil), worker(2, "s", nil)}, nil, 2},
		"its own with no labels":  {[]*trellisv1.Worker{worker(4, "s", nil), worker(1, "", one)}, one, 1},
		"its own with its labels": {[]*trellisv1.Worker{worker(4, "s", one), worker(1, "", one)}, one, 4},
	} {
		store := newStore(t)
		for i, worker := range test.workers {
			worker.Name, worker.State, worker.Slots = fmt.Sprint("w", i), lifecycle.WorkerReady, 1
			ok(t, store.SetWorker(uint64(i+1), at(uint64(i+1)), trajectory.LatestRules, worker))
		}
		why, err := store.Snapshot().AwaitedWorker(&trellisv1.Study{
			Spec: &trellisv1.StudySpec{Name: "s", Workers: test.asked}, Network: &trellisv1.ModelSize{Memory: 5 * giga},
		})
		ok(t, err)
		memory, largest := uint64(5*giga), uint64(test.largest)*giga
		if test.largest < 0 {
			memory, largest = 0, 0
		}
		if why.GetMemory() != memory || why.GetLargestMemory() != largest {
			t.Errorf("%s: it waits for %v", name, why)
		}
	}
}

// What a study waits for is the same whether one looks at all workers or only at those of its labels.
func TestAwaitedWorker(t *testing.T) {
	labels := []map[string]string{nil, {"a": "1"}, {"a": "1", "b": "1"}, {"a": "2"}, {"b": "1"}}
	for mask := range 1 << len(labels) {
		for _, owner := range []string{"", "s", "t"} {
			store, index := newStore(t), uint64(0)
			for i, its := range labels {
				if mask>>i&1 == 0 {
					continue
				}
				index++
				ok(t, store.SetWorker(index, at(index), trajectory.LatestRules, &trellisv1.Worker{
					Name: fmt.Sprint("w", i), State: lifecycle.WorkerReady, Slots: 1, Labels: its, Study: owner,
					Capacity: &trellisv1.Capacity{Programs: i%2 == 0, Cpus: float64(i)},
				}))
			}
			snapshot := store.Snapshot()
			ready, err := snapshot.ReadyWorkers()
			ok(t, err)
			for _, asked := range labels {
				for _, spec := range []*trellisv1.StudySpec{
					{Name: "s", Workers: asked},
					{Name: "s", Workers: asked, Program: &trellisv1.Program{}, Resources: &trellisv1.Resources{Cpus: 2}},
				} {
					got, err := snapshot.AwaitedWorker(&trellisv1.Study{Spec: spec})
					ok(t, err)
					if want := resources.Missing(resources.Of(&trellisv1.Study{Spec: spec}), slices.Values(ready)); got.GetReason() != want {
						t.Errorf("workers %b of %q, spec %v: waits for %v, want %v", mask, owner, spec, got, want)
					}
				}
			}
		}
	}
}
