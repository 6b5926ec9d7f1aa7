package web

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// content is a request that is content with an answer of the last moment.
var content = []string{"Cache-Control", "max-age=1"}

// counted lets each answer be another one, and counts them.
func (h *harness) counted() *atomic.Int64 {
	var asked atomic.Int64
	h.get = func() (*trellisv1.Study, error) {
		return &trellisv1.Study{Name: strings.Repeat("x", 5000), ModifyIndex: uint64(asked.Add(1))}, nil
	}
	return &asked
}

// An answer is shared with those who say that it may be a moment old, until it is older than that.
func TestSharedAnswers(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		asked := h.counted()
		const path = "/api/v1/studies/x"
		first := h.request("GET", path, "", content...)
		body, _ := io.ReadAll(first.Body)
		first.Body.Close()
		time.Sleep(900 * time.Millisecond)
		again := h.request("GET", path, "", append(content, "Accept-Encoding", "gzip")...)
		unpacked, err := gzip.NewReader(again.Body)
		if err != nil {
			t.Fatal(err)
		}
		same, err := io.ReadAll(unpacked)
		again.Body.Close()
		if err != nil || string(same) != string(body) || again.Header.Get("Etag") != first.Header.Get("Etag") ||
			again.Header.Get("Content-Encoding") != "gzip" || again.Header.Get("Content-Type") != jsonType ||
			again.Header.Get("Age") != "0" {
			t.Errorf("%v, %v, other than the first, with %v: %.40q", err, again.Header, first.Header, same)
		}
		if got, text := h.send("GET", path, "", append(content, "If-None-Match", first.Header.Get("Etag"))...); got != 304 || text != "" {
			t.Errorf("with the tag: %d %q", got, text)
		}
		if asked.Load() != 1 {
			t.Errorf("the coordinator was asked %d times", asked.Load())
		}
		time.Sleep(101 * time.Millisecond)
		if _, text := h.send("GET", path, "", "Cache-Control", "max-age=60"); text == string(body) {
			t.Error("an answer is shared for longer than a second")
		}
		for name, header := range map[string][]string{
			"who doesn't say so":         nil,
			"who wants the latest":       {"Cache-Control", "max-age=0"},
			"who wants no stored answer": {"Cache-Control", "max-age=5, No-Cache"},
			"who has other credentials":  append(content, "Authorization", "Bearer other"),
		} {
			before := asked.Load()
			h.send("GET", path, "", header...)
			if asked.Load() != before+1 {
				t.Errorf("%s gets the answer of somebody else", name)
			}
		}
		before := asked.Load()
		h.send("GET", "/api/v1/studies/y", "", content...)
		h.send("HEAD", path, "", content...)
		if asked.Load() != before+2 {
			t.Error("another question has the same answer")
		}
	})
	// Who is known by a certificate alone has no credentials to tell them apart by.
	serve(t, Config{Authenticates: true}, func(h *harness) {
		asked := h.counted()
		h.send("GET", "/api/v1/studies/x", "", content...)
		h.send("GET", "/api/v1/studies/x", "", content...)
		if asked.Load() != 2 {
			t.Errorf("asked %d times", asked.Load())
		}
		token := append(content, "Authorization", "Bearer good")
		h.send("GET", "/api/v1/studies/x", "", token...)
		h.send("GET", "/api/v1/studies/x", "", token...)
		if asked.Load() != 3 {
			t.Errorf("with a token, asked %d times", asked.Load()-2)
		}
	})
}

