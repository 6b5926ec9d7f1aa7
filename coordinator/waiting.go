package coordinator

import (
	"context"
	"math"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"trellis/coordinator/api"
	"trellis/coordinator/lead"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// streamWindow is how many bytes of a stream's next messages gRPC takes while nobody reads them. Without a fixed
	// window it would grow with the peer's speed, to 16 MiB. A message that is being read may be larger.
	streamWindow = 64 << 10
	// connectionWindow is how many bytes may be under way on a connection. They are not held: gRPC admits more as soon
	// as they arrive.
	connectionWindow = 4 << 20
	// decodedRequest is about what a request that a session may hold takes in memory once it is decoded: at most 1.5 MiB
	// of reports, see lead, and some more of what is around them.
	decodedRequest = 2 << 20
	// requestOverhead is what a waiting request takes besides its bytes.
	requestOverhead = 512
	// smallRequest is up to how many bytes a request that does not wait, such as a heartbeat, is not counted: it takes less
	// than its session, and all sessions would wait for each other to count it.
	smallRequest = 1 << 10
)

// waiting bounds what all sessions together hold of requests that have arrived and do not have room in the recorder's
// queue. A quarter of the limit is for requests that are decoded, the rest for those as they came over the network:
// reports are decoded only when their session's turn has come, which is when those before it are queued. The sessions of
// one caller take turns in their order, and callers take turns.
//
// Workers have at most 8 KiB of reports under way, so that 10,000 of them fit below the limit: they wait, and are told
// so. What exceeds it is not what workers send. Then, of the caller that holds the most, the session that holds the most
// ends.
type waiting struct {
	limit quota.Limit
	turns *quota.Turns

	mu sync.Mutex
	// all is what all sessions hold, with the room for decoded requests. eachMost is what one caller's may hold besides
	// its part of that room.
	all, eachMost int64
	callers       map[string]*waitingCaller
}

// waitingCaller has the sessions of one caller that hold something.
type waitingCaller struct {
	all  int64
	held map[*waitingStream]int64
}

func newWaiting(limits Limits) *waiting {
	decoded := max(1, limits.WaitingBytes/4/decodedRequest)
	decodedEach := max(1, min(decoded+1, limits.WaitingBytesEach/2/decodedRequest)/2)
	return &waiting{
		limit: quota.Limit{
			Name: "waiting-bytes", Noun: "bytes of requests that wait",
			Help:  "send less before it is acknowledged, or raise the limit",
			InAll: limits.WaitingBytes, Each: limits.WaitingBytesEach,
		},
		turns: &quota.Turns{
			What: "requests of workers", Limit: "waiting-bytes", Running: int(decoded), RunningEach: int(decodedEach),
			Queue: math.MaxInt, QueueEach: math.MaxInt, // There are no more than sessions.
		},
		all:      decoded * decodedRequest,
		eachMost: limits.WaitingBytesEach - decodedEach*decodedRequest,
		callers:  map[string]*waitingCaller{},
	}
}

// take counts what a session holds, until give. While there is too much, it ends the sessions that hold the most, and
// returns why if this one is among them.
func (w *waiting) take(s *waitingStream, bytes int64) (refusal error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	its := w.callers[s.who]
	if its == nil {
		its = &waitingCaller{held: map[*waitingStream]int64{}}
		w.callers[s.who] = its
	}
	w.add(its, s, bytes)
	for its.all > w.eachMost || w.all > w.limit.InAll {
		from := its
		exceeded := &quota.Exceeded{
			Limit: w.limit, Each: true, Held: its.all - bytes + w.limit.Each - w.eachMost, Asked: bytes,
		}
		if its.all <= w.eachMost {
			exceeded.Each, exceeded.Held = false, w.all-bytes
			for _, other := range w.callers {
				if other.all > from.all {
					from = other
				}
			}
		}
		victim := s
		for other, held := range from.held {
			if held > from.held[victim] {
				victim = other
			}
		}
		w.add(from, victim, -from.held[victim])
		if victim == s {
			return exceeded
		}
		victim.end(exceeded)
	}
	return nil
}

// add changes what a session holds. mu must be held.
func (w *waiting) add(its *waitingCaller, s *waitingStream, bytes int64) {
	w.all += bytes
	its.all += bytes
	if its.held[s] += bytes; its.held[s] == 0 {
		delete(its.held, s)
	}
	if len(its.held) == 0 {
		delete(w.callers, s.who)
	}
}

// give says that a session holds nothing more.
func (w *waiting) give(s *waitingStream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if its := w.callers[s.who]; its != nil && its.held[s] != 0 {
		w.add(its, s, -its.held[s])
	}
}

// bound bounds what a session holds.
func (w *waiting) bound(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	if info.FullMethod != trellisv1.WorkerService_Session_FullMethodName {
		return handler(service, stream)
	}
	who, err := claimConnection(stream.Context())
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	reading := &lead.Reading{}
	bounded := &waitingStream{
		ServerStream: stream, ctx: lead.WithReading(ctx, reading), end: end, reading: reading, waiting: w, who: who,
	}
	defer bounded.close()
	return handler(service, bounded)
}

