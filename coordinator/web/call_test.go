package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// What is wrong with a request is said in words, with the field and what would be right.
func TestWrongRequests(t *testing.T) {
	serve(t, Config{MaxBody: 200_000}, func(h *harness) {
		for _, one := range []struct {
			name, verb, path, body, kind string
			status                       int
			field, detail                string
		}{
			{
				name: "unknown field", verb: "POST", path: "/api/v1/studies", body: "{\"spec\":\n {\"modle\": \"synthetic\"}}",
				status: 400, field: "modle", detail: `line 2, column 3 of the body: unknown field "modle": did you mean "model"?`,
			},
			{
				name: "wrong kind", verb: "POST", path: "/api/v1/studies", body: `{"fresh": "yes"}`, status: 400,
				detail: `line 1, column 11 of the body: invalid value for bool field fresh: "yes"`,
			},
			{
				name: "no JSON", verb: "POST", path: "/api/v1/studies", body: `name: x`, status: 400,
				detail: "line 1, column 1 of the body: invalid value name",
			},
			{
				name: "deep JSON", verb: "POST", path: "/api/v1/studies", body: strings.Repeat(`{"spec":`, 20_000), status: 400,
			},
			{
				name: "deep arrays", verb: "POST", path: "/api/v1/studies", status: 400,
				body: `{"spec":` + strings.Repeat("[", 100_000),
			},
			{
				name: "many objects", verb: "POST", path: "/api/v1/studies", status: 413,
				body:   `{"spec":{"grid":[{}` + strings.Repeat(",{}", maxObjects) + `]}}`,
				detail: "the body has more than 32768 objects or 131072 strings, the most that a coordinator accepts: divide the request",
			},
			{
				name: "large", verb: "POST", path: "/api/v1/studies", body: `{"spec":{"name":"` + strings.Repeat("x", 200_000) + `"}}`,
				status: 413, detail: "the body has more than 200000 bytes",
			},
			{
				name: "form", verb: "POST", path: "/api/v1/studies", body: "spec=x", kind: "application/x-www-form-urlencoded",
				status: 415, detail: `Content-Type is "application/x-www-form-urlencoded": must be application/json`,
			},
			{
				name: "text", verb: "POST", path: "/api/v1/studies", body: "{}", kind: "text/plain", status: 415,
				detail: `Content-Type is "text/plain": must be application/json`,
			},
			{
				name: "other letters", verb: "POST", path: "/api/v1/studies", body: "{}", kind: "application/json; charset=utf-16",
				status: 415, detail: `Content-Type is "application/json; charset=utf-16": must be application/json`,
			},
			{
				name: "two names", verb: "POST", path: "/api/v1/studies/x:extend", body: `{"study":"y"}`, status: 400, field: "study",
				detail: `study is "y" in the body and "x" in the path: leave it out of the body`,
			},
			{
				name: "body", verb: "POST", path: "/api/v1/studies/x:pause", body: `{"study":"y"}`, status: 400,
				detail: "this call takes no body: leave it out",
			},
			{
				name: "unknown parameter", verb: "GET", path: "/api/v1/studies/x/trials?page_sise=3", status: 400, field: "page_sise",
				detail: `unknown parameter "page_sise": did you mean "page_size"?`,
			},
			{
				name: "old field", verb: "POST", path: "/api/v1/studies/x:pause?old_seeds=1", status: 400, field: "old_seeds",
				detail: `unknown parameter "old_seeds"`,
			},
			{
				name: "parameter that is in the path", verb: "GET", path: "/api/v1/studies/x/best?study=y", status: 400, field: "study",
				detail: `unknown parameter "study": must be one of confidence`,
			},
			{
				name: "wrong number", verb: "GET", path: "/api/v1/studies/x/trials?page_size=-1", status: 400, field: "page_size",
				detail: `invalid value "-1" of page_size: must be a whole number, 0 or more`,
			},
			{
				name: "twice", verb: "GET", path: "/api/v1/studies/x/trials?filter=a&filter=b", status: 400, field: "filter",
				detail: `parameter "filter" is given 2 times`,
			},
			{
				name: "no UTF-8", verb: "GET", path: "/api/v1/studies/x/trials?filter=%ff", status: 400, field: "filter",
				detail: `invalid value "\xff" of filter: must be a text of valid UTF-8`,
			},
			{
				name: "no UTF-8 in the path", verb: "GET", path: "/api/v1/studies/%ff", status: 400, field: "study",
				detail: `invalid value "\xff" of study: must be a text of valid UTF-8`,
			},
			{
				name: "cut off", verb: "POST", path: "/api/v1/studies", body: "{\"spec\":\n {\"model\": ", status: 400,
				detail: "line 2, column 12 of the body: the JSON is cut off: it ends before its last bracket",
			},
			{
				name: "escape", verb: "GET", path: "/api/v1/studies/x/trials?filter=%zz", status: 400,
				detail: `invalid parameters: invalid URL escape "%zz"`,
			},
			{
				name: "no call", verb: "GET", path: "/api/v1/study", status: 404,
				detail: `there is no call at "/api/v1/study": see /api`,
			},
			{
				name: "other method", verb: "PUT", path: "/api/v1/studies/x", status: 405,
				detail: "PUT is not allowed here: must be GET or DELETE",
			},
			{
				name: "a verb is no name", verb: "DELETE", path: "/api/v1/studies/x:pause", status: 405,
				detail: "DELETE is not allowed here: must be POST",
			},
			{
				name: "options", verb: "OPTIONS", path: "/api/v1/studies", status: 405,
				detail: "OPTIONS is not allowed here: must be GET or POST",
			},
			{
				name: "no type of a file", verb: "POST", path: "/api/v1/artifacts", kind: " ", status: 415,
				detail: `Content-Type is "": must be application/octet-stream`,
			},
		} {
			kind := one.kind
			if kind == "" {
				kind = jsonType
			}
			got := h.problem(one.verb, one.path, one.body, "Content-Type", strings.TrimSpace(kind))
			if got.Status != one.status || one.detail != "" && got.Detail != one.detail ||
				one.field != "" && (len(got.Errors) != 1 || got.Errors[0].Field != one.field) {
				t.Errorf("%s: %+v", one.name, got)
			}
		}
	})
}

