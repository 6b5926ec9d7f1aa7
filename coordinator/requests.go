package coordinator

import (
	"context"
	"errors"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/results/grid"
)

// Fields that this version does not know are dropped from what it serves: nothing here reads them, but the log and the
// store would keep them, whatever their size. What is forwarded to the leader keeps them, because the leader may have a
// newer version.

// dropUnknownUnary drops them from a call's request.
func dropUnknownUnary(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	dropUnknown(request)
	return handler(ctx, request)
}

// dropUnknownStream drops them from all that a stream receives.
func dropUnknownStream(
	service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	return handler(service, knownStream{stream})
}

// knownStream is a stream that receives only known fields.
type knownStream struct{ grpc.ServerStream }

// RecvMsg receives a message.
func (s knownStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	if err == nil {
		dropUnknown(message)
	}
	return err
}

func dropUnknown(message any) {
	if message, ok := message.(proto.Message); ok {
		dropUnknownFields(message.ProtoReflect())
	}
}

// dropUnknownFields drops the unknown fields of a message and of all messages in it.
func dropUnknownFields(message protoreflect.Message) {
	if len(message.GetUnknown()) > 0 {
		message.SetUnknown(nil)
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
					dropUnknownFields(value.Message())
					return true
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				dropUnknownFields(value.List().Get(i).Message())
			}
		default:
			dropUnknownFields(value.Message())
		}
		return true
	})
}

// wordedValidator says to people which rules a request breaks: protovalidate's own texts speak of protobuf.
type wordedValidator struct{ protovalidate.Validator }

// Validate implements protovalidate.Validator.
func (v wordedValidator) Validate(message proto.Message, options ...protovalidate.ValidationOption) error {
	err := v.Validator.Validate(message, options...)
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		for _, violation := range invalid.Violations {
			violation.Proto.Message = proto.String(grid.RuleInWords(violation))
		}
	}
	return err
}
