package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/lead"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

// Above the limit of one caller its session that holds the most ends, and above that of all that of the caller that holds
// the most. What is given back makes room.
func TestTheSessionThatHoldsTheMostEnds(t *testing.T) {
	w := newWaiting(Limits{WaitingBytes: 16 << 20, WaitingBytesEach: 10 << 20})
	const reserved, each = 4 << 20, 8 << 20 // Of 10 MiB, 2 are for decoded requests.
	open := func(who string) *waitingStream {
		s := &waitingStream{waiting: w, who: who}
		s.ctx, s.end = context.WithCancelCause(t.Context())
		return s
	}
	a1, a2, b, c := open("a"), open("a"), open("b"), open("c")
	takes := func(s *waitingStream, bytes int64) {
		t.Helper()
		if err := w.take(s, bytes); err != nil {
			t.Errorf("%s takes %d: %v", s.who, bytes, err)
		}
	}
	takes(a1, each-10)
	takes(a2, 10)
	takes(a2, 1)
	var exceeded *quota.Exceeded
	if cause := context.Cause(a1.ctx); !errors.As(cause, &exceeded) || !exceeded.Each || exceeded.Held != 10<<20 ||
		exceeded.Limit.Each != 10<<20 {
		t.Errorf("the one that held the most of its caller: %v", cause)
	}
	takes(a2, each-11)
	takes(b, 12<<20-each)
	takes(c, 1)
	if cause := context.Cause(a2.ctx); !errors.As(cause, &exceeded) || exceeded.Each || exceeded.Held != 16<<20 {
		t.Errorf("the one that held the most of all: %v", cause)
	}
	if err := w.take(c, 16<<20); !errors.As(err, &exceeded) || !exceeded.Each {
		t.Errorf("one that holds the most itself: %v", err)
	}
	if err := context.Cause(b.ctx); err != nil {
		t.Errorf("one that held little has ended: %v", err)
	}
	for _, s := range []*waitingStream{a1, a2, b, c} {
		w.give(s)
		w.give(s)
	}
	if w.all != reserved || len(w.callers) != 0 {
		t.Errorf("%d bytes are held of %d callers after all were given back", w.all-reserved, len(w.callers))
	}
}

// Reports and outcomes take turns, whatever comes before them. What is too large is not kept.
func TestWhatWaitsIsKnownBeforeItIsDecoded(t *testing.T) {
	wire := func(request *trellisv1.SessionRequest) []byte {
		encoded, err := proto.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	beat := wire(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
		Heartbeat: &trellisv1.Heartbeat{Number: 7},
	}})
	outcome := wire(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{
		Outcome: &trellisv1.Outcome{Attempt: 1},
	}})
	reports := wire(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{},
	}})
	for name, c := range map[string]struct {
		wire []byte
		want bool
	}{
		"heartbeat": {beat, false}, "outcome": {outcome, true}, "reports": {reports, true},
		"reports behind a heartbeat": {append(beat, reports...), true}, "nothing": {nil, false},
		"damaged": {[]byte{0xff}, false}, "cut short": {beat[:1], false},
	} {
		if got := waits(c.wire); got != c.want {
			t.Errorf("%s waits: %t", name, got)
		}
	}
	large := &undecoded{}
	if large.receive(mem.BufferSlice{mem.SliceBuffer(make([]byte, trellisv1.MaxSessionRequest+1))}); large.wire != nil {
		t.Error("a request that is too large is kept")
	}
}

// requestsStream is a stream of encoded requests.
type requestsStream struct {
	grpc.ServerStream
	requests [][]byte
}

func (s *requestsStream) RecvMsg(message any) error {
	request := s.requests[0]
	s.requests = s.requests[1:]
	return newBoundedCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(request)}, message)
}

// A small request that does not wait is not counted. Others are, until the next one is received or the session has ended,
// even if that was while it was received.
func TestWhatASessionHoldsIsCounted(t *testing.T) {
	encode := func(request *trellisv1.SessionRequest) []byte {
		encoded, err := proto.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	small := encode(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
		Heartbeat: &trellisv1.Heartbeat{Number: 7},
	}})
	large := encode(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{
		Attempts: slices.Repeat([]*trellisv1.AttemptProgress{{Attempt: 1 << 40, Steps: 1 << 40}}, smallRequest),
	}}})
	reports := encode(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{},
	}})
	w := newWaiting(Limits{}.withDefaults())
	free := w.all
	ctx, cancel := context.WithCancelCause(t.Context())
	stream := &requestsStream{requests: [][]byte{small, large, small, reports, small, reports, reports}}
	s := &waitingStream{ServerStream: stream, ctx: ctx, end: cancel, reading: &lead.Reading{}, waiting: w, who: "a"}
	receive := func(name string, want int) {
		t.Helper()
		if err := s.RecvMsg(&trellisv1.SessionRequest{}); err != nil {
			t.Fatalf("receive %s: %v", name, err)
		}
		if got := w.all - free; got != int64(want) {
			t.Errorf("%d bytes are counted of %s, want %d", got, name, want)
		}
	}
	receive("a heartbeat", 0)
	receive("a large heartbeat", len(large)+requestOverhead)
	receive("a heartbeat after it", 0)
	receive("reports", len(reports)+requestOverhead)
	receive("a heartbeat after them", 0)
	s.close()
	for _, ended := range []bool{false, true} {
		if ended {
			// It would wait for its turn forever.
			for n := range w.turns.Running {
				release, err := w.turns.Take(t.Context(), fmt.Sprint("other-", n))
				if err != nil {
					t.Fatal(err)
				}
				defer release()
			}
			cancel(errors.New("ended"))
		}
		if err := s.RecvMsg(&trellisv1.SessionRequest{}); err == nil || w.all != free || len(w.callers) > 0 {
			t.Errorf("received %v after the session was closed; %d bytes are counted", err, w.all-free)
		}
	}
}
