package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// rewatchDelay is how long a broken watch rests at most before it begins again.
const rewatchDelay = time.Second

// ProgressView shows people how a study comes along.
type ProgressView interface {
	// Update shows what a watch has sent.
	Update(*trellisv1.WatchStudyResponse)
	// Write shows a notice: whole lines.
	io.Writer
	// Close leaves what was last shown on the screen.
	Close() error
}

// Follow watches a study to its end and shows it in the view. A watch that breaks off begins again where it was. It
// returns the study as it has ended. all says that the view needs all runs from the beginning, even of a large study.
func (c *Client) Follow(ctx context.Context, name string, all bool, view ProgressView) (*trellisv1.Study, error) {
	restore := c.redirectNotices(view)
	defer restore()
	var index uint64
	var study *trellisv1.Study
	for {
		err := c.Watch(ctx, &trellisv1.WatchStudyRequest{Study: name, SinceIndex: index, AllRuns: all},
			func(response *trellisv1.WatchStudyResponse) {
				index, study = response.GetIndex(), response.GetStudy()
				view.Update(response)
			})
		switch {
		case ctx.Err() != nil:
			return study, context.Cause(ctx)
		case err == nil && lifecycle.StudyEnded(study.GetState()):
			return study, nil
		case err == nil, BreaksOff(err):
			rest(ctx)
		default:
			return study, err
		}
	}
}

// rest waits before a watch that broke off begins again.
func rest(ctx context.Context) {
	pause := time.NewTimer(rand.N(rewatchDelay))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
}

// Watch calls see with each response of one watch. It returns nil when the coordinator ends it.
func (c *Client) Watch(
	ctx context.Context, request *trellisv1.WatchStudyRequest, see func(*trellisv1.WatchStudyResponse),
) error {
	stream, err := c.WatchStudy(ctx, request)
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
		see(response)
	}
}

// BreaksOff says whether a stream that ends with err may go on: the coordinator has restarted, or the network failed.
func BreaksOff(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Aborted, codes.ResourceExhausted:
		return true
	default:
		return CutOff(err)
	}
}

// redirectNotices has the client's notices written to out until restore is called.
func (c *Client) redirectNotices(out io.Writer) (restore func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.notices
	c.notices = out
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.notices = before
	}
}
