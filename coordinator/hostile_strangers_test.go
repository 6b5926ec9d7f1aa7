package coordinator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

// clientTLS is how a client with these files encrypts its connections. Without a certificate, it is a stranger.
func clientTLS(t testing.TB, files access.Files) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(files.Authority)
	if err != nil || !roots.AppendCertsFromPEM(authority) {
		t.Fatalf("read the authority: %v", err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"},
	}
	if files.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// halfCalls are calls whose requests stop before their end.
type halfCalls struct {
	mu sync.Mutex
	// answers counts what the calls were answered, by code and message.
	answers map[string]int
	// failed is why a call without an answer failed last, nil if none did.
	failed error
}

// halfSize is how much of a request is sent: a little less than the largest that a coordinator takes.
const halfSize = maxMessage - maxMessage/16

// halfRequests begins n calls and sends most of a large request for each.
func (h *target) halfRequests(from, method string, secure *tls.Config, n int) *halfCalls {
	h.Helper()
	message := make([]byte, 5+halfSize)
	binary.BigEndian.PutUint32(message[1:], maxMessage)
	calls := &halfCalls{answers: map[string]int{}}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(secure == nil)
	protocols.SetHTTP2(secure != nil)
	transport := &http.Transport{
		Protocols: protocols, TLSClientConfig: secure.Clone(),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx, from) },
	}
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	ctx, stop := context.WithCancel(h.Context())
	var all sync.WaitGroup
	h.Cleanup(func() {
		if h.Failed() {
			h.Logf("calls of %s by %s: %v", method, from, calls)
		}
		stop()
		all.Wait()
		transport.CloseIdleConnections()
	})
	for range n {
		all.Go(func() {
			url := scheme + "://" + h.address + method
			answer, err := halfRequest(ctx, transport, url, message)
			// A slow machine may end connections before calls on them are answered.
			for err != nil && ctx.Err() == nil {
				calls.fail(err)
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
					answer, err = halfRequest(ctx, transport, url, message)
				}
			}
			calls.mu.Lock()
			defer calls.mu.Unlock()
			calls.answers[strings.TrimSpace(answer)]++
		})
	}
	return calls
}

// halfRequest makes one call, and returns its status and message.
func halfRequest(
	ctx context.Context, transport *http.Transport, url string, message []byte,
) (answer string, err error) {
	body := io.MultiReader(bytes.NewReader(message), stalled{ctx})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return "", err
	}
	request.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	for _, header := range []http.Header{response.Header, response.Trailer} {
		answer += header.Get("Grpc-Status") + " " + header.Get("Grpc-Message")
	}
	return answer, nil
}

// fail keeps why a call failed.
func (c *halfCalls) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

// String is what the calls were answered, and why the last that failed did.
func (c *halfCalls) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("answers %v; the last failed call: %v", c.answers, c.failed)
}

// with counts the answers that contain a text.
func (c *halfCalls) with(text string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for answer, times := range c.answers {
		if strings.Contains(answer, text) {
			n += times
		}
	}
	return n
}

// stalled is the end of a request that never comes.
type stalled struct{ context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.Done()
	return 0, s.Err()
}

// asking starts a coordinator that asks who calls, and returns how a stranger connects.
func asking(t *testing.T, limits Limits) (*target, *authority, *tls.Config) {
	t.Helper()
	own := newAuthority(t)
	server := own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1")
	ann := own.issue(trellisv1.Role_ROLE_ADMIN, "ann")
	target := newTarget(t, hostileConfig{TLS: server, Client: ann, Limits: limits})
	return target, own, clientTLS(t, access.Files{Authority: ann.Authority})
}

