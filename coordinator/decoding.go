package coordinator

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/coordinator/connection"
)

// maxElements bounds the messages, texts and byte strings in a request's message. Each takes two bytes or more of the
// request, but a hundred and more of memory: 2 MiB of empty messages would take 80 MiB. Lists of numbers are one piece
// and not counted. The largest message that anybody has a reason to send, a worker's reports with many metrics, has
// 18,000.
const maxElements = 32_768

// boundedCodec decodes what clients send. It refuses a message of too many elements before it allocates any of them.
type boundedCodec struct{ encoding.CodecV2 }

func newBoundedCodec() boundedCodec { return boundedCodec{encoding.GetCodecV2(grpcproto.Name)} }

// Marshal implements encoding.CodecV2.
func (c boundedCodec) Marshal(message any) (mem.BufferSlice, error) {
	if encoded, ok := message.(connection.Encoded); ok {
		return encoded.Wire, nil
	}
	return c.CodecV2.Marshal(message)
}

// refusedMark stands among the unknown fields of a message that was refused. gRPC would call an error of a codec an
// internal one, so the interceptors say what is wrong. No message from outside has the mark: there is no field 0.
const refusedMark = "\x02\x00"

// Unmarshal implements encoding.CodecV2.
func (c boundedCodec) Unmarshal(data mem.BufferSlice, into any) error {
	if later, ok := into.(*undecoded); ok {
		later.receive(data)
		return nil
	}
	message, ok := into.(proto.Message)
	if !ok {
		return c.CodecV2.Unmarshal(data, into)
	}
	wire := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer wire.Free()
	if left := countElements(wire.ReadOnlyData(), message.ProtoReflect().Descriptor(), maxElements); left < 0 {
		proto.Reset(message)
		message.ProtoReflect().SetUnknown(protoreflect.RawFields(refusedMark))
		return nil
	}
	return c.CodecV2.Unmarshal(mem.BufferSlice{wire}, into)
}

// countElements returns how many elements there may be besides those of the encoded message, or a negative number if it
// has too many. It stops where the encoding is wrong: so does what decodes the message.
func countElements(wire []byte, message protoreflect.MessageDescriptor, left int) int {
	for len(wire) > 0 && left >= 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return left
		}
		wire = wire[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, wire); n < 0 {
				return left
			}
			wire = wire[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(wire)
		if n < 0 {
			return left
		}
		wire = wire[n:]
		field := message.Fields().ByNumber(number)
		switch {
		case field == nil:
		case field.Message() != nil:
			left = countElements(value, field.Message(), left-1)
		case field.Kind() == protoreflect.StringKind || field.Kind() == protoreflect.BytesKind:
			left--
		}
	}
	return left
}

// checkDecoded says why a request's message was refused, or returns nil.
func checkDecoded(message any) error {
	if message, ok := message.(proto.Message); ok && string(message.ProtoReflect().GetUnknown()) == refusedMark {
		return status.Errorf(codes.InvalidArgument, "the message has more than %d parts, the most that a coordinator "+
			"accepts: divide the request", maxElements)
	}
	return nil
}

// refuseUnary refuses a call whose request was refused when it was decoded.
func refuseUnary(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if err := checkDecoded(request); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// refuseStream ends a stream when a message of it was refused.
func refuseStream(
	service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	return handler(service, checkedStream{stream})
}

// checkedStream is a stream that receives only what was decoded.
type checkedStream struct{ grpc.ServerStream }

// RecvMsg receives a message.
func (s checkedStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return checkDecoded(message)
}