// The server's errors keep their codes, their fields and when to come back.
func TestErrorsOfCalls(t *testing.T) {
	for code, want := range map[codes.Code]int{
		codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.Unauthenticated: 401, codes.PermissionDenied: 403,
		codes.NotFound: 404, codes.AlreadyExists: 409, codes.Aborted: 409, codes.ResourceExhausted: 429, codes.Internal: 500,
		codes.Unimplemented: 501, codes.Unavailable: 503, codes.DeadlineExceeded: 504,
	} {
		serve(t, Config{}, func(h *harness) {
			h.create = func(*trellisv1.CreateStudyRequest) error { return status.Error(code, "no") }
			response := h.request("POST", "/api/v1/studies", "{}", asJSON...)
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != want || !strings.Contains(string(text), `"detail":"no"`) {
				t.Errorf("%v: %d %s, %v", code, response.StatusCode, text, err)
			}
			wait := code == codes.ResourceExhausted || code == codes.Unavailable
			if got := response.Header.Get("Retry-After"); (got == "1") != wait {
				t.Errorf("%v: Retry-After is %q", code, got)
			}
			if got := response.Header.Get("WWW-Authenticate"); (got != "") != (code == codes.Unauthenticated) {
				t.Errorf("%v: WWW-Authenticate is %q", code, got)
			}
		})
	}
}

// Who has a response already is told so, by GET and HEAD alike, and every response has the headers that protect browsers.
func TestEntityTags(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.study = &trellisv1.Study{Name: "x", ModifyIndex: 1}
		first := h.request("GET", "/api/v1/studies/x", "")
		first.Body.Close()
		tag := first.Header.Get("Etag")
		for name := range securityHeaders {
			if first.Header.Get(name) == "" {
				t.Errorf("there is no %s", name)
			}
		}
		for name := range first.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("pages of other sites may read responses: %s", name)
			}
		}
		if got, text := h.send("GET", "/api/v1/studies/x", "", "If-None-Match", `"other", `+tag); got != 304 || text != "" {
			t.Errorf("with the tag: %d %q", got, text)
		}
		head := h.request("HEAD", "/api/v1/studies/x", "")
		head.Body.Close()
		if head.StatusCode != 200 || head.Header.Get("Etag") != tag {
			t.Errorf("HEAD: %d with the tag %q, want %q", head.StatusCode, head.Header.Get("Etag"), tag)
		}
		h.study = &trellisv1.Study{Name: "x", ModifyIndex: 2}
		if got, text := h.send("GET", "/api/v1/studies/x", "", "If-None-Match", tag); got != 200 ||
			text != `{"study":{"name":"x","modify_index":"2"}}`+"\n" {
			t.Errorf("after a change: %d %q", got, text)
		}
	})
}

// Large responses are compressed for who can read that.
func TestCompression(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.study = &trellisv1.Study{Name: strings.Repeat("x", 5000)}
		response := h.request("GET", "/api/v1/studies/x", "", "Accept-Encoding", "gzip")
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.Header.Get("Content-Encoding") != "gzip" || len(text) > 500 {
			t.Errorf("%d bytes, encoded as %q, %v", len(text), response.Header.Get("Content-Encoding"), err)
		}
	})
}

