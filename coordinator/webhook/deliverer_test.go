package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/hook"
	"trellis/results/trajectory"
)

// bench is a store, its log, and receivers, in virtual time.
type bench struct {
	*testing.T
	store *results.Store

	mu    sync.Mutex
	index uint64
	// fails is how many proposals fail from now on, and records how many of the deliverer's have been applied.
	fails, records int
	// receive says what a receiver answers. sent lists what came: the hook, the event and the time since the start.
	receive func(ctx context.Context, hook string, event *trellisv1.HookEvent) (status int)
	sent    []string
	ids     []string
	began   time.Time
	// text is why a receiver has not answered.
	text string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	store, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		T: t, store: store, began: time.Now(), text: "no answer",
		receive: func(context.Context, string, *trellisv1.HookEvent) int { return 200 },
	}
}

// do applies a change.
func (b *bench) do(change func(index uint64, now *timestamppb.Timestamp) error) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.index++
	if err := change(b.index, timestamppb.Now()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) create(name string) {
	b.Helper()
	b.do(func(index uint64, now *timestamppb.Timestamp) error {
		return b.store.CreateHook(index, now, &trellisv1.Hook{Name: name, Url: "https://" + name, Events: hook.Types})
	})
}

// lose makes an event: a worker is lost.
func (b *bench) lose(worker string) {
	b.Helper()
	for _, state := range []trellisv1.WorkerState{trellisv1.WorkerState_WORKER_STATE_READY, trellisv1.WorkerState_WORKER_STATE_LOST} {
		b.do(func(index uint64, now *timestamppb.Timestamp) error {
			return b.store.SetWorker(index, now, trajectory.LatestRules, &trellisv1.Worker{Name: worker, State: state, Slots: 1})
		})
	}
}

var errNoMajority = errors.New("no majority")

// ProposePatiently applies the deliverer's command.
func (b *bench) ProposePatiently(ctx context.Context, command *trellisv1.Command) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails > 0 {
		b.fails--
		return nil, errNoMajority
	}
	if _, err := proto.Marshal(command); err != nil {
		return nil, err
	}
	b.index++
	b.records++
	return nil, b.store.RecordDeliveries(b.index, timestamppb.Now(), command.GetRecordDeliveries().GetAttempts())
}

// Send is a receiver.
func (b *bench) Send(ctx context.Context, h *trellisv1.Hook, event *trellisv1.HookEvent) Answer {
	answer := Answer{Time: time.Now()}
	b.mu.Lock()
	b.sent = append(b.sent, h.GetName()+" "+event.GetData().GetWorker().GetName())
	b.ids = append(b.ids, event.GetId())
	receive := b.receive
	b.mu.Unlock()
	if answer.Status = receive(ctx, h.GetName(), event); answer.Status == 0 {
		answer.Error = b.text
	}
	return answer
}

// lead runs a deliverer, and returns what ends its term.
func (b *bench) lead() (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	d := NewDeliverer(b.store, b, b, slog.New(slog.DiscardHandler), nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// after waits for so long, and says what was sent since the last call.
func (b *bench) after(wait time.Duration) string {
	time.Sleep(wait)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := strings.Join(b.sent, ", ")
	b.sent = nil
	return sent
}

func (b *bench) want(wait time.Duration, want string) {
	b.Helper()
	if got := b.after(wait); got != want {
		b.Errorf("after %v: sent %q, want %q", time.Since(b.began), got, want)
	}
}

// state lists what has become of a hook's deliveries, the earliest first.
func (b *bench) state(name string) string {
	b.Helper()
	page, err := b.store.Snapshot().ListDeliveries(&trellisv1.ListDeliveriesRequest{Hook: name, PageSize: 1000})
	if err != nil {
		b.Fatal(err)
	}
	var text []string
	for _, d := range slices.Backward(page.GetDeliveries()) {
		state, _ := strings.CutPrefix(d.GetState().String(), "DELIVERY_STATE_")
		text = append(text, fmt.Sprintf("%s %d %d", strings.ToLower(state), d.GetAttempts(), d.GetStatus()))
	}
	return strings.Join(text, ", ")
}

func (b *bench) wantState(name, want string) {
	b.Helper()
	if got := b.state(name); got != want {
		b.Errorf("%s: %s, want %s", name, got, want)
	}
}

// answers makes the receivers answer with these, one after the other, and then with 200.
func (b *bench) answers(statuses ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receive = func(context.Context, string, *trellisv1.HookEvent) int {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(statuses) == 0 {
			return 200
		}
		next := statuses[0]
		statuses = statuses[1:]
		return next
	}
}

// Events are sent at once, in their order, and recorded together.
func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lead()()
		b.want(24*time.Hour, "")
		b.create("h")
		b.lose("a")
		b.want(0, "h a")
		for _, worker := range []string{"b", "c", "d"} {
			b.lose(worker)
		}
		b.want(0, "h b, h c, h d")
		b.wantState("h", "delivered 1 200, delivered 1 200, delivered 1 200, delivered 1 200")
		records := b.records
		b.want(24*time.Hour, "")
		if b.records != records {
			t.Error("something is recorded while nothing happens")
		}
	})
}

