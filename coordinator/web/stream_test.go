package web

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

type (
	watchStream  = grpc.ServerStreamingServer[trellisv1.WatchStudyResponse]
	uploadStream = grpc.ClientStreamingServer[trellisv1.UploadArtifactRequest, trellisv1.UploadArtifactResponse]
)

// A watch's events have the index to go on from, say that they are alive, and say that there is no more.
func TestEvents(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		since := make(chan uint64, 1)
		h.watch = func(request *trellisv1.WatchStudyRequest, stream watchStream) error {
			since <- request.GetSinceIndex()
			if err := stream.Send(&trellisv1.WatchStudyResponse{Index: 7}); err != nil {
				return err
			}
			time.Sleep(2*beat + beat/2)
			return stream.Send(&trellisv1.WatchStudyResponse{Index: 9})
		}
		response := h.request("GET", "/api/v1/studies/x:watch", "", "Last-Event-Id", "5")
		defer response.Body.Close()
		if kind := response.Header.Get("Content-Type"); kind != eventsType {
			t.Fatalf("the type is %s", kind)
		}
		var got []event
		took := elapsed(func() { got = readEvents(t, bufio.NewReader(response.Body), 5) })
		if want := fmt.Sprint([]event{
			{id: "7", data: `{"index":"7"}`},
			{name: "comment"},
			{name: "comment"},
			{id: "9", data: `{"index":"9"}`},
			{name: "end", data: "{}"},
		}); fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
		if took != 2*beat+beat/2 {
			t.Errorf("it took %v", took)
		}
		if got := <-since; got != 5 {
			t.Errorf("it goes on from %d", got)
		}
		if got := h.problem("GET", "/api/v1/studies/x:watch", "", "Last-Event-Id", "x"); got.Status != 400 {
			t.Errorf("an id that is none: %+v", got)
		}
	})
}

// A watch of events goes on after the number of an event, which may be 0, and otherwise begins where its query says.
func TestEventsOfEvents(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		var since *uint64
		h.events = func(
			request *trellisv1.WatchEventsRequest, stream grpc.ServerStreamingServer[trellisv1.WatchEventsResponse],
		) error {
			since = request.SinceNumber
			return stream.Send(&trellisv1.WatchEventsResponse{Number: 7, Missed: 2, Events: []*trellisv1.Event{{Number: 7}}})
		}
		for _, test := range []struct {
			query, id string
			want      *uint64
		}{
			{"", "", nil},
			{"?since_number=4", "", new(uint64(4))},
			{"?since_number=4", "6", new(uint64(6))},
			{"?since_number=0", "", new(uint64(0))},
			{"", "0", new(uint64(0))},
		} {
			var header []string
			if test.id != "" {
				header = []string{"Last-Event-Id", test.id}
			}
			response := h.request("GET", "/api/v1/events:watch"+test.query, "", header...)
			got := readEvents(t, bufio.NewReader(response.Body), 2)
			response.Body.Close()
			if want := fmt.Sprint([]event{
				{id: "7", data: `{"events":[{"number":"7"}],"number":"7","missed":"2"}`}, {name: "end", data: "{}"},
			}); fmt.Sprint(got) != want {
				t.Errorf("got %v, want %s", got, want)
			}
			if (since == nil) != (test.want == nil) || since != nil && *since != *test.want {
				t.Errorf("%q after %q: it goes on after %v, want %v", test.query, test.id, since, test.want)
			}
		}
	})
}

// A stream that fails at once is a problem, and one that fails later says so in an event.
func TestFailingStreams(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.watch = func(*trellisv1.WatchStudyRequest, watchStream) error { return status.Error(codes.NotFound, "none") }
		if got := h.problem("GET", "/api/v1/studies/x:watch", ""); got.Status != 404 || got.Detail != "none" {
			t.Errorf("%+v", got)
		}
		h.watch = func(_ *trellisv1.WatchStudyRequest, stream watchStream) error {
			if err := stream.Send(&trellisv1.WatchStudyResponse{Index: 7}); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "stopping")
		}
		response := h.request("GET", "/api/v1/studies/x:watch", "")
		defer response.Body.Close()
		got := readEvents(t, bufio.NewReader(response.Body), 2)
		if got[1].name != "problem" || !strings.Contains(got[1].data, `"status":503`) {
			t.Errorf("%v", got)
		}
	})
}

