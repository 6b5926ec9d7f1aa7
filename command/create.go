package command

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// createTries is how often a study is submitted while the coordinator goes away before it has answered, and createPause
	// the pause in between: together, longer than a cluster takes to elect a leader.
	createTries = 8
	createPause = 500 * time.Millisecond
)

// create submits a study, once the coordinator can take it. If the coordinator goes away before it has answered, the study
// may be there or not: it is submitted again, and one that is there by then with the same spec is the one.
func (c *client) create(ctx context.Context, request *trellisv1.CreateStudyRequest) (*trellisv1.Study, error) {
	wanted := request.GetSpec()
	for try := 1; ; try++ {
		study, err := c.createOnce(ctx, request)
		if status.Code(err) == codes.AlreadyExists && try > 1 {
			existing, getErr := call(ctx, callTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: wanted.GetName()})
			study := existing.GetStudy()
			if getErr == nil && study.GetFresh() == request.GetFresh() && len(differencesFrom(wanted, study)) == 0 {
				return study, nil
			}
		}
		if err == nil {
			return study, nil
		}
		if status.Code(err) != codes.Unavailable || try == createTries {
			return nil, fmt.Errorf("cannot submit study %s: %w", wanted.GetName(), err)
		}
		select {
		case <-time.After(createPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *client) createOnce(ctx context.Context, request *trellisv1.CreateStudyRequest) (*trellisv1.Study, error) {
	if err := c.awaitLeader(ctx); err != nil {
		return nil, err
	}
	response, err := call(ctx, createTimeout, c.CreateStudy, request)
	return response.GetStudy(), err
}

// awaitLeader waits until a coordinator that is starting has read its log, and a cluster has elected a leader.
func (c *client) awaitLeader(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, DefaultWait)
	defer cancel()
	for {
		answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		switch {
		case err == nil && (len(answer.GetNodes()) == 0 || leaderOf(answer.GetNodes()) != ""):
			return nil
		case err == nil:
			err = fmt.Errorf("%w: no leader was elected within %v: see trellis cluster status", errUnavailable, DefaultWait)
		case status.Code(err) != codes.Unavailable && ctx.Err() == nil:
			return err
		}
		select {
		case <-time.After(leaderPause):
		case <-ctx.Done():
			if parent.Err() != nil {
				return context.Cause(parent)
			}
			return err
		}
	}
}
