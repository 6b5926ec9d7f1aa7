package coordinator

import (
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
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

// overTCP runs a coordinator of this process on a real socket, and returns how to connect to it.
func overTCP(t *testing.T, limits Limits) (*Coordinator, func() *grpc.ClientConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Models: testModels, Numerics: testNumerics, Limits: limits}
	coordinator, err := New(config, listener, memoryDataSets{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- coordinator.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return coordinator, func() *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
			grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

// Clients that ask for much and read nothing hold no more than their limit, whether their calls go on or have ended.
// One that reads is served.
func TestWhatClientsDoNotReadIsBounded(t *testing.T) {
	limits := Limits{UnreadBytes: 8 << 20, UnreadBytesEach: 4 << 20}
	coordinator, connect := overTCP(t, limits)
	studies := trellisv1.NewStudyServiceClient(connect())
	spec := longSpec("large", 256<<10)
	create := &trellisv1.CreateStudyRequest{Spec: spec}
	if _, err := studies.CreateStudy(t.Context(), create, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	most := int64(0)
	for range 4 {
		hostile := trellisv1.NewStudyServiceClient(connect())
		for range 20 {
			// The watch goes on. The call has ended when its response waits.
			if _, err := hostile.WatchStudy(t.Context(), &trellisv1.WatchStudyRequest{Study: "large"}); err != nil {
				break // Its connection has been closed.
			}
			most = max(most, coordinator.unread.Held())
		}
	}
	one := int64(512 << 10)
	// A second, and on a machine that stalls as long as it takes until one is held.
	began := time.Now()
	for time.Since(began) < time.Second || most < one && time.Since(began) < time.Minute {
		time.Sleep(time.Millisecond)
		most = max(most, coordinator.unread.Held())
	}
	if most > limits.UnreadBytesEach+one || most < one {
		t.Errorf("up to %d bytes were unread of one host, at most %d may be", most, limits.UnreadBytesEach)
	}
	// One that says that it is another node is bounded by the limit of all.
	ctx := metadata.AppendToOutgoingContext(t.Context(), api.ForwardedBy, "node:1")
	most = 0
	// A connection beyond the limit is closed, and what it held is forgotten: it may take several to see the peak.
	for deadline := time.Now().Add(3 * time.Minute); most < limits.UnreadBytesEach+one && time.Now().Before(deadline); {
		node := trellisv1.NewStudyServiceClient(connect())
		for range 80 {
			if _, err := node.WatchStudy(ctx, &trellisv1.WatchStudyRequest{Study: "large"}); err != nil {
				break
			}
			most = max(most, coordinator.unread.Held())
		}
		for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
			most = max(most, coordinator.unread.Held())
		}
	}
	if most > limits.UnreadBytes+one || most < limits.UnreadBytesEach+one {
		t.Errorf("up to %d bytes were unread in all, at most %d may be", most, limits.UnreadBytes)
	}
	reader, err := trellisv1.NewStudyServiceClient(connect()).WatchStudy(t.Context(),
		&trellisv1.WatchStudyRequest{Study: "large"})
	if err != nil {
		t.Fatal(err)
	}
	if response, err := reader.Recv(); err != nil || response.GetStudy().GetName() != "large" {
		t.Errorf("a client that reads: %v", err)
	}
}

// What has been read does not count, however much it was.
func TestWhatClientsHaveReadIsForgotten(t *testing.T) {
	coordinator, connect := overTCP(t, Limits{UnreadBytes: 3 << 20, UnreadBytesEach: 2 << 20})
	studies := trellisv1.NewStudyServiceClient(connect())
	_, err := studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: longSpec("large", 256<<10)},
		grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := studies.GetStudy(t.Context(), &trellisv1.GetStudyRequest{Study: "large"}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); coordinator.unread.Held() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are unread after all was read", coordinator.unread.Held())
		}
	}
}

