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
	if !ok || isPlain(message) {
		return nil
	}
	if err := cleanMessage(message.ProtoReflect()); err != nil {
		return status.Errorf(codes.InvalidArgument, "%v", err)
	}
	return nil
}

// isPlain says whether a message certainly has nothing to drop, and breaks no rule: most of what workers send. To look
// at these messages by reflection took a tenth of a busy coordinator's time.
func isPlain(message proto.Message) bool {
	request, ok := message.(*trellisv1.SessionRequest)
	return ok && isPlainRequest(request, true)
}

// maxPlain is how many elements a list of requests or reports may have at most.
const maxPlain = 4096

func isPlainRequest(request *trellisv1.SessionRequest, batches bool) bool {
	if !isKnown(request) {
		return false
	}
	switch its := request.GetMessage().(type) {
	case *trellisv1.SessionRequest_Heartbeat: // of a worker that holds nothing
		return isKnown(its.Heartbeat) && len(its.Heartbeat.GetAttempts()) == 0
	case *trellisv1.SessionRequest_Reports:
		reports := its.Reports.GetReports()
		if !isKnown(its.Reports) || len(reports) == 0 || len(reports) > maxPlain {
			return false
		}
		for _, one := range reports {
			if !isKnown(one) || len(one.GetMetrics()) > 0 || len(one.GetTestMetrics()) > 0 {
				return false
			}
		}
		return true
	case *trellisv1.SessionRequest_Outcome:
		success := its.Outcome.GetSuccess()
		return isKnown(its.Outcome) && its.Outcome.GetOutput() == nil && isKnown(success) &&
			plainReasons[success.GetStopReason()]
	case *trellisv1.SessionRequest_Batch:
		requests := its.Batch.GetRequests()
		if !batches || !isKnown(its.Batch) || len(requests) == 0 || len(requests) > maxPlain {
			return false
		}
		for _, one := range requests {
			if !isPlainRequest(one, false) {
				return false
			}
		}
		return true
	}
	return false
}

// plainReasons are why runs end by themselves.
var plainReasons = map[trellisv1.StopReason]bool{
	trellisv1.StopReason_STOP_REASON_MAX_EPOCHS:     true,
	trellisv1.StopReason_STOP_REASON_EARLY_STOPPING: true,
	trellisv1.StopReason_STOP_REASON_DIVERGED:       true,
}

// isKnown says that a message is there, and that none of its fields is unknown.
func isKnown(message proto.Message) bool {
	its := message.ProtoReflect()
	return its.IsValid() && len(its.GetUnknown()) == 0
}

// cleanMessage drops the unknown fields of a message and of all messages in it, and returns an error if one is an
// invalid time or duration, which says in which field.
func cleanMessage(message protoreflect.Message) error {
	if len(message.GetUnknown()) > 0 {
		message.SetUnknown(nil)
	}
	switch its := nestedIn(message.Descriptor()); its.time {
	case noTime:
		return its.each(message, func(field protoreflect.FieldDescriptor, its protoreflect.Message) error {
			if err := cleanMessage(its); err != nil {
				return fmt.Errorf("%s: %w", field.Name(), err)
			}
			return nil
		})
	case instant:
		if at, ok := message.Interface().(*timestamppb.Timestamp); ok && at.CheckValid() != nil {
			return fmt.Errorf("invalid time of %d seconds and %d nanoseconds: it must be in the years 1 to 9999",
				at.GetSeconds(), at.GetNanos())
		}
	case duration:
		if took, ok := message.Interface().(*durationpb.Duration); ok && took.CheckValid() != nil {
			return fmt.Errorf("invalid duration of %d seconds and %d nanoseconds: it must be within 10,000 years, and "+
				"both must have the same sign", took.GetSeconds(), took.GetNanos())
		}
	}
	return nil
}

// nested says which fields of a message have messages, of which one in each of the alternatives is set. To look at all
// other fields too, by reflection, took a twentieth of the time of workers' reports.
type nested struct {
	time         timeKind
	fields       []protoreflect.FieldDescriptor
	alternatives []protoreflect.OneofDescriptor
}

// timeKind says whether a message is a time.
type timeKind int

const (
	noTime timeKind = iota
	instant
	duration
)

// allNested has what nestedIn has returned, by descriptor.
var allNested sync.Map

func nestedIn(message protoreflect.MessageDescriptor) *nested {
	if known, ok := allNested.Load(message); ok {
		return known.(*nested)
	}
	its := &nested{}
	switch message.FullName() {
	case (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor().FullName():
		its.time = instant
	case (*durationpb.Duration)(nil).ProtoReflect().Descriptor().FullName():
		its.time = duration
	}
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if field.ContainingOneof() == nil && hasMessages(field) {
			its.fields = append(its.fields, field)
		}
	}
	for i := range message.Oneofs().Len() {
		its.alternatives = append(its.alternatives, message.Oneofs().Get(i))
	}
	allNested.Store(message, its)
	return its
}

func hasMessages(field protoreflect.FieldDescriptor) bool {
	if field.IsMap() {
		return field.MapValue().Message() != nil
	}
	return field.Message() != nil
}

// each visits the messages in the fields of a message, until one is an error.
func (n *nested) each(
	message protoreflect.Message, visit func(protoreflect.FieldDescriptor, protoreflect.Message) error,
) (err error) {
	for _, field := range n.fields {
		if err != nil || !message.Has(field) {
			continue
		}
		value := message.Get(field)
		switch {
		case field.IsMap():
			value.Map().Range(func(_ protoreflect.MapKey, value protoreflect.Value) bool {
				err = visit(field, value.Message())
				return err == nil
			})
		case field.IsList():
			list := value.List()
			for i := 0; i < list.Len() && err == nil; i++ {
				err = visit(field, list.Get(i).Message())
			}
		default:
			err = visit(field, value.Message())
		}
	}
	for _, one := range n.alternatives {
		if err != nil {
			break
		}
		if field := message.WhichOneof(one); field != nil && hasMessages(field) {
			err = visit(field, message.Get(field).Message())
		}
	}
	return err
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
	if isPlain(message) {
		return nil
	}
	err := v.Validator.Validate(message, options...)
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		for _, violation := range invalid.Violations {
			violation.Proto.Message = proto.String(grid.RuleInWords(violation))
		}
	}
	return err
}
