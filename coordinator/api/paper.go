package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/paper"
)

// paperService keeps reports on papers.
type paperService struct {
	trellisv1.UnimplementedPaperServiceServer
	store     Snapshots
	log       Log
	artifacts *artifact.Keeper
	studies   studyService
	// started is when this node started: before, nobody could write a report.
	started time.Time
}

// presented returns a stored report with its state as it is now.
func (s paperService) presented(report *trellisv1.PaperReport) *trellisv1.PaperReport {
	if !paper.Lost(report, s.started, time.Now()) {
		return report
	}
	report = shallow(report)
	report.State = trellisv1.PaperState_PAPER_STATE_LOST
	return report
}

// PutPaperReport stores a report, when its pictures are certain to exist as long as it has them.
func (s paperService) PutPaperReport(
	ctx context.Context, request *trellisv1.PutPaperReportRequest,
) (*trellisv1.PutPaperReportResponse, error) {
	report := shallow(request.GetReport())
	report.Creator, report.CreateTime, report.UpdateTime = nil, nil, nil
	for _, err := range []error{paper.CheckName(report.GetName()), paper.Check(report)} {
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	for _, section := range report.GetSections() {
		for _, figure := range section.GetFigures() {
			if err := s.keepPicture(ctx, figure.GetPicture()); err != nil {
				answer := artifactStatus(err)
				return nil, status.Error(status.Code(answer), fmt.Sprintf("figure %d: %s", figure.GetNumber(),
					status.Convert(answer).Message()))
			}
		}
	}
	if _, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_PutPaperReport{
		PutPaperReport: &trellisv1.PutPaperReportCommand{Report: report},
	}}); err != nil {
		return nil, Status(err)
	}
	return &trellisv1.PutPaperReportResponse{}, nil
}

// keepPicture makes sure that a picture exists as long as a report refers to it: see keepSource.
func (s paperService) keepPicture(ctx context.Context, picture *trellisv1.PaperPicture) error {
	if picture == nil {
		return nil
	}
	if s.artifacts.Store() == nil {
		return errNoArtifacts
	}
	size, err := s.artifacts.RenewAtMost(ctx, picture.GetSha256(), int64(picture.GetSize()))
	switch {
	case errors.Is(err, artifact.ErrNotFound) && !errors.Is(err, artifact.ErrUnasked):
		return status.Errorf(codes.FailedPrecondition, "the coordinator does not have the picture, artifact %s: upload it first",
			picture.GetSha256())
	case err != nil:
		return err
	case picture.GetSize() != uint64(size):
		return status.Errorf(codes.InvalidArgument, "artifact %s has %d bytes, not %d", picture.GetSha256(), size,
			picture.GetSize())
	}
	return nil
}

// GetPaperReport returns a report with those of its studies that exist.
func (s paperService) GetPaperReport(
	ctx context.Context, request *trellisv1.GetPaperReportRequest,
) (*trellisv1.GetPaperReportResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	report, err := snapshot.Paper(request.GetReport())
	if err != nil {
		return nil, Status(err)
	}
	var found []*trellisv1.Study
	for _, stage := range report.GetStages() {
		study, err := snapshot.Study(nil, stage.GetStudy())
		if errors.Is(err, results.ErrNotFound) || err == nil && study.GetCreateIndex() != stage.GetCreateIndex() {
			continue
		}
		if err == nil {
			study, err = snapshot.Presented(study)
		}
		if err != nil {
			return nil, Status(err)
		}
		found = append(found, study)
	}
	return &trellisv1.GetPaperReportResponse{Report: s.presented(report), Studies: s.studies.listed(snapshot, found)}, nil
}

// ListPaperReports returns all reports, without what is in them.
func (s paperService) ListPaperReports(
	context.Context, *trellisv1.ListPaperReportsRequest,
) (*trellisv1.ListPaperReportsResponse, error) {
	reports, err := s.store.Snapshot().Papers()
	if err != nil {
		return nil, Status(err)
	}
	response := &trellisv1.ListPaperReportsResponse{}
	for _, report := range reports {
		listed := shallow(s.presented(report))
		listed.Summary, listed.Sections, listed.Environment, listed.Stages = "", nil, nil, nil
		for _, stage := range report.GetStages() {
			listed.Stages = append(listed.Stages, &trellisv1.PaperStage{Study: stage.GetStudy(), State: stage.GetState()})
		}
		response.Reports = append(response.Reports, listed)
	}
	return response, nil
}

// DeletePaperReport deletes a report.
func (s paperService) DeletePaperReport(
	ctx context.Context, request *trellisv1.DeletePaperReportRequest,
) (*trellisv1.DeletePaperReportResponse, error) {
	if _, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_DeletePaperReport{
		DeletePaperReport: &trellisv1.DeletePaperReportCommand{Name: request.GetReport()},
	}}); err != nil {
		return nil, Status(err)
	}
	return &trellisv1.DeletePaperReportResponse{}, nil
}

// DownloadPicture sends a picture that a report has. Other artifacts are no pictures, whatever they look like.
func (s paperService) DownloadPicture(
	request *trellisv1.DownloadPictureRequest, stream trellisv1.PaperService_DownloadPictureServer,
) error {
	report, err := s.store.Snapshot().Paper(request.GetReport())
	if err != nil {
		return Status(err)
	}
	if !slices.Contains(paper.Pictures(report), request.GetSha256()) {
		return status.Errorf(codes.NotFound, "report %q has no picture %s", request.GetReport(), request.GetSha256())
	}
	content, err := s.artifacts.Get(stream.Context(), request.GetSha256())
	if err != nil {
		return artifactStatus(err)
	}
	return artifactStatus(sendPieces(content, func(data []byte) error {
		return stream.Send(&trellisv1.DownloadPictureResponse{Data: data})
	}))
}