// Whoever has no credentials is refused before the request arrives. What a coordinator holds of requests has a bound in
// number, and so in bytes, also for those who have some.
func TestRequestsThatNeverArriveHoldLittle(t *testing.T) {
	calls := 600
	if testing.Short() {
		calls = 150 // The race detector makes megabytes of each slow.
	}
	target, own, stranger := asking(t, Limits{})
	stop := target.latency("127.0.0.9")
	before := target.status("VmRSS") >> 10

	refused := target.halfRequests("127.0.0.2", trellisv1.StudyService_GetStudy_FullMethodName, stranger, calls)
	target.eventually("strangers are refused", func() bool {
		return refused.with("16 this coordinator must know who calls") == calls
	})
	peak := target.status("VmHWM") >> 10
	if peak > before+200*memoryFactor {
		t.Errorf("%d calls of strangers: peak memory %d MB, before %d MB", calls, peak, before)
	}
	// Health is for everybody.
	checks := target.halfRequests("127.0.0.2", grpc_health_v1.Health_Check_FullMethodName, stranger, calls)
	target.eventually("strangers get few checks", func() bool {
		return checks.with("limit strangers-each=16") == calls-16
	})
	vera := clientTLS(t, own.issue(trellisv1.Role_ROLE_VIEWER, "vera"))
	for _, method := range []string{
		trellisv1.StudyService_GetStudy_FullMethodName, trellisv1.StudyService_WatchStudy_FullMethodName,
	} {
		known := target.halfRequests("127.0.0.3", method, vera, calls/2)
		target.eventually("a viewer's calls meet a limit", func() bool {
			return known.with("limit arriving-each=128") >= calls/2-128
		})
	}
	peak = target.settled("VmHWM") >> 10
	worst, answered := stop()
	if peak > before+600*memoryFactor {
		t.Errorf("peak memory %d MB, before %d MB", peak, before)
	}
	t.Logf("%d calls of strangers, %d of health and %d of a viewer, each with %d kB of its request: another client's "+
		"slowest of %d calls took %v; peak memory %d MB, before %d MB",
		calls, calls, calls, halfSize>>10, answered, worst,
		peak, before)
}

// serveTLS serves a coordinator of this process on a real socket, and returns its address.
func serveTLS(t *testing.T, config Config, change func(*Coordinator)) (*Coordinator, string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Numerics = testNumerics
	if config.MinFreeDisk == 0 {
		config.MinFreeDisk = 1
	}
	if config.Models == nil {
		config.Models = testModels
	}
	coordinator, err := New(config, listener, memoryDataSets{})
	if err != nil {
		t.Fatal(err)
	}
	change(coordinator)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- coordinator.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return coordinator, listener.Addr().String()
}

