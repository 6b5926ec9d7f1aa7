package api

import (
	"context"
	"errors"
	"io"

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
	if _, err := s.find(ctx, request.GetDigest()); err != nil {
		return err
	}
	file, err := s.dataSets.Open(ctx, request.GetDigest(), request.GetSha256())
	if err != nil {
		return status.Errorf(codes.NotFound, "open file %s of data set %s: %v", request.GetSha256(),
			request.GetDigest(), err)
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
			return status.Errorf(codes.DataLoss, "read file %s of data set %s: %v", request.GetSha256(),
				request.GetDigest(), err)
		}
	}
}

// find returns the data set with the digest, if a study uses it and it has not changed since the study was created.
func (s dataSetService) find(ctx context.Context, digest string) (*trellisv1.DataSet, error) {
	studies, err := s.store.Snapshot().Studies(nil)
	if err != nil {
		return nil, Status(err)
	}
	for _, study := range studies {
		dataSet := study.GetDataSet()
		if dataSet.GetDigest() != digest {
			continue
		}
		found, err := s.dataSets.Find(ctx, dataSet.GetName())
		if err != nil {
			return nil, status.Errorf(codes.Unavailable, "find data set %q: %v", dataSet.GetName(), err)
		}
		if found.GetDigest() != digest {
			return nil, status.Errorf(codes.FailedPrecondition, "data set %q has changed since study %q was created: "+
				"its digest was %s and is %s",
				dataSet.GetName(), study.GetName(), digest, found.GetDigest())
		}
		return dataSet, nil
	}
	return nil, status.Errorf(codes.NotFound, "no study uses a data set with the digest %s", digest)
}
