package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// DefaultTimeout is how long a receiver may take, from the connection to the end of its answer.
	DefaultTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, and maxAnswerHeader is how large its headers may be. Neither is kept.
	maxAnswer       = 64 << 10
	maxAnswerHeader = 64 << 10
	// maxError is how much of an error is kept, in bytes.
	maxError = 500
)

// Answer is what has become of one request.
type Answer struct {
	// Status is what the receiver has answered, 0 if it has not. Error says why.
	Status int
	Error  string
	// Time is when the request was made, and Took how long it took.
	Time time.Time
	Took time.Duration
}

// Accepted says whether the receiver has the event.
func (a Answer) Accepted() bool { return a.Status >= 200 && a.Status <= 299 }

// Gone says whether the receiver will never take one again.
func (a Answer) Gone() bool { return a.Status == http.StatusGone }

// Sender sends events. Each request has a connection of its own, goes through no proxy, and follows no redirect.
type Sender struct {
	// Version is the binary's.
	Version string
	// Timeout is how long a receiver may take. Default: DefaultTimeout.
	Timeout time.Duration
}

// Send posts an event to a hook.
func (s Sender) Send(ctx context.Context, h *trellisv1.Hook, event *trellisv1.HookEvent) Answer {
	answer := Answer{Time: time.Now()}
	timeout := cmp.Or(s.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	answer.Status, err = s.send(ctx, h, event, answer.Time)
	answer.Took = time.Since(answer.Time)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		answer.Error = fmt.Sprintf("no answer within %v", timeout)
	case err != nil:
		answer.Error = explain(err)
	}
	return answer
}

func (s Sender) send(
	ctx context.Context, h *trellisv1.Hook, event *trellisv1.HookEvent, now time.Time,
) (status int, err error) {
	body, err := Body(event)
	if err != nil {
		return 0, err
	}
	var answering atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { answering.Store(true) }})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.GetUrl(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	seconds := strconv.FormatInt(now.Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "trellis/"+s.Version)
	request.Header.Set("Webhook-Id", event.GetId())
	request.Header.Set("Webhook-Timestamp", seconds)
	request.Header.Set("Webhook-Signature", sign(h.GetSecret(), event.GetId(), seconds, body))
	transport := &http.Transport{
		DialContext:            dialUntil(ctx, h),
		TLSClientConfig:        tlsOf(h),
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
	response, err := transport.RoundTrip(request) // A client would follow redirects.
	if err != nil && answering.Load() {
		err = withoutAnswer(err)
	}
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, nil // Its body would be the connection.
	}
	_, err = io.CopyN(io.Discard, response.Body, maxAnswer)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the answer: %w", withoutAnswer(err))
	}
	return response.StatusCode, nil
}

// dialUntil dials for a hook. The connection is closed when ctx is done, whatever net/http does with it by then: the end of a
// leader's term must not depend on receivers.
func dialUntil(ctx context.Context, h *trellisv1.Hook) func(context.Context, string, string) (net.Conn, error) {
	dialer := &net.Dialer{Control: onlyTo(h)}
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(dialing, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
}

// Body returns the JSON of an event: that of the API. The same event has the same bytes.
func Body(event *trellisv1.HookEvent) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	return compact.Bytes(), nil
}

func tlsOf(h *trellisv1.Hook) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if h.GetAuthority() != "" {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM([]byte(h.GetAuthority()))
	}
	return config
}

// errAnswer stands for the errors of net/http that quote the answer.
var errAnswer = errors.New("the answer is not valid HTTP")

// How net/http's errors of an answer may begin, and how the one of headers that are too large goes on. It has no type.
const (
	broken   = "net/http: HTTP/1.x transport connection broken: "
	tooLarge = "net/http: server response headers exceeded "
)

// withoutAnswer returns an error that quotes nothing of the answer: the coordinator may reach services that whoever reads
// the error may not. The error is one of an answer that has begun.
func withoutAnswer(err error) error {
	_, network := errors.AsType[net.Error](err) // Deadlines too.
	if network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) ||
		strings.HasPrefix(strings.TrimPrefix(err.Error(), broken), tooLarge) {
		return err
	}
	return errAnswer
}

// explain returns the text of an error without the URL, which may be a secret, and not too long. It is valid UTF-8 also
// where it is cut: the log takes nothing else.
func explain(err error) string {
	if at, ok := errors.AsType[*url.Error](err); ok {
		err = at.Err
	}
	text := err.Error()
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}
