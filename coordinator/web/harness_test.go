package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080} }

func (p *pipes) hand(conn net.Conn) {
	select {
	case p.conns <- conn:
	case <-p.closed:
		conn.Close()
	}
}

func (p *pipes) dial() net.Conn {
	own, servers := net.Pipe()
	go p.hand(servers)
	return own
}

// fake is a coordinator's gRPC server that does what a test says.
type fake struct {
	trellisv1.UnimplementedStudyServiceServer
	trellisv1.UnimplementedTrialServiceServer
	trellisv1.UnimplementedArtifactServiceServer
	trellisv1.UnimplementedAccessServiceServer

	create   func(*trellisv1.CreateStudyRequest) error
	study    *trellisv1.Study
	get      func() (*trellisv1.Study, error)
	watch    func(*trellisv1.WatchStudyRequest, grpc.ServerStreamingServer[trellisv1.WatchStudyResponse]) error
	events   func(*trellisv1.WatchEventsRequest, grpc.ServerStreamingServer[trellisv1.WatchEventsResponse]) error
	output   []*trellisv1.GetOutputResponse
	upload   func(grpc.ClientStreamingServer[trellisv1.UploadArtifactRequest, trellisv1.UploadArtifactResponse]) error
	download []byte
	// asked is the last request for output, and authorization that of the last call.
	asked         *trellisv1.GetOutputRequest
	authorization []string
}

func (f *fake) CreateStudy(
	_ context.Context, request *trellisv1.CreateStudyRequest,
) (*trellisv1.CreateStudyResponse, error) {
	if f.create != nil {
		if err := f.create(request); err != nil {
			return nil, err
		}
	}
	return &trellisv1.CreateStudyResponse{Study: &trellisv1.Study{Name: request.GetSpec().GetName()}}, nil
}

func (f *fake) GetStudy(context.Context, *trellisv1.GetStudyRequest) (*trellisv1.GetStudyResponse, error) {
	if f.get != nil {
		study, err := f.get()
		return &trellisv1.GetStudyResponse{Study: study}, err
	}
	if f.study == nil {
		return nil, status.Error(codes.NotFound, "there is none")
	}
	return &trellisv1.GetStudyResponse{Study: f.study}, nil
}

func (f *fake) ExtendStudy(
	_ context.Context, request *trellisv1.ExtendStudyRequest,
) (*trellisv1.ExtendStudyResponse, error) {
	return &trellisv1.ExtendStudyResponse{Study: &trellisv1.Study{Name: request.GetStudy()}}, nil
}

func (f *fake) WatchStudy(
	request *trellisv1.WatchStudyRequest, stream grpc.ServerStreamingServer[trellisv1.WatchStudyResponse],
) error {
	return f.watch(request, stream)
}

func (f *fake) WatchEvents(
	request *trellisv1.WatchEventsRequest, stream grpc.ServerStreamingServer[trellisv1.WatchEventsResponse],
) error {
	return f.events(request, stream)
}

func (f *fake) GetOutput(
	request *trellisv1.GetOutputRequest, stream grpc.ServerStreamingServer[trellisv1.GetOutputResponse],
) error {
	f.asked = request
	for _, one := range f.output {
		if err := stream.Send(one); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) UploadArtifact(
	stream grpc.ClientStreamingServer[trellisv1.UploadArtifactRequest, trellisv1.UploadArtifactResponse],
) error {
	if f.upload != nil {
		return f.upload(stream)
	}
	_, err := stream.Recv()
	return err
}

func (f *fake) DownloadArtifact(
	_ *trellisv1.DownloadArtifactRequest, stream grpc.ServerStreamingServer[trellisv1.DownloadArtifactResponse],
) error {
	for data := f.download; len(data) > 0; {
		n := min(len(data), 1<<20)
		if err := stream.Send(&trellisv1.DownloadArtifactResponse{Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (f *fake) WhoAmI(ctx context.Context, _ *trellisv1.WhoAmIRequest) (*trellisv1.WhoAmIResponse, error) {
	f.authorization = metadata.ValueFromIncomingContext(ctx, authorizationKey)
	if len(f.authorization) != 1 || f.authorization[0] != "Bearer good" {
		return nil, status.Error(codes.Unauthenticated, "unknown token")
	}
	return &trellisv1.WhoAmIResponse{Principal: &trellisv1.Principal{Name: "ann"}}, nil
}

// harness is a server in memory, under a fake clock.
type harness struct {
	*testing.T
	*fake
	pipes  *pipes
	server *Server
	client *http.Client
}

// serve runs a test with a server in front of a fake coordinator.
func serve(t *testing.T, config Config, test func(*harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &harness{T: t, fake: &fake{}, pipes: newPipes()}
		calls := newPipes()
		backend := grpc.NewServer()
		trellisv1.RegisterStudyServiceServer(backend, h.fake)
		trellisv1.RegisterTrialServiceServer(backend, h.fake)
		trellisv1.RegisterArtifactServiceServer(backend, h.fake)
		trellisv1.RegisterAccessServiceServer(backend, h.fake)
		config.Connect = func(inner, _ net.Conn) { calls.hand(inner) }
		if config.MaxBody == 0 {
			config.MaxBody = 1 << 20
		}
		config.Page = fstest.MapFS{
			"index.html":       {Data: []byte("<p>the page")},
			"assets/page-1.js": {Data: []byte("page()")},
		}
		server, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		h.server = server
		var served sync.WaitGroup
		served.Go(func() {
			if err := server.Serve(h.pipes); err != nil {
				t.Error(err)
			}
		})
		served.Go(func() {
			if err := backend.Serve(calls); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				t.Error(err)
			}
		})
		transport := &http.Transport{
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return h.pipes.dial(), nil },
			DisableCompression: true,
		}
		h.client = &http.Client{Transport: transport}
		defer func() {
			transport.CloseIdleConnections()
			backend.Stop()
			server.Stop()
			served.Wait()
		}()
		test(h)
	})
}

// request makes a request. Its headers are names and values in turn.
func (h *harness) request(verb, path, body string, header ...string) *http.Response {
	h.Helper()
	request, err := http.NewRequestWithContext(h.Context(), verb, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
			continue
		}
		request.Header.Set(header[i], header[i+1])
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.Fatal(err)
	}
	return response
}

// send makes a request and returns the status and the body of its answer.
func (h *harness) send(verb, path, body string, header ...string) (httpStatus int, answer string) {
	h.Helper()
	response := h.request(verb, path, body, header...)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		h.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// problem makes a request that is refused.
func (h *harness) problem(verb, path, body string, header ...string) problem {
	h.Helper()
	response := h.request(verb, path, body, header...)
	defer response.Body.Close()
	var p problem
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Status != response.StatusCode ||
		response.Header.Get("Content-Type") != problemType {
		h.Fatalf("%s %s: %d with the problem %+v, %v", verb, path, response.StatusCode, p, err)
	}
	return p
}

// json is the header of a body of JSON.
var asJSON = []string{"Content-Type", jsonType}

// event is a server-sent event, or a comment.
type event struct{ id, name, data string }

// events reads the next events of a stream.
func readEvents(t *testing.T, from *bufio.Reader, count int) (events []event) {
	t.Helper()
	var next event
	for len(events) < count {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("after %v: %v", events, err)
		}
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); name {
		case "id":
			next.id = value
		case "event":
			next.name = value
		case "data":
			next.data = value
		case ":":
			next.name = "comment"
		case "":
			if next != (event{}) {
				events = append(events, next)
			}
			next = event{}
		}
	}
	return events
}

// elapsed returns how long f takes by the fake clock.
func elapsed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
