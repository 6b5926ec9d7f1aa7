package results

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/hook"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

const (
	hookWaiting   = trellisv1.DeliveryState_DELIVERY_STATE_WAITING
	hookDelivered = trellisv1.DeliveryState_DELIVERY_STATE_DELIVERED
	hookGivenUp   = trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP
)

func newHook(name, study string, events ...string) *trellisv1.Hook {
	if events == nil {
		events = hook.Types
	}
	return &trellisv1.Hook{Name: name, Url: "https://example.com/" + name, Study: study, Events: events, Secret: []byte("key")}
}

// attemptOf is an attempt at a hook's delivery.
func attemptOf(h *trellisv1.Hook, number uint64, state trellisv1.DeliveryState, status uint32) *trellisv1.DeliveryAttempt {
	return &trellisv1.DeliveryAttempt{
		Hook: h.Name, CreateIndex: h.CreateIndex, Number: number, State: state, Status: status, Time: at(1000),
	}
}

// told lists what a hook has been told of, or is to be, newest first.
func told(t testing.TB, store *Store, name string) (text []string, deliveries []*trellisv1.Delivery) {
	t.Helper()
	request := &trellisv1.ListDeliveriesRequest{Hook: name, PageSize: 60}
	for {
		page, err := store.Snapshot().ListDeliveries(request)
		ok(t, err)
		for _, its := range page.Deliveries {
			data := its.Event.Data
			subject := data.GetStudy().GetName() + data.GetRun().GetId() + data.GetWorker().GetName()
			text = append(text, fmt.Sprintf("%s %s", its.Event.Type, subject))
		}
		deliveries = append(deliveries, page.Deliveries...)
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			return text, deliveries
		}
	}
}

// storeHook creates a hook and returns it as it is stored.
func storeHook(t testing.TB, store *Store, index uint64, h *trellisv1.Hook) *trellisv1.Hook {
	t.Helper()
	ok(t, store.CreateHook(index, at(index), h))
	stored, err := store.Snapshot().Hook(h.Name)
	ok(t, err)
	return stored
}

// startTwoRuns creates a study of two runs on a worker, and returns their attempts.
func startTwoRuns(t testing.TB, store *Store, index uint64, study, worker string) (a, b uint64) {
	t.Helper()
	one, trials := testRun("a", 4, 0, 2)
	two, others := testRun("b", 8, 1, 2)
	ok(t, store.CreateListed(index, at(index), &trellisv1.Study{Name: study, Spec: modelSpec()},
		[]*trellisv1.Run{one, two}, slices.Concat(trials, others)))
	ok(t, store.SetWorker(index+1, at(index+1), trajectory.LatestRules,
		&trellisv1.Worker{Name: worker, State: lifecycle.WorkerReady, Slots: 2, Key: []byte("secret"), Machine: "m"}))
	return grant1(t, store, index+2, study, "a", worker), grant1(t, store, index+3, study, "b", worker)
}

