package coordinator

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"trellis/coordinator/webhook"
	trellisv1 "trellis/proto/trellis/v1"
)

// receiver is an HTTP server that hooks are sent to.
type receiver struct {
	*httptest.Server
	requests chan *http.Request

	mu     sync.Mutex
	bodies map[*http.Request]string
	stalls bool
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{requests: make(chan *http.Request, 100), bodies: map[*http.Request]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		r.bodies[request] = string(body)
		stalls := r.stalls
		r.mu.Unlock()
		r.requests <- request
		if stalls {
			<-request.Context().Done()
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) stall(stalls bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalls = stalls
}

// next returns the next request and its body.
func (r *receiver) next(t *testing.T) (*http.Request, string) {
	t.Helper()
	select {
	case request := <-r.requests:
		r.mu.Lock()
		defer r.mu.Unlock()
		return request, r.bodies[request]
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was sent within 30 s")
	}
	return nil, ""
}

// lockedBuffer is a log that may be read while it is written.
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

// An event that the leader was sending when it lost its leadership is sent by the next one, with the same id. Nobody sees the
// hook's secret but who has made it.
func TestWebHooksSurviveTheirLeader(t *testing.T) {
	t.Parallel()
	own, log := newAuthority(t), &lockedBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	leader := startSecured(t, own, Config{Data: t.TempDir(), Logger: logger})
	leader.admin()
	a := startSecured(t, own, Config{Data: t.TempDir(), Logger: logger, Join: []string{leader.address}})
	admin := a.admin()
	hooks, studies := trellisv1.NewHookServiceClient(admin), trellisv1.NewStudyServiceClient(admin)
	receiver := newReceiver(t)
	created, err := hooks.CreateHook(t.Context(), &trellisv1.CreateHookRequest{
		Name: "h", Url: receiver.URL + "/secret-path", Events: []string{"study.ended"},
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := webhook.Key(created.GetSecret())
	if err != nil || created.GetHook().Secret != nil {
		t.Fatalf("created %v, %v", created, err)
	}
	if _, err := studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{
		Spec: syntheticSpec("s", []uint32{4}, []uint32{2}),
	}); err != nil {
		t.Fatal(err)
	}
	receiver.stall(true)
	if _, err := studies.CancelStudy(t.Context(), &trellisv1.CancelStudyRequest{Study: "s"}); err != nil {
		t.Fatal(err)
	}
	first, body := receiver.next(t)
	receiver.stall(false)
	if _, err := trellisv1.NewClusterServiceClient(admin).TransferLeadership(t.Context(),
		&trellisv1.TransferLeadershipRequest{Node: a.address}); err != nil {
		t.Fatal(err)
	}
	second, again := receiver.next(t)
	if id := first.Header.Get("webhook-id"); id == "" || second.Header.Get("webhook-id") != id || again != body ||
		!strings.Contains(body, `"type":"study.ended"`) || !strings.Contains(body, `"state":"STUDY_STATE_CANCELED"`) {
		t.Errorf("sent %s %s, and then %s %s", id, body, second.Header.Get("webhook-id"), again)
	}
	for _, request := range []*http.Request{first, second} {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", request.Header.Get("webhook-id"), request.Header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); request.Header.Get("webhook-signature") != want {
			t.Errorf("signature %s, want %s", request.Header.Get("webhook-signature"), want)
		}
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		listed, err := hooks.ListDeliveries(t.Context(), &trellisv1.ListDeliveriesRequest{Hook: "h"})
		if err == nil && len(listed.GetDeliveries()) == 1 && listed.GetDeliveries()[0].GetStatus() == 200 {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("recorded is %v, %v", listed, err)
		}
	}
	listed, err := hooks.ListHooks(t.Context(), &trellisv1.ListHooksRequest{})
	if err != nil || len(listed.GetHooks()) != 1 || listed.GetHooks()[0].Secret != nil || listed.GetHooks()[0].GetDone() != 1 {
		t.Errorf("listed %v, %v", listed, err)
	}
	text := log.String()
	for _, secret := range []string{created.GetSecret(), string(key), fmt.Sprintf("%x", key), "secret-path"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if len(receiver.requests) > 0 {
		t.Error("it was sent once more")
	}
}

// What can't be a hook is refused with a word, and a test event says what the receiver answers.
func TestWebHookCalls(t *testing.T) {
	t.Parallel()
	s := startSecured(t, newAuthority(t), Config{})
	hooks := trellisv1.NewHookServiceClient(s.admin())
	receiver := newReceiver(t)
	for want, request := range map[string]*trellisv1.CreateHookRequest{
		"hook's name":   {Name: "-", Url: receiver.URL},
		"not encrypted": {Name: "h", Url: "http://example.com"},
		"url":           {Name: "h"},
		"must be study.ended, run.failed or worker.lost": {Name: "h", Url: receiver.URL, Events: []string{"hook.test"}},
		"invalid pattern":   {Name: "h", Url: receiver.URL, Study: "["},
		"invalid secret":    {Name: "h", Url: receiver.URL, Secret: "whsec_c2VjcmV0"},
		"invalid authority": {Name: "h", Url: receiver.URL, Authority: "none"},
	} {
		_, err := hooks.CreateHook(t.Context(), request)
		wantCode(t, err, codes.InvalidArgument, want)
	}
	_, err := hooks.TestHook(t.Context(), &trellisv1.TestHookRequest{Hook: "h"})
	wantCode(t, err, codes.NotFound, `hook "h" not found`)
	created, err := hooks.CreateHook(t.Context(), &trellisv1.CreateHookRequest{
		Name: "h", Url: receiver.URL, Secret: webhook.NewSecret(),
	})
	if err != nil || created.GetSecret() != "" || len(created.GetHook().GetEvents()) != 3 {
		t.Fatalf("created %v, %v", created, err)
	}
	tested, err := hooks.TestHook(t.Context(), &trellisv1.TestHookRequest{Hook: "h"})
	if err != nil || tested.GetStatus() != 200 || tested.GetTook() == nil {
		t.Errorf("tested: %v, %v", tested, err)
	}
	if _, body := receiver.next(t); !strings.Contains(body, `"type":"hook.test"`) {
		t.Errorf("sent %s", body)
	}
	receiver.Close()
	if tested, err = hooks.TestHook(t.Context(), &trellisv1.TestHookRequest{Hook: "h"}); err != nil ||
		tested.GetStatus() != 0 || !strings.Contains(tested.GetError(), "connection refused") {
		t.Errorf("tested without a receiver: %v, %v", tested, err)
	}
	if _, err := hooks.DeleteHook(t.Context(), &trellisv1.DeleteHookRequest{Hook: "h"}); err != nil {
		t.Error(err)
	}
	_, err = hooks.ListDeliveries(t.Context(), &trellisv1.ListDeliveriesRequest{Hook: "h"})
	wantCode(t, err, codes.NotFound, `hook "h" not found`)
}
