package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/connection"
	"trellis/tracing"
)

// authorizationKey is the only header that becomes metadata of a call, besides what names a trace. The server believes
// others of nodes alone, but a request has no business with them.
const authorizationKey = "authorization"

// marshal returns a message as JSON, with the names that specs and commands have. The same message has the same bytes,
// which protojson does not promise.
func marshal(message proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	return compact(data), nil
}

// compact leaves out the spaces outside of strings, in place. It is json.Compact for JSON that is known to be right:
// most of a chart's answer is a few long strings, which it need not look into.
func compact(data []byte) []byte {
	kept := data[:0]
	for len(data) > 0 {
		if data[0] != '"' {
			if data[0] != ' ' {
				kept = append(kept, data[0])
			}
			data = data[1:]
			continue
		}
		end := 1 + stringEnd(data[1:])
		kept = append(kept, data[:end]...)
		data = data[end:]
	}
	return kept
}

// stringEnd is where a string ends, behind its quotation mark, of what follows the one before it.
func stringEnd(data []byte) int {
	for end := 0; ; {
		mark := bytes.IndexByte(data[end:], '"')
		if mark < 0 {
			return len(data)
		}
		end += mark + 1
		escaped := false
		for i := end - 2; i >= 0 && data[i] == '\\'; i-- {
			escaped = !escaped
		}
		if !escaped {
			return end
		}
	}
}

// open opens a call on behalf of a request. From then on the server knows who calls, and counts and limits the call.
func (s *Server) open(ctx context.Context, r *http.Request, route Route) (grpc.ClientStream, error) {
	own := connOf(r.Context())
	if own == nil {
		return nil, status.Error(codes.Internal, "the connection of a request is not known")
	}
	client, err := own.calls()
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "connect to this coordinator: %v", err)
	}
	for _, authorization := range s.authorizations(r) {
		ctx = metadata.AppendToOutgoingContext(ctx, authorizationKey, authorization)
	}
	ctx = tracing.FromHTTP(ctx, r.Header)
	// A stream makes unary calls too. It lets the server refuse the call before its request is sent.
	return client.NewStream(ctx, &grpc.StreamDesc{
		StreamName: string(route.descriptor.Name()), ServerStreams: true, ClientStreams: true,
	}, route.Method)
}

// unary serves a call with one request and one response.
func (s *Server) unary(w http.ResponseWriter, r *http.Request, route Route, path map[string]string) {
	if question, most := s.question(r); most > 0 {
		s.share(w, r, route, path, question, most)
		return
	}
	s.answer(w, r, route, path)
}

// answer is unary for an answer that is nobody else's.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, route Route, path map[string]string) {
	response := route.response.New().Interface()
	if err := s.call(w, r, route, path, response); err != nil {
		failEarly(w, r, err)
		return
	}
	s.respond(w, r, response)
}

// share is unary for an answer that may be somebody else's, and others' after that.
func (s *Server) share(
	w http.ResponseWriter, r *http.Request, route Route, path map[string]string, question string, most time.Duration,
) {
	one, own := s.shared.share(question, most)
	if !own {
		if one.await(r.Context()) {
			one.write(w, r)
			return
		}
		s.answer(w, r, route, path) // Who asked has failed, perhaps by its own fault.
		return
	}
	// Others don't wait for this client to take the answer, nor if this panics.
	defer s.shared.settle(question, one, nil)
	response := route.response.New().Interface()
	if err := s.call(w, r, route, path, response); err != nil {
		failEarly(w, r, err)
		return
	}
	defer s.taken(r, response)
	body, err := encode(response)
	if err != nil {
		fail(w, err)
		return
	}
	s.shared.settle(question, one, body)
	one.write(w, r)
}

// call makes a call, and fills in its response. The server is asked before the request is read: it may refuse the call,
// or say that there are too many.
func (s *Server) call(
	w http.ResponseWriter, r *http.Request, route Route, path map[string]string, response proto.Message,
) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := s.open(ctx, r, route)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() { received <- stream.RecvMsg(response) }()
	request, err := s.readRequest(w, r, route, path, received)
	if err != nil {
		return refusal(stream, received, err)
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return <-received
}

// errRefused means that a call has ended before its request was read.
var errRefused = errors.New("the call has ended")