// connectTLS returns a connection to the address, with these files.
func connectTLS(t *testing.T, address string, secure *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithNoProxy(),
		grpc.WithTransportCredentials(credentials.NewTLS(secure)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// connectPlain is connectTLS without encryption.
func connectPlain(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithNoProxy(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A node that does not lead asks the leader about tokens that it does not know, and not for everybody at a time.
// Asked by another node that takes it for the leader, it does not say that a token is wrong: it may have been elected
// a moment ago.
func TestTokensThatANodeDoesNotKnow(t *testing.T) {
	t.Parallel()
	own := newAuthority(t)
	server := own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1")
	_, address := serveTLS(t, Config{TLS: server, Data: t.TempDir(), Wait: true}, func(*Coordinator) {})
	secret, _, _ := access.NewSecret()
	node := connectTLS(t, address, clientTLS(t, own.issue(trellisv1.Role_ROLE_NODE, "b", "127.0.0.1")))
	_, err := trellisv1.NewAccessServiceClient(node).WhoAmI(
		metadata.AppendToOutgoingContext(bearing(t.Context(), secret), api.ForwardedBy, "b:1"),
		&trellisv1.WhoAmIRequest{})
	wantCode(t, err, codes.Unavailable, "not ready yet")

	stranger := clientTLS(t, access.Files{Authority: server.Authority})
	var all sync.WaitGroup
	var refused atomic.Int64
	for range 4 {
		conn := connectTLS(t, address, stranger)
		for range 50 {
			all.Go(func() {
				secret, _, _ := access.NewSecret()
				stream, err := trellisv1.NewStudyServiceClient(conn).WatchStudy(bearing(t.Context(), secret),
					&trellisv1.WatchStudyRequest{Study: "none"})
				if err == nil {
					_, err = stream.Recv()
				}
				switch status.Code(err) {
				case codes.ResourceExhausted:
					refused.Add(1)
				case codes.Unavailable:
				default:
					t.Errorf("a stranger's call: %v", err)
				}
			})
		}
	}
	all.Wait()
	if refused.Load() < 50 {
		t.Errorf("%d of 200 calls were refused", refused.Load())
	}
}

// A connection of a caller who is never known does not keep others out. A node's does not need a call.
func TestConnectionsOfStrangersAreClosed(t *testing.T) {
	t.Parallel()
	own := newAuthority(t)
	server := own.issue(trellisv1.Role_ROLE_NODE, "a", "127.0.0.1")
	const patience = 500 * time.Millisecond
	_, address := serveTLS(t, Config{TLS: server}, func(c *Coordinator) { c.port.strangerTime = patience })
	stranger := clientTLS(t, access.Files{Authority: server.Authority})
	vera := clientTLS(t, own.issue(trellisv1.Role_ROLE_VIEWER, "vera"))
	for name, test := range map[string]struct {
		secure *tls.Config
		call   func(*grpc.ClientConn) error
		open   bool
	}{
		"a stranger":                  {stranger, nil, false},
		"a stranger with a check":     {stranger, checkHealth, false},
		"a stranger who is refused":   {stranger, listStudies, false},
		"a viewer without a call":     {vera, nil, false},
		"a viewer with a call":        {vera, listStudies, true},
		"another node without a call": {clientTLS(t, own.issue(trellisv1.Role_ROLE_NODE, "b", "127.0.0.1")), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The one on which the call was answered: on a machine that stalls, others are closed before their call
			// has come.
			var last atomic.Pointer[watchedConn]
			conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithNoProxy(),
				grpc.WithTransportCredentials(credentials.NewTLS(test.secure)),
				grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
					conn, err := dialTCP(ctx, address)
					watched := &watchedConn{Conn: conn, closed: make(chan struct{})}
					if err == nil {
						last.Store(watched)
					}
					return watched, err
				}))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.Connect()
			began := time.Now()
			for answered := test.call == nil; !answered || last.Load() == nil; time.Sleep(time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatal("each connection is closed before its call is answered")
				}
				if answered {
					continue
				}
				switch err := test.call(conn); status.Code(err) {
				case codes.OK, codes.Unauthenticated:
					answered = true
				case codes.Unavailable: // Closed meanwhile.
				default:
					t.Fatal(err)
				}
			}
			// Counted in short sleeps, of which a stall is one.
			sleeps := 1000
			if test.open {
				sleeps = int(4 * patience / (10 * time.Millisecond))
			}
			answering, closed := last.Load(), false
			for ; sleeps > 0 && !closed; sleeps-- {
				select {
				case <-answering.closed:
					closed = true
				case <-time.After(10 * time.Millisecond):
				}
			}
			if closed == test.open {
				t.Errorf("it is closed: %t", closed)
			}
		})
	}
}

func checkHealth(conn *grpc.ClientConn) error {
	_, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	return err
}

func listStudies(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := trellisv1.NewStudyServiceClient(conn).ListStudies(ctx, &trellisv1.ListStudiesRequest{},
		grpc.WaitForReady(true))
	return err
}

// watchedConn says when the other end has closed it.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *watchedConn) Read(into []byte) (int, error) {
	n, err := w.Conn.Read(into)
	if err != nil {
		w.once.Do(func() { close(w.closed) })
	}
	return n, err
}

// settled is a number from the process's status once it has not grown for a while, or after 10 s.
func (h *target) settled(name string) uint64 {
	h.Helper()
	number, since, began := h.status(name), time.Now(), time.Now()
	h.eventually(name+" does not grow", func() bool {
		if now := h.status(name); now > number+1<<10 {
			number, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second || time.Since(began) > 10*time.Second
	})
	return number
}
