package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// FindTrial returns a trial of a study. If there is none of the index, it says why.
func (c *Client) FindTrial(ctx context.Context, study string, index uint64) (*trellisv1.Trial, error) {
	response, err := Call(ctx, CallTimeout, c.ListTrials, &trellisv1.ListTrialsRequest{
		Study: study, Filter: fmt.Sprintf("index == %d", index), PageSize: 1,
	})
	if err != nil {
		return nil, err
	}
	if trials := response.GetTrials(); len(trials) > 0 {
		return trials[0], nil
	}
	its, err := Call(ctx, CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: study})
	if err != nil {
		return nil, err
	}
	why := fmt.Sprintf("it has no indices above %d", its.GetStudy().GetIndices()-1)
	if index < its.GetStudy().GetIndices() {
		why = "where, an earlier grid with the same point, or the budget leaves it out"
	}
	return nil, status.Errorf(codes.NotFound, "trial %d not found in study %q: %s. To list its trials: trellis trials %s",
		index, study, why, study)
}
