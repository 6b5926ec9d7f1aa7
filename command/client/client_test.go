package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/exit"
	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

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
	fake := &fake.Coordinator{}
	fake.OnWatch = func(request *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer) error {
		requests = append(requests, request.GetSinceIndex())
		send := func(index uint64, state trellisv1.StudyState) error {
			return stream.Send(&trellisv1.WatchStudyResponse{
				Index: index,
				Study: &trellisv1.Study{Name: "s", State: state},
			})
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
	c := connect(t, fake.Serve(t))
	view := new(recordingView)
	study, err := c.Follow(t.Context(), "s", false, view)
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

// Of several nodes, one that is there is enough. When it goes away, calls and watches go on through another without a
// word: only when there is none left, it is said, once.
func TestSeveralNodes(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	node := func(name string) *fake.Coordinator {
		note := func() error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, name)
			return nil
		}
		return &fake.Coordinator{
			OnList: note,
			OnWatch: func(request *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer) error {
				state := trellisv1.StudyState_STUDY_STATE_RUNNING
				if request.GetSinceIndex() > 0 {
					state = trellisv1.StudyState_STUDY_STATE_COMPLETED
				}
				note()
				err := stream.Send(&trellisv1.WatchStudyResponse{
					Index: request.GetSinceIndex() + 1, Study: &trellisv1.Study{Name: "s", State: state},
				})
				if request.GetSinceIndex() == 0 {
					<-stream.Context().Done()
				}
				return err
			},
		}
	}
	first, stopFirst := node("first").ServeUntil(t)
	second, stopSecond := node("second").ServeUntil(t)
	var notices lockedBuffer
	c, err := New(fake.FreeAddress(t)+","+first+","+second, Credentials{}, &notices)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Connect(t.Context(), DefaultWait); err != nil {
		t.Fatal(err)
	}
	if err := c.EachStudy(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	view := &stoppingView{stop: stopFirst}
	study, err := c.Follow(t.Context(), "s", false, view)
	if err != nil || study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
		t.Fatalf("got %v, %v", study, err)
	}
	if err := c.EachStudy(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(asked), "[first first second second]"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if notices.String() != "" || view.String() != "" {
		t.Errorf("the client said %q, %q", notices.String(), view.String())
	}
	stopSecond()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.EachStudy(ctx, nil) }()
	for began := time.Now(); !strings.Contains(notices.String(), "no coordinator at"); {
		if time.Since(began) > time.Minute {
			t.Fatal("without a node, the client says nothing")
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(time.Second) // It keeps trying, and says nothing more.
	cancel()
	if err := <-ended; err == nil {
		t.Error("without a node, the call has succeeded")
	}
	said := notices.String()
	if strings.Count(said, "no coordinator at") != 1 || !strings.Contains(said, first+","+second) {
		t.Errorf("without a node, the client said %q", said)
	}
}

// An outage begins when no node can be connected to, whatever was before, and is said once.
func TestNoticeOfAnOutage(t *testing.T) {
	var notices lockedBuffer
	first, second := fake.FreeAddress(t), fake.FreeAddress(t)
	c, err := New(first+","+second, Credentials{}, &notices)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dial := func(address string, wantNotices int) {
		t.Helper()
		if conn, err := c.dial(t.Context(), address); err == nil {
			conn.Close()
		}
		if got := strings.Count(notices.String(), "no coordinator at"); got != wantNotices {
			t.Errorf("%d notices, want %d", got, wantNotices)
		}
	}
	dial(first, 0)
	dial(second, 1)
	dial(first, 1)
	listener, err := net.Listen("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	dial(first, 1)
	listener.Close()
	dial(first, 1)
	dial(second, 2)
}

// stoppingView calls stop at the first response.
type stoppingView struct {
	recordingView
	stop func()
}

func (v *stoppingView) Update(response *trellisv1.WatchStudyResponse) {
	if len(v.indices) == 0 {
		v.stop()
	}
	v.recordingView.Update(response)
}

// lockedBuffer is a buffer that several goroutines write to.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// What will not change by trying again ends a watch.
func TestFollowGivesUp(t *testing.T) {
	fake := &fake.Coordinator{OnWatch: func(
		*trellisv1.WatchStudyRequest, trellisv1.StudyService_WatchStudyServer,
	) error {
		return status.Error(codes.NotFound, "study s: not found")
	}}
	c := connect(t, fake.Serve(t))
	_, err := c.Follow(t.Context(), "s", false, new(recordingView))
	if exit.Code(err) != exit.NotFound || exit.Text(err) != "study s: not found" {
		t.Errorf("got %v", err)
	}
}

// Calls that change nothing are sent again when the coordinator goes away. So is a study, which may have been heard:
// one that is there by then with the same spec is the one, another is not.
func TestRetries(t *testing.T) {
	var lists, creations int
	unavailable := status.Error(codes.Unavailable, "going away")
	spec := &trellisv1.StudySpec{Name: "s", Model: "synthetic"}
	fake := &fake.Coordinator{
		Cluster: &trellisv1.GetClusterResponse{},
		Study:   &trellisv1.Study{Name: "s", Spec: grid.WithDefaults(spec)},
		OnList: func() error {
			if lists++; lists < 3 {
				return unavailable
			}
			return nil
		},
		OnCreate: func(context.Context) error {
			if creations++; creations < 3 {
				return unavailable
			}
			return status.Error(codes.AlreadyExists, "exists already")
		},
	}
	c := connect(t, fake.Serve(t))
	if err := c.EachStudy(t.Context(), nil); err != nil || lists != 3 {
		t.Errorf("listed %d times: %v", lists, err)
	}
	if study, err := c.Create(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil ||
		study.GetName() != "s" || creations != 3 {
		t.Errorf("created %d times: %v, %v", creations, study, err)
	}
	// The first answer is that there is one, which is not ours.
	if _, err := c.Create(
		t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); exit.Code(err) != exit.AlreadyExists ||
		creations != 4 {
		t.Errorf("created %d times: %v", creations, err)
	}
	creations = 1
	fake.Study.Spec.Model = "another"
	if _, err := c.Create(
		t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); exit.Code(err) != exit.AlreadyExists ||
		creations != 3 {
		t.Errorf("created %d times: %v", creations, err)
	}
}

// A study is submitted once, when the coordinator has started and somebody leads.
func TestCreateWaitsForALeader(t *testing.T) {
	starting := status.Error(codes.Unavailable, "this coordinator is starting")
	fake := &fake.Coordinator{
		// More often than gRPC itself tries, and then there is no leader yet.
		Refusals: []error{starting, starting, starting, starting, starting, starting, nil, nil},
		Cluster: &trellisv1.GetClusterResponse{Nodes: []*trellisv1.Node{{
			Id: "first", Address: "first:1",
			Leader: true,
		}}},
	}
	creations := 0
	fake.OnCreate = func(context.Context) error {
		creations++
		if len(fake.Refusals) > 0 {
			t.Errorf("it was submitted with %v to come", fake.Refusals)
		}
		return nil
	}
	if _, err := connect(t, fake.Serve(t)).Create(t.Context(), &trellisv1.CreateStudyRequest{}); err != nil ||
		creations != 1 {
		t.Errorf("created %d times: %v", creations, err)
	}
	// What will not change by waiting is not waited for.
	fake.Refusals = []error{status.Error(codes.PermissionDenied, "no")}
	if _, err := connect(t, fake.Serve(t)).Create(t.Context(),
		&trellisv1.CreateStudyRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
}

// A coordinator that hangs does not hang its clients.
func TestCallsHaveDeadlines(t *testing.T) {
	fake := &fake.Coordinator{OnCreate: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	c := connect(t, fake.Serve(t))
	_, err := Call(t.Context(), 50*time.Millisecond, c.CreateStudy, &trellisv1.CreateStudyRequest{})
	if !errors.Is(err, exit.ErrUnavailable) || !strings.Contains(err.Error(), "has not answered within 50ms") {
		t.Errorf("got %v", err)
	}
}

// connect returns a client of the coordinator at an address.
func connect(t *testing.T, address string) *Client {
	t.Helper()
	c, err := New(address, Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context(), DefaultWait); err != nil {
		t.Fatal(err)
	}
	return c
}