// waitingStream is the stream of a session that waits for its turn.
type waitingStream struct {
	grpc.ServerStream
	ctx     context.Context
	end     context.CancelCauseFunc
	reading *lead.Reading
	waiting *waiting
	who     string

	mu sync.Mutex
	// release ends the session's turn. It is nil while it has none.
	release func()
	// holds says that what the session holds is counted.
	holds  bool
	closed bool
}

// Context is the stream's, and done when the session holds too much.
func (s *waitingStream) Context() context.Context { return s.ctx }

// RecvMsg receives a request. What the session holds of the one before is not counted any more. It decodes the request
// once the session's turn has come, unless it is for the leader (*undecoded).
func (s *waitingStream) RecvMsg(message any) error {
	s.free()
	request, forwarded := message.(*undecoded)
	if !forwarded {
		request = &undecoded{}
	}
	if err := s.ServerStream.RecvMsg(request); err != nil {
		return err
	}
	if request.size > trellisv1.MaxSessionRequest {
		return status.Errorf(codes.InvalidArgument, "a worker sent a request of %d bytes: at most %d are accepted",
			request.size, trellisv1.MaxSessionRequest)
	}
	itWaits := forwarded || waits(request.wire)
	if itWaits || len(request.wire) > smallRequest {
		if err := s.hold(int64(len(request.wire)) + requestOverhead); err != nil {
			return api.Status(err)
		}
	}
	if itWaits && !forwarded {
		if err := s.await(); err != nil {
			s.free() // The session may have been closed before.
			return err
		}
	}
	if s.hasClosed() {
		s.free()
		return status.Error(codes.Canceled, "the session has ended")
	}
	if forwarded {
		return nil
	}
	if err := request.decode(message); err != nil {
		return err
	}
	return checkDecoded(message)
}

// hold counts what the session holds, until it is freed.
func (s *waitingStream) hold(bytes int64) error {
	if err := s.waiting.take(s, bytes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = true
	return nil
}

// await waits for the session's turn. Meanwhile, its worker is held up.
func (s *waitingStream) await() error {
	released := s.reading.HoldUp()
	defer released()
	release, err := s.waiting.turns.Take(s.ctx, s.who)
	if err != nil {
		if cause := context.Cause(s.ctx); cause != nil {
			return api.Status(cause)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release = release
	return nil
}

// hasClosed says whether the handler has returned, so that nobody else frees what is received after that.
func (s *waitingStream) hasClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// free gives back what the session holds.
func (s *waitingStream) free() {
	s.mu.Lock()
	release, holds := s.release, s.holds
	s.release, s.holds = nil, false
	s.mu.Unlock()
	if release != nil {
		release()
	}
	if holds {
		s.waiting.give(s)
	}
}

// close frees what the session holds, now and of what it still receives.
func (s *waitingStream) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.free()
}

// waits says whether an encoded request of a session has something for the recorder's queue: reports, an outcome, or
// several of these. What has a checkpoint waits too, but for as long as its artifact is copied: it is small, and takes no turn.
func waits(wire []byte) bool {
	for len(wire) > 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return false
		}
		if number == reportsField || number == outcomeField || number == batchField {
			return true
		}
		wire = wire[n:]
		if n = protowire.ConsumeFieldValue(number, kind, wire); n < 0 {
			return false
		}
		wire = wire[n:]
	}
	return false
}

var (
	requestFields = (&trellisv1.SessionRequest{}).ProtoReflect().Descriptor().Fields()
	reportsField  = requestFields.ByName("reports").Number()
	outcomeField  = requestFields.ByName("outcome").Number()
	batchField    = requestFields.ByName("batch").Number()
)

// undecoded is a request as it came over the network, nil if it is larger than a session's requests may be. The codec
// knows it.
type undecoded struct {
	wire []byte
	size int
}

// receive copies a message out of gRPC's buffers, which may be much larger.
func (u *undecoded) receive(data mem.BufferSlice) {
	if u.size = data.Len(); u.size <= trellisv1.MaxSessionRequest {
		u.wire = data.Materialize()
	}
}

// decode decodes the request into a message, and forgets it.
func (u *undecoded) decode(into any) error {
	wire := mem.BufferSlice{mem.SliceBuffer(u.wire)}
	u.wire = nil
	if err := newBoundedCodec().Unmarshal(wire, into); err != nil {
		return status.Errorf(codes.Internal, "decode a request: %v", err)
	}
	return nil
}

// forwardingCodec encodes what another node is to decode, too.
type forwardingCodec struct{ encoding.CodecV2 }

func newForwardingCodec() forwardingCodec {
	return forwardingCodec{encoding.GetCodecV2(grpcproto.Name)}
}

// Marshal implements encoding.CodecV2.
func (c forwardingCodec) Marshal(message any) (mem.BufferSlice, error) {
	if request, ok := message.(*undecoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(request.wire)}, nil
	}
	return c.CodecV2.Marshal(message)
}
