package coordinator

import (
	"context"

	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
)

// partsClient opens sessions that receive the responses of a batch one by one.
type partsClient struct{ trellisv1.WorkerServiceClient }

func newPartsClient(conn grpc.ClientConnInterface) trellisv1.WorkerServiceClient {
	return partsClient{trellisv1.NewWorkerServiceClient(conn)}
}

func (c partsClient) Session(
	ctx context.Context, options ...grpc.CallOption,
) (trellisv1.WorkerService_SessionClient, error) {
	stream, err := c.WorkerServiceClient.Session(ctx, options...)
	if err != nil {
		return nil, err
	}
	return &partsStream{WorkerService_SessionClient: stream}, nil
}

type partsStream struct {
	trellisv1.WorkerService_SessionClient
	left []*trellisv1.SessionResponse
}

func (s *partsStream) Recv() (*trellisv1.SessionResponse, error) {
	for len(s.left) == 0 {
		response, err := s.WorkerService_SessionClient.Recv()
		if err != nil {
			return nil, err
		}
		s.left = response.Parts()
	}
	first := s.left[0]
	s.left = s.left[1:]
	return first, nil
}
