package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	eventsType = "text/event-stream"
	svgType    = "image/svg+xml"
	pngType    = "image/png"
	// beat is how often a stream without events says that it is alive. Proxies end connections that are silent for a minute.
	beat = 15 * time.Second
	// reconnect is how many milliseconds a browser waits before it opens a stream again that has ended.
	reconnect = 1000
	// fileReadTime is how long a client may send nothing of a file.
	fileReadTime = time.Minute
	// fileWrite is how many bytes of an uploaded file one message has.
	fileWrite = 1 << 20
)

// begin opens a call with one request and many responses, and sends the request as adjust changes it.
func (s *Server) begin(
	ctx context.Context, w http.ResponseWriter, r *http.Request, route Route, path map[string]string,
	adjust func(proto.Message) error,
) (grpc.ClientStream, error) {
	stream, err := s.open(ctx, r, route)
	if err != nil {
		return nil, err
	}
	request, err := s.newRequest(w, r, route, path)
	if err == nil {
		err = adjust(request)
	}
	if err != nil {
		received := make(chan error, 1)
		received <- stream.CloseSend()
		if <-received == nil {
			received <- stream.RecvMsg(route.response.New().Interface())
		}
		return nil, refusal(stream, received, err)
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// received is a response of a stream, or how it has ended.
type received struct {
	message proto.Message
	err     error
}

// receive receives the responses of a stream until it ends or ctx is done.
func receive(ctx context.Context, stream grpc.ClientStream, of protoreflect.MessageType) <-chan received {
	all := make(chan received)
	go func() {
		for {
			message := of.New().Interface()
			err := stream.RecvMsg(message)
			select {
			case all <- received{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return all
}

// stream serves a call with many responses as server-sent events. An event's id says where to go on: a browser that has lost
// the connection sends the last one that it has seen.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, route Route, path map[string]string) {
	from, err := resumeFrom(route, r.Header.Get("Last-Event-Id"))
	if err != nil {
		fail(w, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := s.begin(ctx, w, r, route, path, from.adjust)
	if err != nil {
		fail(w, err)
		return
	}
	events := &eventWriter{w: w, control: http.NewResponseController(w), text: from.isText(r)}
	responses := receive(ctx, stream, route.response)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			err = events.beat()
		case next := <-responses:
			if next.err != nil {
				events.end(next.err)
				return
			}
			id, message := from.event(next.message)
			err = events.send(id, message)
			s.taken(r, next.message)
			ticker.Reset(beat)
		}
		if err != nil {
			return
		}
	}
}

// eventWriter writes the events of a stream, or what a program has written as plain text.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	text    bool
	begun   bool
}

// begin writes the head, once it is known that the call succeeds.
func (e *eventWriter) begin() {
	if e.begun {
		return
	}
	e.begun = true
	header := e.w.Header()
	header.Set("Cache-Control", "no-store")
	// Proxies that buffer responses would hold events back.
	header.Set("X-Accel-Buffering", "no")
	if e.text {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		return
	}
	header.Set("Content-Type", eventsType)
	fmt.Fprintf(e.w, "retry: %d\n\n", reconnect)
}

// beat says that the stream is alive.
func (e *eventWriter) beat() error {
	e.begin()
	if e.text {
		return nil
	}
	if _, err := io.WriteString(e.w, ":\n\n"); err != nil {
		return err
	}
	return e.control.Flush()
}

// send writes a response.
func (e *eventWriter) send(id string, message proto.Message) error {
	e.begin()
	if output, ok := message.(*trellisv1.GetOutputResponse); ok && e.text {
		if output.GetOmitted() > 0 {
			fmt.Fprintf(e.w, "\n[%d bytes left out]\n", output.GetOmitted())
		}
		if _, err := e.w.Write(output.GetData()); err != nil {
			return err
		}
		return e.control.Flush()
	}
	data, err := marshal(message)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e.w, "id: %s\ndata: %s\n\n", id, data); err != nil {
		return err
	}
	return e.control.Flush()
}

// end says how the stream has ended. A client that hears of the end does not open the stream again; one that hears of a
// problem can.
func (e *eventWriter) end(err error) {
	switch {
	case !errors.Is(err, io.EOF) && !e.begun:
		fail(e.w, err)
		return
	case !errors.Is(err, io.EOF) && e.text:
		// The client must notice that it does not have everything.
		panic(http.ErrAbortHandler)
	case !errors.Is(err, io.EOF):
		fmt.Fprintf(e.w, "event: problem\ndata: %s\n\n", problemOf(err).json())
	default:
		if e.begin(); !e.text {
			io.WriteString(e.w, "event: end\ndata: {}\n\n")
		}
	}
	_ = e.control.Flush()
}

// resumption says how a stream goes on after an event.
type resumption interface {
	// adjust changes the request.
	adjust(request proto.Message) error
	// event returns a response's id, and what of the response is sent.
	event(response proto.Message) (id string, message proto.Message)
	// isText says whether the client wants plain text.
	isText(r *http.Request) bool
}

// resumeFrom returns how a stream goes on after the event with an id, "" for none.
func resumeFrom(route Route, id string) (resumption, error) {
	invalid := newProblem(http.StatusBadRequest, fmt.Sprintf("invalid Last-Event-ID %.100q: must be an id of this stream", id))
	if route.Method == trellisv1.TrialService_GetOutput_FullMethodName {
		from := &outputResumption{}
		if id == "" {
			return from, nil
		}
		attempt, offset, found := strings.Cut(id, "-")
		var err, wrong error
		from.attempt, err = strconv.ParseUint(attempt, 10, 64)
		from.skip, wrong = strconv.ParseUint(offset, 10, 64)
		if !found || err != nil || wrong != nil {
			return nil, invalid
		}
		return from, nil
	}
	from := &watchResumption{}
	if id == "" {
		return from, nil
	}
	after, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return nil, invalid
	}
	from.after = &after
	return from, nil
}

// watchResumption goes on after an index of a study, or after the number of an event. after is nil for a new watch.
type watchResumption struct{ after *uint64 }

func (f *watchResumption) adjust(request proto.Message) error {
	if f.after == nil {
		return nil
	}
	switch request := request.(type) {
	case *trellisv1.WatchStudyRequest:
		request.SinceIndex = *f.after
	case *trellisv1.WatchEventsRequest:
		request.SinceNumber = f.after
	}
	return nil
}

func (f *watchResumption) event(response proto.Message) (id string, message proto.Message) {
	var position uint64
	switch response := response.(type) {
	case *trellisv1.WatchStudyResponse:
		position = response.GetIndex()
	case *trellisv1.WatchEventsResponse:
		position = response.GetNumber()
	}
	return strconv.FormatUint(position, 10), response
}

func (f *watchResumption) isText(*http.Request) bool { return false }

// outputResumption goes on after so many bytes of an attempt's output.
type outputResumption struct{ attempt, skip, sent uint64 }

func (f *outputResumption) adjust(request proto.Message) error {
	output, _ := request.(*trellisv1.GetOutputRequest)
	if f.attempt == 0 {
		return nil
	}
	if asked := output.GetAttempt(); asked != 0 && asked != f.attempt {
		return fieldError("attempt", fmt.Sprintf("the Last-Event-ID is of attempt %d, and the request of %d", f.attempt, asked))
	}
	output.Attempt = f.attempt
	return nil
}

func (f *outputResumption) event(response proto.Message) (id string, message proto.Message) {
	output, ok := response.(*trellisv1.GetOutputResponse)
	if !ok {
		return "", response
	}
	rest := &trellisv1.GetOutputResponse{Attempt: output.GetAttempt(), Data: output.GetData(), Omitted: output.GetOmitted()}
	if known := min(f.skip-min(f.sent, f.skip), rest.GetOmitted()); known > 0 {
		rest.Omitted -= known
		f.sent += known
	}
	f.sent += rest.GetOmitted()
	if known := min(f.skip-min(f.sent, f.skip), uint64(len(rest.GetData()))); known > 0 {
		rest.Data = rest.GetData()[known:]
		f.sent += known
	}
	f.sent += uint64(len(rest.GetData()))
	// Until what the client has already is passed, it still goes on from there.
	return fmt.Sprintf("%d-%d", rest.GetAttempt(), max(f.sent, f.skip)), rest
}

// isText says whether the client has not asked for events: what a program writes is text to people.
func (f *outputResumption) isText(r *http.Request) bool {
	return !strings.Contains(r.Header.Get("Accept"), eventsType)
}

// download serves a call whose responses are pieces of a file.
func (s *Server) download(w http.ResponseWriter, r *http.Request, route Route, path map[string]string) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := s.begin(ctx, w, r, route, path, func(proto.Message) error { return nil })
	if err != nil {
		fail(w, err)
		return
	}
	field := route.response.Descriptor().Fields().Get(0)
	for begun := false; ; begun = true {
		message := route.response.New()
		err := stream.RecvMsg(message.Interface())
		done := errors.Is(err, io.EOF)
		if err != nil && !done {
			if !begun {
				fail(w, err)
				return
			}
			// The client must notice that it does not have everything.
			panic(http.ErrAbortHandler)
		}
		if !begun {
			fileHead(w.Header(), path)
			if route.Method == trellisv1.PaperService_DownloadPicture_FullMethodName {
				pictureHead(w.Header(), message.Get(field).Bytes())
			}
			if tag := w.Header().Get("Etag"); tag != "" && matches(r.Header.Get("If-None-Match"), tag) {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		if done {
			return
		}
		_, err = w.Write(message.Get(field).Bytes())
		s.taken(r, message.Interface())
		if err != nil {
			return
		}
	}
}

// fileHead sets the headers of a file. One that is named by its content never changes: a browser may keep it, but must ask each time
// whether whoever wants it now may have it.
func fileHead(header http.Header, path map[string]string) {
	header.Set("Content-Type", fileType)
	header.Set("Cache-Control", "no-store")
	name := "trellis-backup"
	if digest := path["sha256"]; digest != "" {
		name = digest
		header.Set("Etag", `"`+digest+`"`)
		header.Set("Cache-Control", "private, no-cache")
	}
	header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// pictureHead sets the headers of a picture, which a browser may show. Whoever wrote the report has made it, and it has the
// address of this coordinator: it is an image whatever it claims to be, and may neither run nor load anything.
func pictureHead(header http.Header, begin []byte) {
	header.Set("Content-Type", svgType)
	if bytes.HasPrefix(begin, []byte("\x89PNG\r\n\x1a\n")) {
		header.Set("Content-Type", pngType)
	}
	header.Set("Content-Disposition", "inline")
	header.Set("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox")
}

// upload serves a call whose requests are pieces of a file.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, route Route, path map[string]string) {
	response := route.response.New().Interface()
	if err := s.sendFile(w, r, route, path, response); err != nil {
		failEarly(w, r, err)
		return
	}
	s.respond(w, r, response)
}

// sendFile sends a file, unless the call ends before that, and fills in the response.
func (s *Server) sendFile(
	w http.ResponseWriter, r *http.Request, route Route, path map[string]string, response proto.Message,
) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stream, err := s.open(ctx, r, route)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		received <- stream.RecvMsg(response)
		close(ended)
	}()
	_, err = s.newRequest(w, r, route, path)
	if err == nil {
		err = checkType(r, fileType)
	}
	if err != nil {
		return refusal(stream, received, err)
	}
	sent := make(chan error, 1)
	go func() { sent <- sendPieces(w, r, route, stream) }()
	select {
	case err = <-sent:
	case <-ended:
		// It was refused.
		abandon(w)
		<-sent
		return <-received
	}
	if err != nil {
		cancel()
		<-received
		return err
	}
	return <-received
}

// sendPieces sends a file piece by piece, until it or the call ends.
func sendPieces(w http.ResponseWriter, r *http.Request, route Route, stream grpc.ClientStream) error {
	control := http.NewResponseController(w)
	field := route.request.Descriptor().Fields().ByName(protoreflect.Name(route.body))
	buffer := make([]byte, fileWrite)
	for {
		_ = control.SetReadDeadline(time.Now().Add(fileReadTime))
		n, err := io.ReadFull(r.Body, buffer)
		if n > 0 {
			message := route.request.New()
			message.Set(field, protoreflect.ValueOfBytes(buffer[:n]))
			if err := stream.SendMsg(message.Interface()); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && r.ContentLength < 0:
			return stream.CloseSend()
		case errors.Is(err, io.ErrUnexpectedEOF):
			// The last piece, or the client has sent less than it said.
			if _, err := io.ReadFull(r.Body, buffer[:1]); errors.Is(err, io.EOF) {
				return stream.CloseSend()
			}
			return badBody(err)
		case err != nil:
			return badBody(err)
		}
	}
}
