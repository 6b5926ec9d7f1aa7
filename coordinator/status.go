package coordinator

import (
	"context"
	"errors"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/results"
)

// statusCodes says which code of the API an error of the rooms below stands for.
var statusCodes = []struct {
	err  error
	code codes.Code
}{
	{results.ErrNotFound, codes.NotFound},
	{results.ErrExists, codes.AlreadyExists},
	{results.ErrInvalid, codes.InvalidArgument},
	{results.ErrIllegalMove, codes.FailedPrecondition},
	{results.ErrNoAnswer, codes.FailedPrecondition},
	{ErrNotLeader, codes.Unavailable},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// statusOf turns an error into what the API answers. It returns nil for nil and leaves what is a status already.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	var invalid *protovalidate.ValidationError
	if errors.As(err, &invalid) {
		answer, detailErr := status.New(codes.InvalidArgument, err.Error()).WithDetails(invalid.ToProto())
		if detailErr != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		return answer.Err()
	}
	for _, known := range statusCodes {
		if errors.Is(err, known.err) {
			return status.Error(known.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}
