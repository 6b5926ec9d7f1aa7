package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// maxSilence is how long a service may leave a request without an answer, or stop in the middle of one. It is less than what
// a worker waits for, which so learns whose fault it is.
const maxSilence = 20 * time.Second

// slowest is how many bytes a second the service takes at least.
const slowest = 256 << 10

// readAhead is how many bytes the services' libraries read at most before the service has taken them: S3's reads a part
// of 8 MiB while 5 are on their way, and that of GCS 16 MiB.
const readAhead = 6 * 8 << 20

// silentError means that the service has not answered for so long.
type silentError time.Duration

func (e silentError) Error() string {
	return fmt.Sprintf("the bucket's service does not answer for %v", time.Duration(e))
}

// Is says that whoever asked has waited already: a retry without end would keep people waiting.
func (e silentError) Is(err error) bool { return err == context.DeadlineExceeded }

var errNoKeys = errors.New("found no keys for the bucket's service")

// answering is the context of a request. It ends with a silentError when the service does not answer.
type answering struct {
	context.Context
	cancel  context.CancelCauseFunc
	silence time.Duration
	timer   *time.Timer
}

// awaitAnswer awaits an answer from now on. Call end when the request has ended.
func awaitAnswer(ctx context.Context, silence time.Duration) *answering {
	ctx, cancel := context.WithCancelCause(ctx)
	return &answering{ctx, cancel, silence, time.AfterFunc(silence, func() { cancel(silentError(silence)) })}
}

// answered says that the service has answered, and asked that the next answer is awaited.
func (a *answering) answered() { a.timer.Stop() }

func (a *answering) asked() { a.timer.Reset(a.silence) }

func (a *answering) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// reason returns the error of the request in few words.
func (a *answering) reason(err error) error {
	var silent silentError
	if err != nil && errors.As(context.Cause(a), &silent) {
		return silent
	}
	return plain(err)
}

// answer is the content of an object as the service sends it.
type answer struct {
	io.ReadCloser
	of *answering
}

func (a answer) Read(p []byte) (int, error) {
	a.of.asked()
	n, err := a.ReadCloser.Read(p)
	a.of.answered()
	if err != nil && !errors.Is(err, io.EOF) {
		err = a.of.reason(err)
	}
	return n, err
}

func (a answer) Close() error {
	defer a.of.end()
	return a.ReadCloser.Close()
}

// serviceError is an error of a service's library in fewer words.
type serviceError struct {
	text  string
	cause error
}

func (e *serviceError) Error() string { return e.text }
func (e *serviceError) Unwrap() error { return e.cause }

// plain returns an error of a service in few words. The libraries' text names their own steps and ids of requests.
func plain(err error) error {
	var refused smithy.APIError
	var unsent *url.Error
	switch {
	case errors.As(err, &refused):
		text := "the bucket's service refuses: " + refused.ErrorCode()
		if message := strings.TrimSuffix(refused.ErrorMessage(), "."); message != "" && message != refused.ErrorCode() {
			text += " (" + message + ")"
		}
		return &serviceError{text, err}
	case errors.As(err, &unsent):
		return &serviceError{"the bucket's service can't be reached: " + unsent.Err.Error(), err}
	case err != nil && strings.Contains(err.Error(), "get credentials: "): // It has no type.
		return &serviceError{errNoKeys.Error(), errors.Join(errNoKeys, err)}
	}
	return err
}

// advice says what to look at when the service can't be asked for a bucket.
func advice(err error) string {
	var refused smithy.APIError
	if errors.As(err, &refused) || errors.Is(err, errNoKeys) {
		return "check the keys (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and what they may do, and " +
			"the URL's region and endpoint"
	}
	return "check that it is running, and the URL's region and endpoint"
}
