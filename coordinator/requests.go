package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Fields that this version does not know are dropped from what it serves: nothing here reads them, but the log and the
// store would keep them, whatever their size. What is forwarded to the leader keeps them, because the leader may have a
// newer version.

// cleanUnary drops them from a call's request, which must have valid times.
func cleanUnary(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if err := clean(request); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// cleanStream is cleanUnary for all that a stream receives.
func cleanStream(
	service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	return handler(service, cleanedStream{stream})
}

// cleanedStream is a stream that receives only known fields and valid times.
type cleanedStream struct{ grpc.ServerStream }

// RecvMsg receives a message.
func (s cleanedStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return clean(message)
}

// clean drops the unknown fields of a request, and refuses one with a time or a duration that is none: one that
// protobuf's own rules don't allow has no text, and means something else to each who reads it.
func clean(request any) error {
	message, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	dropUnknownFields(message.ProtoReflect())
	if err := checkTimes(message.ProtoReflect()); err != nil {
		return status.Errorf(codes.InvalidArgument, "%v", err)
	}
	return nil
}

// checkTimes returns an error if a message has an invalid time or duration, and says in which field.
func checkTimes(message protoreflect.Message) (err error) {
	switch message := message.Interface().(type) {
	case *timestamppb.Timestamp:
		if message.CheckValid() != nil {
			return fmt.Errorf("invalid time of %d seconds and %d nanoseconds: it must be in the years 1 to 9999",
				message.GetSeconds(), message.GetNanos())
		}
		return nil
	case *durationpb.Duration:
		if message.CheckValid() != nil {
			return fmt.Errorf("invalid duration of %d seconds and %d nanoseconds: it must be within 10,000 years, and "+
				"both must have the same sign", message.GetSeconds(), message.GetNanos())
		}
		return nil
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
					err = checkTimes(value.Message())
					return err == nil
				})
			}
		case field.Message() == nil:
		case field.IsList():
			for i := 0; i < value.List().Len() && err == nil; i++ {
				err = checkTimes(value.List().Get(i).Message())
			}
		default:
			err = checkTimes(value.Message())
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", field.Name(), err)
		}
		return err == nil
	})
	return err
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

// hasSpec is a request with a spec.
type hasSpec interface{ GetSpec() *trellisv1.StudySpec }

// checkSpecUnary refuses a spec that is too large, before anything looks at it.
func (l Limits) checkSpecUnary(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if request, ok := request.(hasSpec); ok {
		if err := l.ofStudies().CheckSpec(request.GetSpec()); err != nil {
			return nil, err
		}
	}
	return handler(ctx, request)
}

// largeSpecBytes is how many bytes a spec has whose rules take so long to check that it needs a turn.
const largeSpecBytes = 64 << 10

// validateUnary checks the rules of a request with validate. Large specs are checked one after the other.
func (l *callLimits) validateUnary(validate grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(
		ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
	) (any, error) {
		release := func() {}
		if large, ok := request.(hasSpec); ok && proto.Size(large.GetSpec()) > largeSpecBytes {
			who, err := claimConnection(ctx)
			if err != nil {
				return nil, err
			}
			taken, err := l.specs.Take(ctx, who)
			if err != nil {
				return nil, l.whyEnded(ctx, info.FullMethod, err)
			}
			release = sync.OnceFunc(taken)
		}
		defer release()
		// The handler has more rules to check.
		return validate(api.WhenChecked(ctx, release), request, info, handler)
	}
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
