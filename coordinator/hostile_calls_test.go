package coordinator

import (
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// Calls that never send their request are ended by the coordinator, and so are streams whose peer is silent.
func TestCallsWithoutARequestEnd(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		conn := h.conn
		for method, server := range map[string]bool{
			trellisv1.StudyService_GetStudy_FullMethodName:            false,
			trellisv1.StudyService_WatchStudy_FullMethodName:          true,
			trellisv1.ArtifactService_UploadArtifact_FullMethodName:   false,
			trellisv1.ArtifactService_DownloadArtifact_FullMethodName: true,
			trellisv1.ClusterService_Restore_FullMethodName:           false,
			trellisv1.WorkerService_Session_FullMethodName:            true,
		} {
			began := time.Now()
			both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
			stream, err := conn.NewStream(h.Context(), both, method)
			if err != nil {
				h.Fatal(err)
			}
			response := new(trellisv1.GetStudyResponse)
			if err = stream.RecvMsg(response); err == io.EOF || err == nil {
				h.Errorf("%s: it ended with %v, as if it had a request", method, err)
			}
			if took := time.Since(began); took > 2*messageTimeout || took < time.Second && !inMemoryRefuses[method] {
				h.Errorf("%s: it ended after %v with %v (server streams: %t)", method, took, err, server)
			}
		}
	})
}

// inMemoryRefuses has the calls that a coordinator without a data directory refuses at once.
var inMemoryRefuses = map[string]bool{
	trellisv1.ClusterService_Restore_FullMethodName:         true,
	trellisv1.ArtifactService_UploadArtifact_FullMethodName: true,
}

// Sessions above a limit are refused, with the limit's name, and leave nothing behind.
func TestSessionsAreBounded(t *testing.T) {
	target := newTarget(t, hostileConfig{Limits: Limits{Sessions: 20, SessionsEach: 15, Calls: 100, CallsEach: 40}})
	refused := func(from, name, limit string, n int) (open int) {
		t.Helper()
		client := target.client(from)
		for i := range n {
			err := greet(t, client, fmt.Sprintf("%s-%d", name, i))
			if err == nil {
				open++
				continue
			}
			wantCode(t, err, codes.ResourceExhausted, "limit "+limit)
		}
		return open
	}
	if open := refused("127.0.0.2", "greedy", "sessions-each=15", 30); open != 15 {
		t.Errorf("one host has %d sessions, want 15", open)
	}
	if open := refused("127.0.0.3", "late", "sessions=20", 10); open != 5 {
		t.Errorf("another host has %d sessions, want 5", open)
	}
	workers, err := target.client("127.0.0.4").workers.ListWorkers(t.Context(), &trellisv1.ListWorkersRequest{})
	if err != nil || len(workers.GetWorkers()) != 20 {
		t.Errorf("%d workers are known, want 20: %v", len(workers.GetWorkers()), err)
	}
	// Calls of any kind have a limit too.
	client := target.client("127.0.0.5")
	refusals := 0
	for range 50 {
		stream, err := client.studies.WatchStudy(t.Context(), &trellisv1.WatchStudyRequest{Study: "none"})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) == codes.ResourceExhausted {
			refusals++
		}
	}
	if refusals > 0 {
		t.Errorf("%d calls that had ended still counted", refusals)
	}
	for range 50 {
		stream, err := client.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
			trellisv1.StudyService_WatchStudy_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = stream.RecvMsg(new(trellisv1.WatchStudyResponse)) }()
	}
	target.eventually("calls are refused", func() bool {
		_, err := client.studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{})
		return status.Code(err) == codes.ResourceExhausted
	})
	other := target.client("127.0.0.6")
	if _, err := other.studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{}); err != nil {
		t.Errorf("another host's call: %v", err)
	}
}

// greet opens a session, which stays open until the test ends.
func greet(t testing.TB, client *clients, name string) error {
	t.Helper()
	return greetWith(t.Context(), client, name)
}
