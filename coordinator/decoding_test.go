package coordinator

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (rawCodec) Name() string { return "proto" }

// manyEmpty encodes a message whose field has n empty messages, or texts, in another field's message.
func manyEmpty(field, inner protowire.Number, n int) []byte {
	one := append(protowire.AppendTag(nil, inner, protowire.BytesType), 0)
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), bytes.Repeat(one, n))
}

// A request of two million bytes that are empty messages takes little more memory than its bytes.
func TestManyEmptyMessagesAreRefusedBeforeTheyAreDecoded(t *testing.T) {
	target := newTarget(t, hostileConfig{})
	conn := target.client("127.0.0.2").conn
	before := target.status("VmHWM")
	stop := target.latency("127.0.0.9")
	var calls sync.WaitGroup
	for range 40 {
		calls.Go(func() {
			var answer []byte
			ctx, leave := context.WithTimeout(t.Context(), time.Minute)
			defer leave()
			err := conn.Invoke(ctx, trellisv1.StudyService_PlanStudy_FullMethodName, manyEmpty(1, 4, 1<<20-100), &answer,
				grpc.ForceCodecV2(rawCodec{}))
			wantCode(t, err, codes.InvalidArgument, "more than 32768 parts")
		})
	}
	calls.Wait()
	worst, n := stop()
	grown := (target.status("VmHWM") - before) >> 10
	t.Logf("memory grew by %d MB; the slowest of %d calls of another client took %v", grown, n, worst)
	if grown > 512*memoryFactor {
		t.Errorf("memory grew by %d MB", grown)
	}
	// The same in a session, in a request that is not too large.
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		trellisv1.WorkerService_Session_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(manyEmpty(3, 1, 100_000)); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	wantCode(t, stream.RecvMsg(&answer), codes.InvalidArgument, "more than 32768 parts")
}

// What counts as an element, nested ones too, and what does not.
func TestElementsAreCounted(t *testing.T) {
	batch := func(reports int) proto.Message {
		b := &trellisv1.ReportBatch{}
		for range reports {
			b.Reports = append(b.Reports, &trellisv1.Reports{
				Study: "s", Run: "r", TrainLoss: make([]float64, 9), TestLoss: map[uint32]float64{1: 2},
			})
		}
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{Reports: b}}
	}
	attempts := &trellisv1.Heartbeat{Attempts: make([]*trellisv1.AttemptProgress, 4096)}
	for i := range attempts.Attempts {
		attempts.Attempts[i] = &trellisv1.AttemptProgress{}
	}
	unknown := &trellisv1.Hello{}
	unknown.ProtoReflect().SetUnknown(bytes.Repeat([]byte{0xfa, 0x01, 0}, 1<<18))
	for _, c := range []struct {
		message proto.Message
		want    int
	}{
		{&trellisv1.Hello{Worker: "w", Attempts: make([]uint64, 4096)}, 1},
		{batch(1), 1 + 1 + 3},
		{batch(4096), 1 + 4096*4},
		{attempts, 4096},
		{unknown, 0},
		{&trellisv1.UploadArtifactRequest{Data: make([]byte, 1<<20)}, 1},
	} {
		wire, err := proto.Marshal(c.message)
		if err != nil {
			t.Fatal(err)
		}
		descriptor := c.message.ProtoReflect().Descriptor()
		if got := maxElements - countElements(wire, descriptor, maxElements); got != c.want {
			t.Errorf("%T of %d bytes has %d elements, want %d", c.message, len(wire), got, c.want)
		}
		// Cut short or damaged, it is left to what decodes it.
		for n := range min(len(wire), 100) {
			countElements(wire[:n], descriptor, maxElements)
		}
		into := c.message.ProtoReflect().New().Interface()
		if err := newBoundedCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, into); err != nil {
			t.Error(err)
		} else if !proto.Equal(into, c.message) || checkDecoded(into) != nil {
			t.Errorf("%T was decoded to another message", c.message)
		}
	}
}

// A client can't send the mark of what was refused.
func TestTheMarkOfWhatWasRefusedIsNoMessage(t *testing.T) {
	var into trellisv1.Hello
	err := newBoundedCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(refusedMark)}, &into)
	if err == nil {
		t.Error("it was decoded")
	}
	if got := status.Code(checkDecoded(&into)); got != codes.OK {
		t.Error(fmt.Errorf("%v", got))
	}
}