// readRequest reads a request, unless the call ends before that.
func (s *Server) readRequest(
	w http.ResponseWriter, r *http.Request, route Route, path map[string]string, received chan error,
) (proto.Message, error) {
	if route.body == "" {
		return s.newRequest(w, r, route, path)
	}
	type result struct {
		request proto.Message
		err     error
	}
	read := make(chan result, 1)
	go func() {
		request, err := s.newRequest(w, r, route, path)
		read <- result{request, err}
	}()
	timer := time.NewTimer(bodyTime)
	defer timer.Stop()
	select {
	case its := <-read:
		return its.request, its.err
	case err := <-received:
		received <- err
		// Most bodies are here at once. To abandon one costs the connection, and with it what a browser asks for
		// meanwhile.
		late := time.NewTimer(lateBodyTime)
		defer late.Stop()
		select {
		case <-read:
		case <-late.C:
			abandon(w)
			<-read
		}
		return nil, errRefused
	case <-timer.C:
		abandon(w)
		its := <-read
		return its.request, its.err
	}
}

// abandon ends the reading of a body. The connection ends with the answer.
func abandon(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
}

const (
	// lateBody and lateBodyTime bound what is read of a body after the answer, in bytes and time. A connection that is
	// closed with unread data may lose the answer.
	lateBody     = 64 << 20
	lateBodyTime = 500 * time.Millisecond
)

// failEarly answers with an error, even if the body has not been read.
func failEarly(w http.ResponseWriter, r *http.Request, err error) {
	fail(w, err)
	if r.ContentLength == 0 {
		return
	}
	control := http.NewResponseController(w)
	if control.Flush() == nil && control.SetReadDeadline(time.Now().Add(lateBodyTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, lateBody)
	}
}

// refusal returns why the server refuses a call whose request is wrong, or what is wrong with the request: who may not
// make the call learns nothing else.
func refusal(stream grpc.ClientStream, received chan error, wrong error) error {
	// A call without a request is an internal error to the server, if it gets that far.
	_ = stream.CloseSend()
	err := <-received
	switch code := status.Code(err); {
	case errors.Is(wrong, errRefused), code == codes.Unauthenticated, code == codes.PermissionDenied,
		code == codes.ResourceExhausted, code == codes.Unavailable:
		return err
	}
	return wrong
}

// encode returns a response's body.
func encode(response proto.Message) ([]byte, error) {
	body, err := marshal(response)
	if err != nil {
		return nil, newProblem(http.StatusInternalServerError, "write the response as JSON: "+err.Error())
	}
	return append(body, '\n'), nil
}

// respond answers with a message as JSON. If the client has the same already, it is told so.
func (s *Server) respond(w http.ResponseWriter, r *http.Request, response proto.Message) {
	defer s.taken(r, response)
	if r.Method == http.MethodGet && takesGzip(r) && proto.Size(response) >= packFrom {
		one, err := s.packed.of(response, r.Header.Get("If-None-Match"))
		if err != nil {
			fail(w, err)
			return
		}
		one.write(w, r)
		return
	}
	body, err := encode(response)
	if err != nil {
		fail(w, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", jsonType)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Cache-Control", "no-store")
		_, _ = w.Write(body)
		return
	}
	tagged(w, r, body)
}

// tagged answers with a body, unless the client has the same already.
func tagged(w http.ResponseWriter, r *http.Request, body []byte) {
	writeTagged(w, r, tagOf(body), body)
}

// tagOf is the entity tag of a body: a weak one, because it is the same with and without compression.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `W/"` + hex.EncodeToString(sum[:12]) + `"`
}

// writeTagged answers with a body, compressed or not, unless the client has what the tag is of already.
func writeTagged(w http.ResponseWriter, r *http.Request, tag string, body []byte) {
	w.Header().Set("Etag", tag)
	w.Header().Set("Cache-Control", "private, no-cache")
	if matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body)
}

// matches says whether a list of entity tags has a tag.
func matches(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// taken says that the client has taken a message, or never will: it does not count as unread any more.
func (s *Server) taken(r *http.Request, message proto.Message) {
	if own := connOf(r.Context()); own != nil {
		connection.Of(own.RemoteAddr()).Written(connection.SizeOf(message))
	}
}
