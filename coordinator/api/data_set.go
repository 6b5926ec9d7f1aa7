package api

import (
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// chunkBytes is how many bytes of a file one message carries.
const chunkBytes = 1 << 20

// dataSetService serves only data sets that studies use.
type dataSetService struct {
	trellisv1.UnimplementedDataSetServiceServer
	store    Snapshots
	dataSets DataSets
	memory   Memory
}

// GetDataSet returns the description of a data set that a study uses.
func (s dataSetService) GetDataSet(
	ctx context.Context, request *trellisv1.GetDataSetRequest,
) (*trellisv1.GetDataSetResponse, error) {
	dataSet, err := s.find(ctx, request.GetDigest())
	if err != nil {
		return nil, err
	}
	return &trellisv1.GetDataSetResponse{DataSet: dataSet}, nil
}

// DownloadDataFile sends a file of a data set, uncompressed.
func (s dataSetService) DownloadDataFile(
	request *trellisv1.DownloadDataFileRequest, stream trellisv1.DataSetService_DownloadDataFileServer,
) error {
	ctx := stream.Context()
	dataSet, err := s.find(ctx, request.GetDigest())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(dataSet.GetFiles(), func(file *trellisv1.DataFile) bool {
		return file.GetSha256() == request.GetSha256()
	}) {
		return status.Errorf(codes.NotFound, "data set %s has no file %s", request.GetDigest(), request.GetSha256())
	}
	file, err := s.dataSets.Open(ctx, request.GetDigest(), request.GetSha256())
	if err != nil {
		return s.unreadable(ctx, request, dataSet.GetName(), err)
	}
	defer file.Close()
	buffer := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(file, buffer)
		if n > 0 {
			if err := stream.Send(&trellisv1.DownloadDataFileResponse{Data: buffer[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return s.unreadable(ctx, request, dataSet.GetName(), err)
		}
	}
}

// find returns the data set with the digest, if a study uses it and it is there, under whatever name.
func (s dataSetService) find(ctx context.Context, digest string) (*trellisv1.DataSet, error) {
	studies, err := s.store.Snapshot().Studies(nil)
	if err != nil {
		return nil, Status(err)
	}
	var named *trellisv1.Study
	var missing *trellisv1.WaitingFor
	tried := map[string]bool{}
	for _, study := range studies {
		name := study.GetDataSet().GetName()
		if study.GetDataSet().GetDigest() != digest || tried[name] {
			continue
		}
		tried[name] = true
		if _, missing = s.dataSets.FindDigest(ctx, digest, name); missing == nil {
			return study.GetDataSet(), nil
		}
		named = study
	}
	switch {
	case ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case named == nil:
		return nil, status.Errorf(codes.NotFound, "no study uses a data set with the digest %s", digest)
	case missing.GetReason() == trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED:
		return nil, s.refuse(digest, missing, "data set %q has changed since study %q was created: its digest was %s and is %s",
			named.GetDataSet().GetName(), named.GetName(), digest, missing.GetFound())
	default:
		return nil, s.refuse(digest, missing, "find data set %q: %s", named.GetDataSet().GetName(), missing.GetMessage())
	}
}

// unreadable refuses a file that was found and can't be read, or has another content by now. Another look says which.
func (s dataSetService) unreadable(
	ctx context.Context, request *trellisv1.DownloadDataFileRequest, name string, err error,
) error {
	_, missing := s.dataSets.FindDigest(ctx, request.GetDigest(), name)
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case missing == nil: // It has just been put back, and the next look frees its studies.
		missing = &trellisv1.WaitingFor{
			Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING, Message: err.Error(),
		}
	}
	return s.refuse(request.GetDigest(), missing, "read file %s of data set %s: %v", request.GetSha256(),
		request.GetDigest(), err)
}

// refuse has the studies that use a data set wait, and tells the worker that asks for it to hand its run back:
// FAILED_PRECONDITION.
func (s dataSetService) refuse(digest string, missing *trellisv1.WaitingFor, format string, args ...any) error {
	if err := s.memory.Missing(digest, missing); err != nil {
		return Status(err)
	}
	return status.Errorf(codes.FailedPrecondition, format, args...)
}