// A run that fails for good, a worker that is lost and a study that ends are told once, to the hooks that want them, as they
// were then.
func TestHooksAreTold(t *testing.T) {
	store := newStore(t)
	storeHook(t, store, 1, newHook("all", ""))
	storeHook(t, store, 2, newHook("mine", "mnist-*"))
	storeHook(t, store, 3, newHook("ends", "", hook.StudyEnded))
	a, b := startTwoRuns(t, store, 10, "mnist-1", "w")
	record(t, store, 20, failureEntry("mnist-1", "a", a, trellisv1.FailureClass_FAILURE_CLASS_INPUT, "no such layer"))
	record(t, store, 21, columnEntry("mnist-1", "b", b, 1, []float64{1, 1}, []float64{0.5, 0.25}, map[uint32]float64{2: 0.5}),
		successEntry("mnist-1", "b", b, 2))
	ok(t, store.SetWorker(22, at(22), trajectory.LatestRules, &trellisv1.Worker{Name: "w", State: lifecycle.WorkerLost}))
	// Saying it again changes nothing.
	ok(t, store.SetWorker(23, at(23), trajectory.LatestRules, &trellisv1.Worker{Name: "w", State: lifecycle.WorkerLost}))
	one, trials := testRun("c", 4, 0, 2)
	ok(t, store.CreateListed(30, at(30), &trellisv1.Study{Name: "other"}, []*trellisv1.Run{one}, trials))
	ok(t, store.SetStudyState(40, at(40), "other", lifecycle.StudyCanceled))

	all := []string{"study.ended other", "worker.lost w", "study.ended mnist-1", "run.failed a"}
	for name, want := range map[string][]string{
		"all": all, "mine": all[1:], "ends": {all[0], all[2]},
	} {
		text, deliveries := told(t, store, name)
		if !slices.Equal(text, want) {
			t.Errorf("%s is told of %q, want %q", name, text, want)
		}
		for i, its := range deliveries {
			if its.State != hookWaiting || its.Number != uint64(len(want)-i) || its.Event.Id == "" {
				t.Errorf("%s: %v", name, its)
			}
		}
	}
	_, deliveries := told(t, store, "all")
	_, others := told(t, store, "mine")
	if deliveries[1].Event.Id != others[0].Event.Id || deliveries[0].Event.Id == deliveries[1].Event.Id {
		t.Error("an event has one id, and no other has it")
	}
	failed := deliveries[3].Event
	if run := failed.Data.Run; run.Error == "" || run.Parameters == nil || len(run.Failures) != 1 ||
		run.Failures[0].Message != "no such layer" || run.State != lifecycle.RunFailed {
		t.Errorf("the run: %v", run)
	}
	equal(t, "when it failed", failed.Timestamp, at(20))
	ended := deliveries[2].Event.Data
	if ended.Study.State != lifecycle.StudyCompleted || ended.Study.Progress.TrialsFailed != 1 || ended.Study.Spec != nil ||
		ended.Best.GetObjective() != 0.25 || ended.Best.GetIndex() != 1 {
		t.Errorf("the study: %v", ended)
	}
	if worker := deliveries[1].Event.Data.Worker; worker.Key != nil || worker.Machine != "m" ||
		worker.State != lifecycle.WorkerLost {
		t.Errorf("the worker: %v", worker)
	}
	if canceled := deliveries[0].Event.Data; canceled.Best != nil || canceled.Study.State != lifecycle.StudyCanceled {
		t.Errorf("the other study: %v", canceled)
	}
}

// A study whose trials have all diverged has no best one, and says how many these are.
func TestHooksAreToldOfDivergedTrials(t *testing.T) {
	store := newStore(t)
	storeHook(t, store, 1, newHook("h", ""))
	a, b := startTwoRuns(t, store, 10, "s", "w")
	nan := []float64{math.Inf(1), math.Inf(1)}
	for i, run := range []string{"a", "b"} {
		record(t, store, uint64(20+i), columnEntry("s", run, []uint64{a, b}[i], 1, nan, nan, map[uint32]float64{2: math.Inf(1)}),
			successEntry("s", run, []uint64{a, b}[i], 2))
	}
	_, deliveries := told(t, store, "h")
	if its := deliveries[0].Event.Data; its.Best != nil || its.Study.Progress.TrialsDiverged != 2 ||
		its.Study.Progress.TrialsSucceeded != 0 {
		t.Errorf("told of %v", its)
	}
}

