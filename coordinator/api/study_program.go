package api

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// errNoPrograms refuses programs where anybody who reaches the port could run them on all workers.
var errNoPrograms = status.Error(codes.FailedPrecondition, "this coordinator takes no programs: it can be reached from "+
	"other machines and does not ask who calls (--insecure), so anybody could run any program on its workers: start it "+
	"with --certificate and --authority, or let it listen on this machine only")

// checkProgram refuses a program that this coordinator does not take. Whether its files are there is for keepFiles to
// check: they are uploaded after a study has been planned.
func (s studyService) checkProgram(spec *trellisv1.StudySpec) error {
	if spec.GetProgram() == nil {
		return nil
	}
	if s.noPrograms {
		return errNoPrograms
	}
	files := spec.GetProgram().GetFiles()
	if limit := s.limits.FilesBytes; limit > 0 && files.GetSize() > uint64(limit) {
		return Status(grid.Refuse("program.files", fmt.Sprintf("the program's files have %d bytes, which exceeds the limit "+
			"files-bytes=%d: name what it does not need in .trellisignore", files.GetSize(), limit), "program", "files"))
	}
	return nil
}

// keepFiles makes sure that the files of a program exist as long as a study refers to them: see keepSource.
func (s studyService) keepFiles(ctx context.Context, program *trellisv1.Program) error {
	files := program.GetFiles()
	if files == nil {
		return nil
	}
	if s.artifacts.Store() == nil {
		return errNoArtifacts
	}
	size, err := s.artifacts.Renew(ctx, files.GetSha256())
	switch {
	case errors.Is(err, artifact.ErrNotFound) && !errors.Is(err, artifact.ErrUnasked):
		return status.Errorf(codes.FailedPrecondition, "the coordinator does not have the program's files, artifact %s: "+
			"name their folder in the spec, for example files: . , and trellis submit or run uploads them", files.GetSha256())
	case err != nil:
		answer := artifactStatus(err)
		return status.Errorf(status.Code(answer), "the program's files: %s", status.Convert(answer).Message())
	case files.GetSize() != uint64(size):
		return Status(grid.Refuse("program.files", fmt.Sprintf("artifact %s has %d bytes, not %d", files.GetSha256(), size,
			files.GetSize()), "program", "files"))
	}
	return nil
}
