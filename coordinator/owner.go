package coordinator

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

// checkOwner refuses a submitter's change of a study that another has made: a call of a method that the table of methods
// says submitters may call for their own studies. The state machine does so again, without words: the study may be replaced
// in the meantime.
func (c *Coordinator) checkOwner(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	caller := access.Of(ctx)
	if !methodsByName[info.FullMethod].own || caller.Role != trellisv1.Role_ROLE_SUBMITTER {
		return handler(ctx, request)
	}
	named, ok := request.(interface{ GetStudy() string })
	if !ok {
		return nil, status.Errorf(codes.Internal, "a request of %s names no study", info.FullMethod)
	}
	study, err := c.store.Snapshot().Study(nil, named.GetStudy())
	if err != nil {
		return nil, api.Status(err)
	}
	switch creator := access.FromMessage(study.GetCreator()); creator {
	case caller:
		return handler(ctx, request)
	case access.Principal{}:
		return nil, status.Errorf(codes.PermissionDenied, "study %q was created before this coordinator asked who calls: "+
			"only an admin may change it", study.GetName())
	default:
		return nil, status.Errorf(codes.PermissionDenied, "study %q was created by %v: only its creator or an admin may "+
			"change it", study.GetName(), creator)
	}
}