// What was delivered is recorded once, in order, and of the right hook. The last hundred are remembered.
func TestDeliveriesAreRecorded(t *testing.T) {
	store := newStore(t)
	h := storeHook(t, store, 1, newHook("h", ""))
	index := uint64(10)
	next := func() uint64 { index++; return index }
	lose := func(times int) {
		for range times {
			for _, state := range []trellisv1.WorkerState{lifecycle.WorkerReady, lifecycle.WorkerLost} {
				ok(t, store.SetWorker(next(), at(index), trajectory.LatestRules,
					&trellisv1.Worker{Name: "w", State: state, Slots: 1}))
			}
		}
	}
	say := func(attempts ...*trellisv1.DeliveryAttempt) {
		ok(t, store.RecordDeliveries(next(), at(index), attempts))
	}
	lose(3)
	retry := attemptOf(h, 1, hookWaiting, 500)
	retry.RetryTime, retry.Error = at(2000), "why"
	say(retry, attemptOf(h, 2, hookDelivered, 200)) // The second is not next.
	waiting, err := store.Snapshot().NextDelivery(must(store.Snapshot().Hook("h")))
	ok(t, err)
	equal(t, "what waits", waiting, &trellisv1.Delivery{
		Hook: "h", Number: 1, Event: waiting.Event, State: hookWaiting, Attempts: 1, AttemptTime: at(1000), Status: 500,
		Error: "why", RetryTime: at(2000),
	})
	before := mustHash(t, store.Snapshot())
	another := attemptOf(h, 1, hookDelivered, 200)
	another.CreateIndex++
	unknown := attemptOf(h, 1, hookDelivered, 200)
	unknown.Hook = "unknown"
	say(another, unknown, attemptOf(h, 0, hookDelivered, 200), attemptOf(h, 4, hookDelivered, 200))
	if mustHash(t, store.Snapshot()) != before {
		t.Error("what is about another delivery has changed something")
	}
	delivered := attemptOf(h, 1, hookDelivered, 204)
	say(delivered, delivered, attemptOf(h, 2, hookGivenUp, 0))
	_, deliveries := told(t, store, "h")
	if d := deliveries[2]; d.State != hookDelivered || d.Attempts != 2 || d.Status != 204 || d.RetryTime != nil || d.Error != "" {
		t.Errorf("the first: %v", d)
	}
	if stored := must(store.Snapshot().Hook("h")); stored.Created != 3 || stored.Done != 2 {
		t.Errorf("the hook: %v", stored)
	}

	lose(hook.MaxDone)
	for number := uint64(3); number <= hook.MaxDone+3; number++ {
		say(attemptOf(h, number, hookDelivered, 200))
	}
	if _, deliveries = told(t, store, "h"); len(deliveries) != hook.MaxDone || deliveries[0].Number != hook.MaxDone+3 {
		t.Errorf("%d are remembered, up to %d", len(deliveries), deliveries[0].Number)
	}
	if next, err := store.Snapshot().NextDelivery(must(store.Snapshot().Hook("h"))); next != nil || err != nil {
		t.Errorf("next is %v, %v", next, err)
	}
	restored := newStore(t)
	ok(t, restored.Restore(bytes.NewReader(written(t, store))))
	if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
		t.Error("the restored store is another")
	}
	// A receiver that is gone is told of nothing more, and what waits is given up.
	lose(2)
	gone := attemptOf(h, hook.MaxDone+4, hookGivenUp, 410)
	gone.Gone = true
	say(gone)
	lose(1)
	_, deliveries = told(t, store, "h")
	if d := deliveries[0]; d.State != hookGivenUp || d.Number != hook.MaxDone+5 || d.Attempts != 0 {
		t.Errorf("the last one: %v", d)
	}
	equal(t, "when it was gone", must(store.Snapshot().Hook("h")).DisableTime, at(index-2))
	ok(t, store.DeleteHook(next(), "h"))
	if _, err := store.Snapshot().ListDeliveries(&trellisv1.ListDeliveriesRequest{Hook: "h"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("deliveries of a deleted hook: %v", err)
	}
	if bytes.Contains(written(t, store), []byte("worker.lost")) {
		t.Error("deliveries of the deleted hook are left")
	}
}