// Unfinished uploads are bounded in number and bytes. The one above the limit is told so, and others can upload.
func TestUnfinishedUploadsAreBounded(t *testing.T) {
	target := newTarget(t, hostileConfig{Limits: Limits{UploadsEach: 4, UploadBytesEach: 3 << 20}})
	upload := func(
		client *clients,
	) grpc.ClientStreamingClient[trellisv1.UploadArtifactRequest, trellisv1.UploadArtifactResponse] {
		t.Helper()
		stream, err := trellisv1.NewArtifactServiceClient(client.conn).UploadArtifact(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// At the end of a stream that is refused, the answer says why.
		err = stream.Send(&trellisv1.UploadArtifactRequest{Data: make([]byte, 256<<10)})
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return stream
	}
	hostile := target.client("127.0.0.2")
	refused := func(what, text string, err error) {
		t.Helper()
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want ResourceExhausted that says %q", what, err, text)
		}
	}
	large := upload(hostile)
	var err error
	for range 8 {
		if err = large.Send(&trellisv1.UploadArtifactRequest{Data: make([]byte, 1<<20)}); err != nil {
			break
		}
	}
	_, err = large.CloseAndRecv()
	refused("an upload of more bytes", "limit upload-bytes-each=3145728", err)
	target.eventually("another upload is refused", func() bool {
		upload(hostile)
		_, err = upload(hostile).CloseAndRecv()
		return err != nil
	})
	refused("one more upload", "limit uploads-each=4", err)
	if _, err := upload(target.client("127.0.0.3")).CloseAndRecv(); err != nil {
		t.Errorf("another host's upload: %v", err)
	}
	hostile.conn.Close()
	target.eventually("there is room again", func() bool {
		_, err := upload(target.client("127.0.0.2")).CloseAndRecv()
		return err == nil
	})
}

// Workers that repeat large reports make the coordinator hold no more than the queue may. Another client is served.
func TestRepeatedReportsAreBoundedInMemory(t *testing.T) {
	const workers, size = 8, 1500 << 10
	target := newTarget(t, hostileConfig{Limits: Limits{QueueBytes: 16 << 20, QueueBytesEach: 4 << 20}})
	client := target.client("127.0.0.3")
	_, err := client.studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{
		Spec: syntheticSpec("reports", ramp(workers), []uint32{2}),
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := target.latency("127.0.0.9")
	before := target.status("VmHWM")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan int)
	var assigned sync.WaitGroup
	for i := range workers {
		stream, err := target.client("127.0.0.2").workers.Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		assigned.Add(1)
		go func() {
			n := 0
			defer func() { sent <- n }()
			attempt := hostileAssignment(t, stream, fmt.Sprint("hostile-", i))
			assigned.Done()
			// Its study is another, so that it is stale: but only the log finds out.
			reports := &trellisv1.Reports{
				Study: strings.Repeat("x", size), Run: "run", Attempt: attempt.GetAttempt(), FirstEpoch: 1,
				TrainLoss: []float64{1}, ValidationLoss: []float64{1}, Seconds: []float64{1},
			}
			request := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
				Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
			}}
			for attempt != nil && stream.Send(request) == nil {
				n++
			}
		}()
	}
	late := time.AfterFunc(time.Minute, cancel) // Who waits for an assignment then says so.
	assigned.Wait()
	late.Stop()
	defer time.AfterFunc(5*time.Second, cancel).Stop()
	all := 0
	for range workers {
		all += <-sent
	}
	worst, calls := stop()
	grown := (target.status("VmHWM") - before) >> 10
	t.Logf("%d reports of %d bytes were sent; the slowest of %d calls of another client took %v; "+
		"peak memory grew by %d MB", all, size, calls, worst, grown)
	if all == 0 || grown > 400*memoryFactor {
		t.Errorf("the coordinator's memory grew by %d MB for %d reports", grown, all)
	}
}

// hostileAssignment says hello and returns the first assignment, or nil if none comes.
func hostileAssignment(
	t *testing.T, stream grpc.BidiStreamingClient[trellisv1.SessionRequest, trellisv1.SessionResponse], name string,
) *trellisv1.Assignment {
	err := stream.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: testNumerics, Worker: name, Slots: 1, Key: make([]byte, 16),
	}}})
	for err == nil {
		var response *trellisv1.SessionResponse
		if response, err = stream.Recv(); response.GetAssignment() != nil {
			go func() {
				for {
					if _, err := stream.Recv(); err != nil {
						return
					}
				}
			}()
			return response.GetAssignment()
		}
	}
	t.Errorf("session %s: %v", name, err)
	return nil
}
