package coordinator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// eventWatch is a watch of events.
type eventWatch struct {
	*harness
	stream trellisv1.AccessService_WatchEventsClient
}

// watchEvents begins a watch after an event, or with what happens from now on.
func (h *harness) watchEvents(since *uint64) eventWatch {
	h.Helper()
	stream, err := trellisv1.NewAccessServiceClient(h.conn).WatchEvents(h.Context(),
		&trellisv1.WatchEventsRequest{SinceNumber: since})
	if err != nil {
		h.Fatal(err)
	}
	return eventWatch{h, stream}
}

// next checks the next response: its events, each as its number and its subject.
func (w eventWatch) next(number uint64, events ...string) {
	w.Helper()
	response, err := w.stream.Recv()
	if err != nil {
		w.Fatal(err)
	}
	var got []string
	for _, event := range response.GetEvents() {
		got = append(got, fmt.Sprint(event.GetNumber(), event.GetSubject()))
	}
	if !slices.Equal(got, events) || response.GetNumber() != number || response.GetMissed() != 0 {
		w.Errorf("got %v up to %d, %d missed, want %v up to %d", got, response.GetNumber(), response.GetMissed(), events, number)
	}
}

// A watch of events has what happens from its beginning on, or what happened after an event that it names, and ends with the
// coordinator. Events that come together are sent together.
func TestWatchedEvents(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		create := func(name string) { h.create(syntheticSpec(name, []uint32{4}, []uint32{3})) }
		create("a")
		latest := h.watchEvents(nil)
		latest.next(1)
		create("b")
		latest.next(2, "2b")
		create("c")
		create("d")
		latest.next(4, "3c", "4d")

		all, later, other := h.watchEvents(new(uint64(0))), h.watchEvents(new(uint64(3))), h.watchEvents(new(uint64(99)))
		all.next(4, "1a", "2b", "3c", "4d")
		later.next(4, "4d")
		// It has seen events of other data.
		other.next(4, "1a", "2b", "3c", "4d")

		time.Sleep(time.Hour)
		create("e")
		for _, watch := range []eventWatch{latest, all, later, other} {
			watch.next(5, "5e")
		}
		go h.stop()
		for _, watch := range []eventWatch{latest, all} {
			if _, err := watch.stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("the watch ended with %v, want Unavailable", err)
			}
		}
	})
}
