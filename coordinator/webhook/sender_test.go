package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

var testEvent = &trellisv1.HookEvent{
	Id: "evt_1", Type: "run.failed", Timestamp: timestamppb.New(time.Unix(1_800_000_000, 0)),
	Data: &trellisv1.HookEventData{Run: &trellisv1.Run{Study: "s", Id: "r", Error: "why"}},
}

// TestSignature is the example of the specification's libraries.
func TestSignature(t *testing.T) {
	key, err := Key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSecrets(t *testing.T) {
	one, other := NewSecret(), NewSecret()
	if key, err := Key(one); err != nil || len(key) != 32 || one == other {
		t.Errorf("%d bytes, %v", len(key), err)
	}
	for _, secret := range []string{
		"", "whsec_", "whsec_c2hvcnQ=", strings.TrimPrefix(one, "whsec_"), one + "!",
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
	} {
		if _, err := Key(secret); err == nil || len(secret) > 6 && strings.Contains(err.Error(), secret[6:]) {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

// A receiver gets the event with the headers of the specification, and can verify it by its secret.
func TestSend(t *testing.T) {
	var body []byte
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		body, _ = io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.RequestURI() != "/x?y=1" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	h := &trellisv1.Hook{Url: server.URL + "/x?y=1", Secret: []byte("a key of some length")}
	before := time.Now().Unix()
	answer := Sender{Version: "1.2"}.Send(t.Context(), h, testEvent)
	if answer.Status != http.StatusAccepted || answer.Error != "" || !answer.Accepted() || answer.Gone() {
		t.Fatalf("%+v", answer)
	}
	const want = `{"id":"evt_1","type":"run.failed","timestamp":"2027-01-15T08:00:00Z",` +
		`"data":{"run":{"study":"s","id":"r","error":"why"}}}`
	if string(body) != want {
		t.Errorf("body %s, want %s", body, want)
	}
	seconds, err := strconv.ParseInt(got.Get("webhook-timestamp"), 10, 64)
	if err != nil || seconds < before || seconds > time.Now().Unix() {
		t.Errorf("time %d, %v", seconds, err)
	}
	mac := hmac.New(sha256.New, h.Secret)
	fmt.Fprintf(mac, "%s.%d.%s", got.Get("webhook-id"), seconds, body)
	if signature := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); got.Get("webhook-signature") != signature {
		t.Errorf("signature %s, want %s", got.Get("webhook-signature"), signature)
	}
	if got.Get("webhook-id") != "evt_1" || got.Get("content-type") != "application/json" ||
		got.Get("user-agent") != "trellis/1.2" {
		t.Errorf("headers %v", got)
	}
}

// No answer of a receiver makes the coordinator wait long, read much or go elsewhere.
func TestHostileReceivers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	defer elsewhere.Close()
	long := strings.Repeat("漢", 200) + " private"
	for name, test := range map[string]struct {
		serve  http.HandlerFunc
		status int
		text   string
	}{
		"fails": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "private", http.StatusServiceUnavailable)
		}, 503, ""},
		"redirects": {http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP, 307, ""},
		"gone":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, 410, ""},
		"stalls":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "no answer within 200ms"},
		"stalls in its answer": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 0, "no answer within 200ms"},
		"switches protocols": {func(w http.ResponseWriter, _ *http.Request) {
			connection, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer connection.Close()
			_, _ = io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
			_, _ = io.Copy(io.Discard, connection)
		}, 101, ""},
		"never ends": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, 200, ""},
		"large headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x", strings.Repeat("x", 1<<20))
		}, 0, "header"},
		"hangs up":                    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "EOF"},
		"hangs up in its answer":      {answers("HTTP/1.1 200 private\r\nx: y"), 0, "unexpected EOF"},
		"is not HTTP":                 {answers(long + "\r\n\r\n"), 0, "not valid HTTP"},
		"has no status":               {answers("HTTP/1.1 " + long + "\r\n\r\n"), 0, "not valid HTTP"},
		"has a header without a name": {answers("HTTP/1.1 200 OK\r\n" + long + "\r\n\r\n"), 0, "not valid HTTP"},
		"has two lengths": {
			answers("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: " + long + "\r\n\r\n"), 0,
			"not valid HTTP",
		},
		"has a trailer without a name": {
			answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + long + "\r\n\r\n"), 0,
			"not valid HTTP",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // Else the server does not notice that the client is gone.
				test.serve(w, r)
			}))
			defer server.Close()
			timeout := 5 * time.Second
			if test.text == "no answer within 200ms" {
				timeout = 200 * time.Millisecond
			}
			answer := Sender{Timeout: timeout}.Send(t.Context(), &trellisv1.Hook{Url: server.URL}, testEvent)
			if answer.Status != test.status || !strings.Contains(answer.Error, test.text) || answer.Took > timeout+time.Second ||
				strings.Contains(answer.Error, "private") || strings.Contains(answer.Error, "漢") ||
				test.text == "" && answer.Error != "" {
				t.Errorf("%+v", answer)
			}
		})
	}
}

// answers returns a receiver that answers with these bytes, and hangs up.
func answers(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer connection.Close()
		_, _ = io.WriteString(connection, text)
	}
}

