package api

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// checkOwner refuses a submitter's change of a study that another has made. The state machine does so again: this says
// it in words, before anything else is looked at.
func (s studyService) checkOwner(ctx context.Context, name string) error {
	caller := access.Of(ctx)
	if caller.Role != trellisv1.Role_ROLE_SUBMITTER {
		return nil
	}
	study, err := s.store.Snapshot().Study(nil, name)
	if err != nil {
		return Status(err)
	}
	creator := access.FromMessage(study.GetCreator())
	switch creator {
	case caller:
		return nil
	case access.Principal{}:
		return status.Errorf(codes.PermissionDenied, "study %q was created before this coordinator asked who calls: only "+
			"an admin may change it", name)
	default:
		return status.Errorf(codes.PermissionDenied, "study %q was created by %v: only its creator or an admin may "+
			"change it", name, creator)
	}
}
