package studies

import (
	"context"
	"errors"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// streamStudy follows a study to its end and writes what the coordinator sends as lines of JSON. It returns ErrIncomplete as
// WatchStudy does.
func streamStudy(ctx context.Context, env *cli.Environment, c *client.Client, name string) error {
	view := &streamView{env: env}
	study, err := c.Follow(ctx, name, true, view)
	if err := errors.Join(err, view.Close()); err != nil {
		return err
	}
	return Outcome(study)
}

// streamView writes a line of JSON for each response of a watch.
type streamView struct {
	env *cli.Environment
	// err is the first that a line could not be written for.
	err error
}

var _ client.ProgressView = (*streamView)(nil)

// Update writes a response.
func (v *streamView) Update(response *trellisv1.WatchStudyResponse) {
	if v.err == nil {
		v.err = output.WriteLine(v.env.Out, response)
	}
}

// Write writes a notice.
func (v *streamView) Write(notice []byte) (int, error) { return v.env.Err.Write(notice) }

// Close says whether all was written.
func (v *streamView) Close() error { return v.err }