// What is kept of an error is text, wherever it is cut: else the log would not take it.
func TestLongErrors(t *testing.T) {
	for _, start := range []string{"", "1", "12", "\xff"} {
		text := explain(&url.Error{URL: "https://secret", Err: errors.New(start + strings.Repeat("漢", 200))})
		if !utf8.ValidString(text) || len(text) > maxError || len(text) < maxError-3 ||
			strings.Contains(text, "secret") {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	}
	if text := explain(errors.New("a\xe6b")); text != "ab" {
		t.Errorf("%q", text)
	}
}

// A receiver's certificate is verified, by the hook's authority if it has one. Errors name no URL.
func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	h := &trellisv1.Hook{Url: server.URL + "/a-secret-path"}
	if answer := (Sender{}).Send(t.Context(), h, testEvent); answer.Status != 0 ||
		!strings.Contains(answer.Error, "certificate") || strings.Contains(answer.Error, "secret-path") {
		t.Errorf("without its authority: %+v", answer)
	}
	h.Authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	if err := CheckAuthority(h.Authority); err != nil {
		t.Error(err)
	}
	if answer := (Sender{}).Send(t.Context(), h, testEvent); answer.Status != 200 {
		t.Errorf("with its authority: %+v", answer)
	}
	if CheckAuthority("none") == nil || CheckAuthority("") != nil {
		t.Error("what is no certificate is an authority")
	}
}

func TestURLs(t *testing.T) {
	for _, test := range []struct {
		url, want string
		insecure  bool
	}{
		{"https://example.com/x?token=1", "", false},
		{"https://10.0.0.7:8443", "", false},
		{"http://localhost:8080/x", "", false},
		{"http://127.0.0.1", "", false},
		{"HTTP://[::1]:80/", "", false},
		{"http://[::ffff:127.0.0.1]/", "", false},
		{"http://example.com/x", "not encrypted", false},
		{"http://localhost.example.com/x", "not encrypted", false},
		{"http://10.0.0.7/", "not encrypted", false},
		{"http://example.com/x", "", true},
		{"ftp://example.com/x", `not "ftp"`, false},
		{"file:///etc/passwd", "must be https://", true},
		{"https:example.com", "must be https://", false},
		{"https://", "must be https://", false},
		{"example.com", "must be https://", false},
		{"https://ann:secret@example.com", "no user", false},
		{"https://example.com/#x", "fragment", false},
		{"https://example.com/\x00", "must be https://", false},
	} {
		err := CheckURL(test.url, test.insecure)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v, want %q", test.url, err, test.want)
		}
	}
}

// A name that resolves to another machine's address, or to the link's, gets nothing.
func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		url      string
		insecure bool
		address  string
		want     bool
	}{
		{"http://localhost", false, "127.0.0.1:80", true},
		{"http://localhost", false, "[::ffff:127.0.0.1]:80", true},
		{"HTTP://localhost", false, "10.0.0.7:80", false},
		{"http://receiver", true, "10.0.0.7:80", true},
		{"http://receiver", true, "169.254.169.254:80", false},
		{"https://receiver", false, "10.0.0.7:443", true},
		{"https://receiver", false, "169.254.169.254:443", false},
		{"https://receiver", false, "[::ffff:169.254.169.254]:443", false},
		{"https://receiver", false, "[fe80::1%eth0]:443", false},
		{"https://receiver", false, "0.0.0.0:443", false},
		{"https://receiver", false, "224.0.0.1:443", false},
		{"https://receiver", false, "100.100.100.200:443", false},
		{"https://receiver", false, "100.100.100.201:443", true},
		{"https://receiver", false, "168.63.129.16:443", false},
		{"https://receiver", false, "[fd00:ec2::254]:443", false},
		{"https://receiver", false, "[fd00:ec2::254%eth0]:443", false},
		{"https://receiver", false, "[fd00:ec2::23]:443", false},
		{"https://receiver", false, "[fd00:ec3::254]:443", true},
		{"https://receiver", false, "[fd20:ce::254]:443", false},
		{"https://receiver", false, "[fd00:c1::a9fe:a9fe]:443", false},
		{"https://receiver", false, "[64:ff9b::a9fe:a9fe]:443", false},
		{"https://receiver", false, "[64:ff9b::6464:64c8]:443", false},
		{"https://receiver", false, "[64:ff9b::a00:7]:443", true},
		{"http://localhost", false, "[64:ff9b::7f00:1]:80", false},
		{"https://receiver", false, "[64:ff9b:1::a9fe:a9fe]:443", false},
		{"https://receiver", false, "[64:ff9b:1:2:3:4:a9fe:a9fe]:443", false},
		{"https://receiver", false, "[64:ff9b:2::a9fe:a9fe]:443", true},
		{"https://receiver", false, "[2002:a9fe:a9fe::1]:443", false},
		{"https://receiver", false, "[2002:a00:7::1]:443", true},
		{"https://receiver", false, "[::a9fe:a9fe]:443", false},
		{"https://receiver", false, "[::1]:443", true},
		{"https://receiver", false, "[2001:db8::a9fe:a9fe]:443", true},
	} {
		err := onlyTo(&trellisv1.Hook{Url: test.url, AllowHttp: test.insecure})("tcp", test.address, nil)
		if (err == nil) != test.want {
			t.Errorf("%s to %s: %v", test.url, test.address, err)
		}
	}
	answer := Sender{}.Send(t.Context(), &trellisv1.Hook{Url: "https://0.0.0.0:1/"}, testEvent)
	if !strings.Contains(answer.Error, "hooks are not sent to 0.0.0.0") {
		t.Errorf("%+v", answer)
	}
}
