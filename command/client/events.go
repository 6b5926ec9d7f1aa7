package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	trellisv1 "trellis/proto/trellis/v1"
)

// FollowEvents calls see with the events after the one with a number, as they happen, until ctx is done or see fails. A watch
// that breaks off begins again where it was.
func (c *Client) FollowEvents(ctx context.Context, after uint64, see func([]*trellisv1.Event) error) error {
	for {
		var failed error
		err := c.watchEvents(ctx, after, func(response *trellisv1.WatchEventsResponse) error {
			after = response.GetNumber()
			if missed := response.GetMissed(); missed > 0 {
				fmt.Fprintf(c.notices, "trellis: %d earlier events are no longer kept\n", missed)
			}
			failed = see(response.GetEvents())
			return failed
		})
		switch {
		case failed != nil:
			return failed
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !BreaksOff(err):
			return err
		}
		rest(ctx)
	}
}

// watchEvents calls see with each response of one watch. It returns nil when the coordinator ends it.
func (c *Client) watchEvents(
	ctx context.Context, after uint64, see func(*trellisv1.WatchEventsResponse) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.WatchEvents(ctx, &trellisv1.WatchEventsRequest{SinceNumber: &after})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := see(response); err != nil {
			return err
		}
	}
}