// Those who ask at the same time wait for one answer. If whoever asked for it fails or leaves, each asks by itself.
func TestSharedAnswersAreAwaited(t *testing.T) {
	for _, test := range []struct {
		name   string
		first  error
		leaves bool
		want   int64
	}{
		{"an answer", nil, false, 1},
		{"a failure", status.Error(codes.Internal, "broken"), false, 4},
		{"the first leaves", nil, true, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				var asked atomic.Int64
				h.get = func() (*trellisv1.Study, error) {
					if asked.Add(1) == 1 {
						time.Sleep(5 * time.Second) // It may be older than a second when it comes: it was not when it was asked for.
						if test.first != nil {
							return nil, test.first
						}
					}
					return &trellisv1.Study{Name: "x"}, nil
				}
				begin := func(client *http.Client) chan int {
					result := make(chan int, 1)
					go func() {
						request, _ := http.NewRequestWithContext(h.Context(), "GET", "http://localhost/api/v1/studies/x", nil)
						request.Header.Set("Cache-Control", "max-age=1")
						response, err := client.Do(request)
						if err != nil {
							result <- 0
							return
						}
						response.Body.Close()
						result <- response.StatusCode
					}()
					return result
				}
				impatient := *h.client
				if test.leaves {
					impatient.Timeout = time.Second
				}
				first := begin(&impatient)
				time.Sleep(500 * time.Millisecond)
				others := []chan int{begin(h.client), begin(h.client), begin(h.client)}
				synctest.Wait()
				if n := asked.Load(); n != 1 {
					t.Errorf("%d have asked before there was an answer", n)
				}
				want := map[bool]int{false: 200, true: 500}[test.first != nil]
				if got := <-first; got != want && !test.leaves {
					t.Errorf("the first got %d, want %d", got, want)
				}
				for _, other := range others {
					if got := <-other; got != 200 {
						t.Errorf("another got %d", got)
					}
				}
				if n := asked.Load(); n != test.want {
					t.Errorf("the coordinator was asked %d times, want %d", n, test.want)
				}
				time.Sleep(5 * time.Second) // A call that nobody waits for any more ends, too.
			})
		})
	}
}

// How old an answer is counts from when it was asked for, however long it took.
func TestSlowAnswersAreSharedForNoLonger(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		var asked atomic.Int64
		h.get = func() (*trellisv1.Study, error) {
			asked.Add(1)
			time.Sleep(3 * time.Second)
			return &trellisv1.Study{Name: "x"}, nil
		}
		for range 2 {
			h.send("GET", "/api/v1/studies/x", "", "Cache-Control", "max-age=60")
		}
		if asked.Load() != 2 {
			t.Errorf("the coordinator was asked %d times, want 2", asked.Load())
		}
	})
}

// What is shared is bounded in bytes, and goes when it is too old.
func TestSharedAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all shared
		put := func(question string, size int) (own bool) {
			one, own := all.share(question, time.Second)
			if own {
				all.settle(question, one, []byte(strings.Repeat("x", size)))
			}
			if !one.await(t.Context()) || len(one.body) != size {
				t.Errorf("%s has %d bytes, want %d", question, len(one.body), size)
			}
			return own
		}
		for range 2 {
			if !put("large", maxShared+1) {
				t.Error("it is kept")
			}
		}
		for i := range 2 * allShared / maxShared {
			put(fmt.Sprint(i), maxShared-10_000)
		}
		kept := func() (bytes, answers int) {
			all.mu.Lock()
			defer all.mu.Unlock()
			return all.bytes, len(all.answers)
		}
		if bytes, _ := kept(); bytes > allShared || bytes < allShared-maxShared {
			t.Errorf("%d bytes are kept, want up to %d", bytes, allShared)
		}
		time.Sleep(sharedFor)
		synctest.Wait()
		if bytes, answers := kept(); bytes != 0 || answers != 0 {
			t.Errorf("%d bytes of %d answers are kept", bytes, answers)
		}
		// One that was replaced is still what those get who wait for it, and takes nothing away from the next.
		old, _ := all.share("q", time.Second)
		time.Sleep(2 * sharedFor)
		next, own := all.share("q", time.Second)
		if !own {
			t.Fatal("an answer that was asked for long ago is waited for")
		}
		all.settle("q", old, []byte("old"))
		all.settle("q", next, []byte("next"))
		if bytes, _ := kept(); !old.await(t.Context()) || string(old.body) != "old" || put("q", 4) || bytes != 4 {
			t.Errorf("got %q, and %d bytes are kept", old.body, bytes)
		}
		failed, _ := all.share("f", time.Second)
		all.settle("f", failed, nil)
		all.settle("f", failed, []byte("later"))
		if _, own := all.share("f", time.Second); failed.await(t.Context()) || !own {
			t.Error("a failure is shared")
		}
	})
}
