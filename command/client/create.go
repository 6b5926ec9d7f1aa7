package client

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// createTries is how often a study is submitted while the coordinator goes away before it has answered, and
	// createPause the pause in between: together, longer than a cluster takes to elect a leader.
	createTries = 8
	createPause = 500 * time.Millisecond
)

// Create submits a study, once the coordinator can take it. If the coordinator goes away before it has answered, the
// study may be there or not: it is submitted again, and one that is there by then with the same spec is the one.
func (c *Client) Create(ctx context.Context, request *trellisv1.CreateStudyRequest) (*trellisv1.Study, error) {
	ctx, span := c.Tracer.Start(ctx, "submit")
	defer span.End()
	study, err := c.create(c.Tracer.Outgoing(ctx), request)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("trellis.study.name", request.GetSpec().GetName()))
		if err != nil {
			span.SetStatus(otelcodes.Error, err.Error())
		}
	}
	return study, err
}

func (c *Client) create(ctx context.Context, request *trellisv1.CreateStudyRequest) (*trellisv1.Study, error) {
	wanted := request.GetSpec()
	for try := 1; ; try++ {
		study, err := c.createOnce(ctx, request)
		if status.Code(err) == codes.AlreadyExists && try > 1 {
			existing, getErr := Call(ctx, CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: wanted.GetName()})
			study := existing.GetStudy()
			if getErr == nil && study.GetFresh() == request.GetFresh() && len(spec.Differences(wanted, study)) == 0 {
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

func (c *Client) createOnce(ctx context.Context, request *trellisv1.CreateStudyRequest) (*trellisv1.Study, error) {
	if err := c.AwaitLeader(ctx); err != nil {
		return nil, err
	}
	response, err := Call(ctx, CreateTimeout, c.CreateStudy, request)
	return response.GetStudy(), err
}