// A stream ends with its client, and with one that takes nothing.
func TestStreamsEndWithTheirClients(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		ended := make(chan time.Time, 1)
		h.watch = func(_ *trellisv1.WatchStudyRequest, stream watchStream) error {
			for err := error(nil); err == nil && stream.Context().Err() == nil; time.Sleep(time.Millisecond) {
				err = stream.Send(&trellisv1.WatchStudyResponse{Study: &trellisv1.Study{Name: strings.Repeat("x", 50_000)}})
			}
			ended <- time.Now()
			return stream.Context().Err()
		}
		response := h.request("GET", "/api/v1/studies/x:watch", "")
		readEvents(t, bufio.NewReader(response.Body), 3)
		closed := time.Now()
		response.Body.Close()
		if took := (<-ended).Sub(closed); took > time.Second {
			t.Errorf("its client has gone, and it ends after %v", took)
		}
		conn := h.pipes.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "GET /api/v1/studies/x:watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		if took := (<-ended).Sub(began); took < writeTime-time.Second || took > writeTime+time.Second {
			t.Errorf("its client takes nothing, and it ends after %v", took)
		}
	})
}

// What a program writes is text, or events that go on after the bytes that a client has.
func TestOutput(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.output = []*trellisv1.GetOutputResponse{
			{Attempt: 3, Data: []byte("one\n")},
			{Attempt: 3, Omitted: 10, Data: []byte("two\n")},
			{Attempt: 3, Data: []byte("three\n")},
		}
		const path = "/api/v1/studies/x/runs/r/output"
		if got, text := h.send("GET", path, ""); got != 200 || text != "one\n\n[10 bytes left out]\ntwo\nthree\n" {
			t.Errorf("as text: %d %q", got, text)
		}
		for from, want := range map[string][]event{
			"": {
				{id: "3-4", data: `{"attempt":"3","data":"b25lCg=="}`},
				{id: "3-18", data: `{"attempt":"3","data":"dHdvCg==","omitted":"10"}`},
				{id: "3-24", data: `{"attempt":"3","data":"dGhyZWUK"}`},
				{name: "end", data: "{}"},
			},
			"3-9": {
				{id: "3-9", data: `{"attempt":"3"}`},
				{id: "3-18", data: `{"attempt":"3","data":"dHdvCg==","omitted":"5"}`},
				{id: "3-24", data: `{"attempt":"3","data":"dGhyZWUK"}`},
				{name: "end", data: "{}"},
			},
			"3-20": { // A client goes on there also if this one breaks off before it has sent anything new.
				{id: "3-20", data: `{"attempt":"3"}`},
				{id: "3-20", data: `{"attempt":"3"}`},
				{id: "3-24", data: `{"attempt":"3","data":"cmVlCg=="}`},
				{name: "end", data: "{}"},
			},
		} {
			header := []string{"Accept", eventsType}
			if from != "" {
				header = append(header, "Last-Event-Id", from)
			}
			response := h.request("GET", path, "", header...)
			got := readEvents(t, bufio.NewReader(response.Body), len(want))
			response.Body.Close()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("from %q: %v, want %v", from, got, want)
			}
			if from != "" && h.asked.GetAttempt() != 3 {
				t.Errorf("from %q, of attempt %d", from, h.asked.GetAttempt())
			}
		}
	})
}

// While what a client has of an output is passed over, the ids don't go back: another break would show it twice.
func TestResumedOutputTwice(t *testing.T) {
	from := &outputResumption{attempt: 2, skip: 10}
	var got []string
	for _, data := range []string{"abcd", "efgh", "ijkl", "mn"} {
		id, rest := from.event(&trellisv1.GetOutputResponse{Attempt: 2, Data: []byte(data)})
		output, _ := rest.(*trellisv1.GetOutputResponse)
		got = append(got, id+string(output.GetData()))
	}
	if want := "[2-10 2-10 2-12kl 2-14mn]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
