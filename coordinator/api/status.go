package api

import (
	"context"
	"errors"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/coordinator/replication"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/listing"
)

// statusCodes maps errors of lower packages to codes of the API.
var statusCodes = []struct {
	err  error
	code codes.Code
}{
	{results.ErrNotFound, codes.NotFound},
	{results.ErrExists, codes.AlreadyExists},
	{results.ErrNotOwner, codes.PermissionDenied},
	{results.ErrInvalid, codes.InvalidArgument},
	{results.ErrIllegalMove, codes.FailedPrecondition},
	{results.ErrNoAnswer, codes.FailedPrecondition},
	{results.ErrInconclusive, codes.FailedPrecondition},
	{results.ErrStudyChanged, codes.Aborted},
	{results.ErrReplaced, codes.Aborted},
	{replication.ErrNotLeader, codes.Unavailable},
	{replication.ErrLeadershipLost, codes.Unavailable},
	{replication.ErrFailed, codes.Unavailable},
	{replication.ErrClosed, codes.Unavailable},
	{replication.ErrTooLarge, codes.InvalidArgument},
	{replication.ErrUnknownNode, codes.NotFound},
	{replication.ErrLastNode, codes.FailedPrecondition},
	{replication.ErrNoSuccessor, codes.FailedPrecondition},
	{replication.ErrDamaged, codes.InvalidArgument},
	{replication.ErrNoBackup, codes.InvalidArgument},
	{results.ErrCorrupt, codes.InvalidArgument},
	{results.ErrNewer, codes.InvalidArgument},
	{replication.ErrNewerVersion, codes.InvalidArgument},
	{replication.ErrNoSpace, codes.ResourceExhausted},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// busyRetry is how long a client must wait before it retries a call for which the log had no room.
const busyRetry = 500 * time.Millisecond

// busy tells a client that the log has no room at the moment, and when to retry.
func busy(err error) error {
	answer, detailErr := status.New(codes.ResourceExhausted, err.Error()+": retry in a moment").
		WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(busyRetry)})
	if detailErr != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return answer.Err()
}

// withField tells a client which field of its request is wrong, and what of it.
func withField(text string, wrong *listing.FieldError) error {
	answer, err := status.New(codes.InvalidArgument, text).WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{
			Field: wrong.Field, Description: plain(wrong.Unwrap(), results.ErrInvalid),
		}},
	})
	if err != nil {
		return status.Error(codes.InvalidArgument, text)
	}
	return answer.Err()
}

// plain returns the text of an error for people, without the name of its kind, which its code already says.
func plain(err, kind error) string {
	switch kind {
	case results.ErrInvalid, results.ErrIllegalMove, results.ErrInconclusive:
		return strings.TrimSuffix(err.Error(), ": "+kind.Error())
	}
	return err.Error()
}

// Status turns an error into a status of the API. It returns nil for nil, and returns an error that already is a status
// unchanged.
func Status(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var invalid *protovalidate.ValidationError
	if errors.As(err, &invalid) {
		text := strings.Replace(err.Error(), invalid.Error(), grid.InWords(invalid), 1)
		for _, violation := range invalid.Violations {
			violation.Proto.Message = proto.String(grid.RuleInWords(violation))
		}
		answer, detailErr := status.New(codes.InvalidArgument, text).WithDetails(invalid.ToProto())
		if detailErr != nil {
			return status.Error(codes.InvalidArgument, text)
		}
		return answer.Err()
	}
	if wrong, is := errors.AsType[*listing.FieldError](err); is {
		return withField(plain(err, results.ErrInvalid), wrong)
	}
	if errors.Is(err, replication.ErrBusy) {
		return busy(err)
	}
	for _, known := range statusCodes {
		if errors.Is(err, known.err) {
			return status.Error(known.code, plain(err, known.err))
		}
	}
	return status.Error(codes.Internal, err.Error())
}