// What waits for a receiver is bounded: the oldest are dropped, and every replica drops the same.
func TestDeliveriesAreBounded(t *testing.T) {
	store := newStore(t)
	h := storeHook(t, store, 1, newHook("h", ""))
	const many = hook.MaxWaiting + 5
	index := uint64(10)
	for range many {
		for _, state := range []trellisv1.WorkerState{lifecycle.WorkerReady, lifecycle.WorkerLost} {
			index++
			ok(t, store.SetWorker(index, at(index), trajectory.LatestRules,
				&trellisv1.Worker{Name: "w", State: state, Slots: 1}))
		}
	}
	_, deliveries := told(t, store, "h")
	dropped := 0
	for _, its := range deliveries {
		if its.State == trellisv1.DeliveryState_DELIVERY_STATE_DROPPED {
			dropped++
		}
	}
	if len(deliveries) != many || dropped != 5 || deliveries[many-1].Number != 1 || deliveries[5].State != hookWaiting {
		t.Errorf("%d deliveries, of which %d were dropped", len(deliveries), dropped)
	}
	// The leader may have delivered it meanwhile.
	before := mustHash(t, store.Snapshot())
	ok(t, store.RecordDeliveries(index+1, at(index+1), []*trellisv1.DeliveryAttempt{attemptOf(h, 5, hookDelivered, 200)}))
	if mustHash(t, store.Snapshot()) != before {
		t.Error("a dropped one was delivered")
	}
}

func TestHooksThatAreRefused(t *testing.T) {
	store := newStore(t)
	storeHook(t, store, 1, newHook("h", ""))
	for want, its := range map[error][]*trellisv1.Hook{
		ErrExists:  {newHook("h", "")},
		ErrInvalid: {newHook("", ""), newHook("i", "["), newHook("i", "", "study.began"), newHook("i", "", []string{}...)},
	} {
		for _, one := range its {
			if err := store.CreateHook(2, at(2), one); !errors.Is(err, want) {
				t.Errorf("%v: %v, want %v", one, err, want)
			}
		}
	}
	for i := range hook.Max - 1 {
		storeHook(t, store, uint64(3+i), newHook(fmt.Sprint("h", i), ""))
	}
	if err := store.CreateHook(100, at(100), newHook("more", "")); !errors.Is(err, ErrIllegalMove) {
		t.Errorf("one more: %v", err)
	}
	if err := store.DeleteHook(101, "more"); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete none: %v", err)
	}
}

// Hooks and deliveries that contradict each other are refused: the leader would look for one that is not there.
func TestRestoreRefusesForgedDeliveries(t *testing.T) {
	its := newHook("h", "")
	its.Created, its.Done = 3, 1
	delivery := func(hook string, number uint64) *trellisv1.Delivery {
		return &trellisv1.Delivery{Hook: hook, Number: number, Event: &trellisv1.HookEvent{Id: "e"}}
	}
	ahead := newHook("i", "")
	ahead.Done = 1
	for want, payloads := range map[string][][]byte{
		"":             {payload(tableHooks, its), payload(tableDeliveries, delivery("h", 1), delivery("h", 2), delivery("h", 3)), endMark(4)},
		"out of order": {payload(tableHooks, its), payload(tableDeliveries, delivery("h", 2), delivery("h", 3)), endMark(3)},
		"has 2":        {payload(tableHooks, its), payload(tableDeliveries, delivery("h", 1), delivery("h", 2)), endMark(3)},
		`hook "none"`:  {payload(tableDeliveries, delivery("none", 1)), endMark(1)},
		"1 are done":   {payload(tableHooks, ahead), endMark(1)},
		"needs a type": {payload(tableHooks, &trellisv1.Hook{Name: "h"}), endMark(1)},
	} {
		err := newStore(t).Restore(bytes.NewReader(forged(payloads...)))
		if want == "" {
			ok(t, err)
		} else if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// Without hooks, nothing is kept of what they would be told.
func TestWithoutHooks(t *testing.T) {
	with, without := newStore(t), newStore(t)
	storeHook(t, with, 1, newHook("h", ""))
	for _, store := range []*Store{with, without} {
		startTwoRuns(t, store, 10, "s", "w")
		ok(t, store.SetStudyState(20, at(20), "s", lifecycle.StudyCanceled))
	}
	ok(t, with.DeleteHook(21, "h"))
	if mustHash(t, with.Snapshot()) != mustHash(t, without.Snapshot()) {
		t.Error("a deleted hook has left something")
	}
}

func must[Message proto.Message](message Message, err error) Message {
	if err != nil {
		panic(err)
	}
	return message
}