// What is not accepted is tried again, later and later, and what follows waits.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lead()()
		b.create("h")
		b.answers(500, 0, 302)
		b.lose("a")
		b.want(0, "h a")
		b.wantState("h", "waiting 1 500")
		b.lose("b")
		b.want(3900*time.Millisecond, "")
		b.want(2200*time.Millisecond, "h a") // 4 to 6 s after the first.
		b.wantState("h", "waiting 2 0, waiting 0 0")
		b.want(5800*time.Millisecond, "")
		b.want(6200*time.Millisecond, "h a") // 8 to 12 s after the second.
		b.wantState("h", "waiting 3 302, waiting 0 0")
		b.want(25*time.Second, "h a, h b")
		b.wantState("h", "delivered 4 200, delivered 1 200")
		slices.Sort(b.ids)
		if ids := slices.Compact(b.ids); len(ids) != 2 {
			t.Errorf("the ids of two events are %v", ids)
		}
	})
}

// After a day, an event is given up and the next one is tried.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lead()()
		b.create("h")
		b.mu.Lock()
		b.receive = func(context.Context, string, *trellisv1.HookEvent) int { return 0 }
		b.mu.Unlock()
		b.lose("a")
		b.lose("b")
		b.after(22*time.Hour + 30*time.Minute)
		if state := b.state("h"); !strings.HasSuffix(state, " 0, waiting 0 0") {
			t.Errorf("before the last hour and its jitter: %s", state)
		}
		b.lose("c")
		// The first is given up when another pause would be too long, and the second is tried in what is left of the day.
		if attempts := strings.Count(b.after(105*time.Minute), "h b"); attempts < 1 || attempts > 12 {
			t.Errorf("the second was tried %d times", attempts)
		}
		page, err := b.store.Snapshot().ListDeliveries(&trellisv1.ListDeliveriesRequest{Hook: "h"})
		if err != nil {
			t.Fatal(err)
		}
		a := page.GetDeliveries()[2]
		if a.GetState() != trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP || a.GetAttempts() < 20 || a.GetAttempts() > 50 {
			t.Errorf("%v", a)
		}
		b.answers()
		b.want(2*time.Hour, "h c")
	})
}

// A receiver that is gone for good is told of nothing more.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create("h")
		b.lose("a")
		b.lose("b")
		b.answers(410)
		defer b.lead()()
		b.want(0, "h a")
		b.want(time.Hour, "")
		b.lose("c")
		b.want(24*time.Hour, "")
		b.wantState("h", "given_up 1 410, given_up 0 0")
	})
}

// A receiver that stalls holds up no other.
func TestOneStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lead()()
		b.create("slow")
		b.create("fast")
		b.mu.Lock()
		b.receive = func(_ context.Context, hook string, _ *trellisv1.HookEvent) int {
			if hook == "slow" {
				time.Sleep(10 * time.Second)
				return 0
			}
			return 200
		}
		b.mu.Unlock()
		b.lose("a")
		b.lose("b")
		if got := b.after(time.Second); strings.Count(got, "slow") != 1 || !strings.Contains(got, "fast a, fast b") &&
			!strings.Contains(got, "fast a, slow a, fast b") {
			t.Errorf("sent %q", got)
		}
		b.wantState("fast", "delivered 1 200, delivered 1 200")
		b.wantState("slow", "waiting 0 0, waiting 0 0")
		if time.Sleep(10 * time.Second); !strings.HasPrefix(b.state("slow"), "waiting 1 0") {
			t.Errorf("slow: %s", b.state("slow"))
		}
	})
}

// A new leader begins where the former one has recorded its last attempt. What that one had sent since comes again, with the
// same id, and nothing is left out or overtakes another.
func TestLeadersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create("h")
		b.lose("a")
		b.lose("b")
		b.lose("c")
		b.mu.Lock()
		b.receive = func(ctx context.Context, _ string, event *trellisv1.HookEvent) int {
			if event.GetData().GetWorker().GetName() == "b" {
				<-ctx.Done() // The leader's term ends while the receiver thinks.
				return 0
			}
			return 200
		}
		b.mu.Unlock()
		stop := b.lead()
		b.want(time.Minute, "h a, h b")
		stop()
		b.wantState("h", "waiting 0 0, waiting 0 0, waiting 0 0")
		first := slices.Clone(b.ids)
		b.answers(200, 503)
		stop = b.lead()
		b.want(0, "h a, h b")
		b.wantState("h", "delivered 1 200, waiting 1 503, waiting 0 0")
		stop()
		if !slices.Equal(b.ids[2:], first) {
			t.Errorf("the ids are %v, and were %v", b.ids[2:], first)
		}
		// The pause is not cut short.
		defer b.lead()()
		b.want(3*time.Second, "")
		b.want(4*time.Second, "h b, h c")
		b.wantState("h", "delivered 1 200, delivered 2 200, delivered 1 200")
	})
}