// A body that does not come ends the request, and so do headers that don't.
func TestSlowClients(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		conn := h.pipes.dial()
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
			"Content-Length: 100\r\n\r\n{")
		var answer []byte
		took := elapsed(func() {
			var err error
			if answer, err = io.ReadAll(conn); err != nil {
				t.Error(err)
			}
		})
		if !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") || took < bodyTime || took > bodyTime+time.Second {
			t.Errorf("a slow body, after %v: %s", took, answer)
		}
		slow := h.pipes.dial()
		defer slow.Close()
		fmt.Fprintf(slow, "GET /api/v1/studies HTTP/1.1\r\nHost: ")
		took = elapsed(func() { _, _ = io.ReadAll(slow) })
		if took < headerTime || took > headerTime+time.Second {
			t.Errorf("slow headers end after %v", took)
		}
		large := h.pipes.dial()
		defer large.Close()
		go fmt.Fprintf(large, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 2*maxHeaders))
		if answer, _ := io.ReadAll(large); !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
			t.Errorf("large headers: %.100q", answer)
		}
		idle := h.pipes.dial()
		defer idle.Close()
		fmt.Fprintf(idle, "GET /api/v1/nope HTTP/1.1\r\nHost: localhost\r\n\r\n")
		took = elapsed(func() { _, _ = io.ReadAll(idle) })
		if took < idleTime || took > idleTime+time.Second {
			t.Errorf("an idle connection ends after %v", took)
		}
	})
}

// A call that is refused before its body has come leaves the connection to others, unless the body takes long.
func TestRefusedBeforeTheBody(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		for after, kept := range map[time.Duration]bool{0: true, lateBodyTime / 2: true, 2 * lateBodyTime: false} {
			conn := h.pipes.dial()
			// The fake has no hooks: it refuses the call at once.
			fmt.Fprintf(conn, "POST /api/v1/hooks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
				"Content-Length: 2\r\n\r\n")
			go func() {
				time.Sleep(after)
				_, _ = conn.Write([]byte("{}")) // Nobody may read it any more.
			}()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusNotImplemented || response.Close == kept {
				t.Errorf("a body after %v: %s, and the connection ends: %t", after, response.Status, response.Close)
			}
			response.Body.Close()
			conn.Close()
		}
	})
}

// A file is sent in pieces. Who may not send it hears that, although the file has not been read.
func TestUploads(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		file := strings.Repeat("0123456789", 350_000)
		h.upload = func(stream uploadStream) error {
			var got strings.Builder
			for {
				piece, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					return stream.SendAndClose(&trellisv1.UploadArtifactResponse{
						Sha256: fmt.Sprint(got.String() == file), Size: uint64(got.Len()),
					})
				}
				if err != nil {
					return err
				}
				got.Write(piece.GetData())
			}
		}
		if got, text := h.send("POST", "/api/v1/artifacts", file, "Content-Type", fileType); got != 200 ||
			!strings.Contains(text, `"sha256":"true","size":"3500000"`) {
			t.Errorf("%d %s", got, text)
		}
		h.upload = func(uploadStream) error { return status.Error(codes.PermissionDenied, "not you") }
		if got := h.problem("POST", "/api/v1/artifacts", file, "Content-Type", fileType); got.Detail != "not you" {
			t.Errorf("%+v", got)
		}
		h.download = []byte(file)
		response := h.request("GET", "/api/v1/artifacts/abc", "")
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		if err != nil || string(got) != file || response.Header.Get("Content-Type") != fileType ||
			response.Header.Get("Content-Disposition") != `attachment; filename="abc"` {
			t.Errorf("downloaded %d bytes, %v, with %v", len(got), err, response.Header)
		}
		// What a browser keeps of it is for whoever may have it then: it asks each time, also after somebody signed out.
		tag := response.Header.Get("Etag")
		if kept := response.Header.Get("Cache-Control"); kept != "private, no-cache" || tag != `"abc"` {
			t.Errorf("a file is kept as %q with the tag %q", kept, tag)
		}
		if got, text := h.send("GET", "/api/v1/artifacts/abc", "", "If-None-Match", tag); got != 304 || text != "" {
			t.Errorf("a file that did not change: %d with %d bytes", got, len(text))
		}
		if got, text := h.send("GET", "/api/v1/artifacts/abc", "", "If-None-Match", `"other"`); got != 200 || text != file {
			t.Errorf("another file: %d with %d bytes", got, len(text))
		}
	})
}

// HTTP/2 carries calls too, also beside one another on one connection.
func TestHTTP2(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.study = &trellisv1.Study{Name: "x"}
		protocols := &http.Protocols{}
		protocols.SetUnencryptedHTTP2(true)
		transport, _ := h.client.Transport.(*http.Transport)
		transport.Protocols = protocols
		response := h.request("GET", "/api/v1/studies/x", "")
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.ProtoMajor != 2 || response.StatusCode != 200 {
			t.Errorf("%d over %s, %v", response.StatusCode, response.Proto, err)
		}
	})
}

// A parameter that is a list is given once for each value.
func TestParametersThatAreLists(t *testing.T) {
	route, err := (&Server{routes: must(Routes())}).routeFor(trellisv1.ChartService_GetTimeLine_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/api/v1/studies/x/time-line?workers=a&workers=b", nil)
	got, err := fromAddress(r, route, map[string]string{"study": "x"})
	want := &trellisv1.GetTimeLineRequest{Study: "x", Workers: []string{"a", "b"}}
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func must(routes []Route, err error) []Route {
	if err != nil {
		panic(err)
	}
	return routes
}
