package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// fakeCoordinator answers as its functions say.
type fakeCoordinator struct {
	trellisv1.UnimplementedStudyServiceServer
	watch  func(*trellisv1.WatchStudyRequest, trellisv1.StudyService_WatchStudyServer) error
	create func(context.Context) error
	list   func() error
}

func (f *fakeCoordinator) WatchStudy(r *trellisv1.WatchStudyRequest, s trellisv1.StudyService_WatchStudyServer) error {
	return f.watch(r, s)
}

func (f *fakeCoordinator) CreateStudy(
	ctx context.Context, _ *trellisv1.CreateStudyRequest,
) (*trellisv1.CreateStudyResponse, error) {
	return &trellisv1.CreateStudyResponse{}, f.create(ctx)
}

func (f *fakeCoordinator) ListStudies(
	context.Context, *trellisv1.ListStudiesRequest,
) (*trellisv1.ListStudiesResponse, error) {
	return &trellisv1.ListStudiesResponse{}, f.list()
}

// serve serves the fake on a free port and returns its address.
func (f *fakeCoordinator) serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	trellisv1.RegisterStudyServiceServer(server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return listener.Addr().String()
}

// recordingView remembers what it is shown.
type recordingView struct {
	bytes.Buffer
	indices []uint64
}

func (v *recordingView) Update(response *trellisv1.WatchStudyResponse) {
	v.indices = append(v.indices, response.GetIndex())
}

func (v *recordingView) Close() error { return nil }

// A watch that breaks off goes on where it was, until the study has ended.
func TestFollowGoesOn(t *testing.T) {
	var requests []uint64
	fake := &fakeCoordinator{}
	fake.watch = func(request *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer) error {
		requests = append(requests, request.GetSinceIndex())
		send := func(index uint64, state trellisv1.StudyState) error {
			return stream.Send(&trellisv1.WatchStudyResponse{Index: index, Study: &trellisv1.Study{Name: "s", State: state}})
		}
		const running, completed = trellisv1.StudyState_STUDY_STATE_RUNNING, trellisv1.StudyState_STUDY_STATE_COMPLETED
		switch len(requests) {
		case 1:
			return errors.Join(send(10, running), send(20, running), status.Error(codes.Unavailable, "restarting"))
		case 2:
			return status.Error(codes.ResourceExhausted, "busy")
		case 3:
			return send(30, running)
		default:
			return send(40, completed)
		}
	}
	c := connect(t, fake.serve(t))
	view := new(recordingView)
	study, err := c.follow(t.Context(), "s", view)
	if err != nil || study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
		t.Fatalf("got %v, %v", study, err)
	}
	if got, want := fmt.Sprint(requests), "[0 20 20 30]"; got != want {
		t.Errorf("watched since %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(view.indices), "[10 20 30 40]"; got != want {
		t.Errorf("showed %s, want %s", got, want)
	}
}

// What will not change by trying again ends a watch.
func TestFollowGivesUp(t *testing.T) {
	fake := &fakeCoordinator{watch: func(*trellisv1.WatchStudyRequest, trellisv1.StudyService_WatchStudyServer) error {
		return status.Error(codes.NotFound, "study s: not found")
	}}
	c := connect(t, fake.serve(t))
	_, err := c.follow(t.Context(), "s", new(recordingView))
	if exitCode(err) != exitNotFound || errorText(err) != "study s: not found" {
		t.Errorf("got %v", err)
	}
}

// Calls that change nothing are sent again when the coordinator goes away; the creation of a study is not, since it may
// have been heard.
func TestRetries(t *testing.T) {
	var mu sync.Mutex
	var lists, creations int
	unavailable := status.Error(codes.Unavailable, "going away")
	fake := &fakeCoordinator{
		list: func() error {
			mu.Lock()
			defer mu.Unlock()
			if lists++; lists < 3 {
				return unavailable
			}
			return nil
		},
		create: func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			creations++
			return unavailable
		},
	}
	c := connect(t, fake.serve(t))
	if err := c.eachStudy(t.Context(), nil); err != nil || lists != 3 {
		t.Errorf("listed %d times: %v", lists, err)
	}
	if _, err := c.create(t.Context(), &trellisv1.StudySpec{}); exitCode(err) != exitUnavailable || creations != 1 {
		t.Errorf("created %d times: %v", creations, err)
	}
}

// A coordinator that hangs does not hang its clients.
func TestCallsHaveDeadlines(t *testing.T) {
	fake := &fakeCoordinator{create: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	c := connect(t, fake.serve(t))
	_, err := call(t.Context(), 50*time.Millisecond, c.CreateStudy, &trellisv1.CreateStudyRequest{})
	if !errors.Is(err, errUnavailable) || !strings.Contains(err.Error(), "has not answered within 50ms") {
		t.Errorf("got %v", err)
	}
}

// What listens but is no coordinator is said to be so.
func TestNoCoordinatorButSomethingElse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\n")
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	_, stderr, code := trellis(t, "studies", "--coordinator", listener.Addr().String(), "--wait", "500ms")
	if code != exitUnavailable || !strings.Contains(stderr, "does not answer as a coordinator does") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("some error"), 1},
		{status.Error(codes.FailedPrecondition, ""), 1},
		{usageErrorf("wrong flag"), 2},
		{&specError{}, 2},
		{errors.Join(&specError{}, &specError{}), 2},
		{status.Error(codes.InvalidArgument, ""), 2},
		{fmt.Errorf("cannot submit: %w", status.Error(codes.NotFound, "")), 3},
		{status.Error(codes.AlreadyExists, ""), 4},
		{status.Error(codes.Unavailable, ""), 5},
		{fmt.Errorf("%w at x", errUnavailable), 5},
		{outcomeOf(&trellisv1.Study{State: trellisv1.StudyState_STUDY_STATE_CANCELED, Progress: &trellisv1.Progress{}}), 6},
		{outcomeOf(&trellisv1.Study{Progress: &trellisv1.Progress{TrialsFailed: 1}}), 6},
		{outcomeOf(&trellisv1.Study{Progress: &trellisv1.Progress{Trials: 1, TrialsSucceeded: 1}}), 0},
		{errInterrupted, 130},
		{context.Canceled, 130},
		{status.Error(codes.Canceled, ""), 130},
	} {
		if got := exitCode(test.err); got != test.code {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.code)
		}
		if test.err != nil && !strings.Contains(exitCodesHelp, fmt.Sprintf("\n%5d  ", test.code)) {
			t.Errorf("exit code %d is not documented", test.code)
		}
	}
}

func TestErrorText(t *testing.T) {
	plain := status.Error(codes.NotFound, "study a: not found")
	for _, test := range []struct {
		err  error
		want string
	}{
		{plain, "study a: not found"},
		{fmt.Errorf("cannot submit: %w", plain), "cannot submit: study a: not found"},
		{errors.New("no status"), "no status"},
	} {
		if got := errorText(test.err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