// What the log does not take is sent again.
func TestTheLogFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lead()()
		b.create("h")
		b.mu.Lock()
		b.fails = 2
		b.mu.Unlock()
		b.lose("a")
		b.want(time.Minute, "h a, h a, h a")
		b.wantState("h", "delivered 1 200")
	})
}

// What the log does not take of one hook holds up no other: neither what is recorded with it nor what is sent then.
func TestTheLogRefusesOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.text = "\xe6" // What is no text is not encoded.
		b.create("bad")
		b.create("good")
		b.receive = func(_ context.Context, hook string, _ *trellisv1.HookEvent) int {
			return map[string]int{"bad": 0, "good": 200}[hook]
		}
		b.lose("a")
		d := NewDeliverer(b.store, b, b, slog.New(slog.DiscardHandler), nil)
		hooks, err := b.store.Snapshot().Hooks(nil)
		if err != nil || len(hooks) != 2 {
			t.Fatal(hooks, err)
		}
		var ended []pass
		for _, h := range hooks {
			ended = append(ended, pass{h, d.pass(t.Context(), h)})
		}
		if failed := d.record(t.Context(), ended); len(failed) != 1 || failed[0].hook.GetName() != "bad" {
			t.Errorf("%v has failed", failed)
		}
		b.wantState("good", "delivered 1 200")
		b.wantState("bad", "waiting 0 0")
		b.want(0, "bad a, good a")
		defer b.lead()()
		b.want(100*time.Millisecond, "bad a")
		b.lose("b")
		b.want(100*time.Millisecond, "good b")
		b.wantState("good", "delivered 1 200, delivered 1 200")
		b.want(700*time.Millisecond, "")
		b.want(200*time.Millisecond, "bad a")
	})
}

// A hook that is deleted while an event is sent is told of nothing more, and one that takes its name gets its own events
// only.
func TestAHookIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.lead()()
		b.create("h")
		b.mu.Lock()
		b.receive = func(context.Context, string, *trellisv1.HookEvent) int {
			time.Sleep(5 * time.Second)
			return 200
		}
		b.mu.Unlock()
		b.lose("a")
		b.lose("b")
		b.want(time.Second, "h a")
		b.do(func(index uint64, _ *timestamppb.Timestamp) error { return b.store.DeleteHook(index, "h") })
		b.create("h")
		b.lose("c")
		b.want(time.Minute, "h c")
		b.wantState("h", "delivered 1 200")
	})
}

// A backup replaces everything: the loop looks at what is there then.
func TestEverythingIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := newBench(t)
		other.create("h")
		other.lose("a")
		var backup strings.Builder
		if _, err := other.store.Snapshot().WriteTo(&backup); err != nil {
			t.Fatal(err)
		}
		b := newBench(t)
		defer b.lead()()
		b.want(time.Hour, "")
		if err := b.store.Restore(strings.NewReader(backup.String())); err != nil {
			t.Fatal(err)
		}
		b.want(0, "h a")
	})
}

// Pauses grow to an hour, and are not all the same.
func TestPauses(t *testing.T) {
	for before, want := range map[uint32]time.Duration{0: 5 * time.Second, 3: 40 * time.Second, 9: 2560 * time.Second, 10: time.Hour, 1 << 30: time.Hour} {
		seen := map[time.Duration]bool{}
		for range 100 {
			pause := pauseAfter(before)
			if seen[pause] = true; pause < want*8/10 || pause > want*12/10 {
				t.Errorf("%v after %d attempts", pause, before)
			}
		}
		if len(seen) < 50 {
			t.Errorf("after %d attempts, pauses are among %d", before, len(seen))
		}
	}
}

// Both counters are there before the first attempt: alerts see it as an increase.
func TestAttemptsAreCountedFromZero(t *testing.T) {
	registry := prometheus.NewRegistry()
	NewDeliverer(nil, nil, nil, slog.New(slog.DiscardHandler), registry)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d metrics, error %v", len(families), err)
	}
	var accepted []string
	for _, one := range families[0].GetMetric() {
		if one.GetCounter().GetValue() != 0 {
			t.Errorf("it begins with %v", one)
		}
		accepted = append(accepted, one.GetLabel()[0].GetValue())
	}
	if slices.Sort(accepted); !slices.Equal(accepted, []string{"false", "true"}) {
		t.Errorf("accepted is %q", accepted)
	}
}
