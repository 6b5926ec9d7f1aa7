package coordinator

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// Hostile peers are tested against a coordinator in a process of its own, over real sockets: what they can exhaust
// belongs to the process, and its memory can be measured. The process is this test binary, which runs
// TestHostileCoordinatorProcess alone.

// hostileEnv has a hostileConfig in JSON, for the process of a coordinator.
const hostileEnv = "TRELLIS_TEST_HOSTILE"

// hostileConfig configures the process.
type hostileConfig struct {
	Data   string
	Limits Limits
	// Descriptors is the process's limit. Zero: as it is.
	Descriptors uint64
	// Wait says that it waits to be added to a cluster.
	Wait bool
	// Lease is how long a worker may be silent.
	Lease time.Duration
	// TLS are the files of a coordinator that asks who calls. Client are those of the test's own clients.
	TLS, Client access.Files
}

// TestHostileCoordinatorProcess is the process. It says its address, and ends when its standard input does.
func TestHostileCoordinatorProcess(t *testing.T) {
	encoded := os.Getenv(hostileEnv)
	if encoded == "" {
		t.Skip("it is the coordinator of other tests")
	}
	var config hostileConfig
	if err := json.Unmarshal([]byte(encoded), &config); err != nil {
		t.Fatal(err)
	}
	if config.Descriptors > 0 {
		limit := syscall.Rlimit{Cur: config.Descriptors, Max: config.Descriptors}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	log := &hookedLog{}
	coordinator, err := New(Config{
		Models: testModels, Numerics: testNumerics, Data: config.Data, MinFreeDisk: 1, Limits: config.Limits,
		Advertise: "127.0.0.1:" + port, Wait: config.Wait, Lease: config.Lease, TLS: config.TLS,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		hooks: hooks{log: func(wrapped Log) Log {
			log.Log = wrapped
			return log
		}},
	}, listener, memoryDataSets{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		var blocked chan struct{}
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			number := 0
			switch lines.Text() {
			case "goroutines":
				number = runtime.NumGoroutine()
			case "heap":
				runtime.GC()
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				number = int(memory.HeapInuse >> 10)
			case "block":
				blocked = make(chan struct{})
				wait := blocked
				log.hook(func(l *hookedLog) {
					l.proposing = func(command *trellisv1.Command) {
						if command.GetRecord() != nil || command.GetRecordAndGrant() != nil {
							<-wait
						}
					}
				})
			case "release":
				close(blocked)
			}
			fmt.Println("number", number)
		}
		stop()
	}()
	fmt.Println("listens on", "127.0.0.1:"+port)
	if err := coordinator.Serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(3)
	}
	os.Exit(0)
}

// target is a coordinator in a process of its own.
type target struct {
	testing.TB
	address string
	data    string
	command *exec.Cmd
	stdin   io.WriteCloser
	numbers chan int
	said    *said
	exited  chan struct{}
	err     error
	// secure encrypts the clients' connections. Nil: they are not.
	secure *tls.Config
}

// said keeps what a process says.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// newTarget starts a coordinator, and waits until it serves.
func newTarget(t testing.TB, config hostileConfig) *target {
	t.Helper()
	if config.Data == "" {
		config.Data = t.TempDir()
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	h := &target{TB: t, data: config.Data, said: &said{}, exited: make(chan struct{}), numbers: make(chan int, 1)}
	if config.TLS.Given() {
		h.secure = clientTLS(t, config.Client)
	}
	h.command = exec.Command(os.Args[0], "-test.run=^TestHostileCoordinatorProcess$", "-test.timeout=1h")
	h.command.Env = append(os.Environ(), hostileEnv+"="+string(encoded))
	h.command.Stderr = h.said
	out, err := h.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if h.stdin, err = h.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := h.command.Start(); err != nil {
		t.Fatal(err)
	}
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if address, found := strings.CutPrefix(lines.Text(), "listens on "); found {
				first <- address
			}
			if number, found := strings.CutPrefix(lines.Text(), "number "); found {
				n, _ := strconv.Atoi(number)
				h.numbers <- n
			}
		}
		h.err = h.command.Wait()
		close(h.exited)
	}()
	t.Cleanup(h.stop)
	select {
	case h.address = <-first:
	case <-h.exited:
		t.Fatalf("the coordinator has ended: %v\n%s", h.err, h.said)
	}
	if !config.Wait {
		client := h.client("127.0.0.1")
		h.eventually("the coordinator leads", func() bool {
			_, err := client.studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{})
			return err == nil
		})
	}
	return h
}

// stop ends the process, which must still run.
func (h *target) stop() {
	h.Helper()
	select {
	case <-h.exited:
		if h.err != nil {
			h.Errorf("the coordinator has ended: %v\n%s", h.err, h.said)
		}
		return
	default:
	}
	h.stdin.Close()
	select {
	case <-h.exited:
		if h.err != nil {
			h.Errorf("the coordinator has ended: %v\n%s", h.err, h.said)
		}
	case <-time.After(30 * time.Second):
		h.command.Process.Kill()
		h.Errorf("the coordinator does not stop\n%s", h.said)
	}
}

// eventually waits until the condition holds.
func (h *target) eventually(what string, condition func() bool) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-h.exited:
			h.Fatalf("the coordinator has ended: %v\n%s", h.err, h.said)
		default:
		}
		if time.Now().After(deadline) {
			h.Fatalf("waited for a minute, and not yet: %s", what)
		}
	}
}

// status returns a number from the process's status: VmHWM is its peak memory, in kB.
func (h *target) status(name string) uint64 {
	h.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.command.Process.Pid))
	if err != nil {
		h.Skipf("the process can't be looked at: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			number, err := strconv.ParseUint(strings.Fields(value)[0], 10, 64)
			if err != nil {
				h.Fatal(err)
			}
			return number
		}
	}
	h.Fatalf("no %s in the status of the process", name)
	return 0
}

// goroutines is how many goroutines the process has.
func (h *target) goroutines() int {
	h.Helper()
	return h.ask("goroutines")
}

// heap is how much of its heap the process uses after a collection, in kB.
func (h *target) heap() int {
	h.Helper()
	return h.ask("heap")
}

// ask tells the process to do something, and returns its answer.
func (h *target) ask(what string) int {
	h.Helper()
	if _, err := io.WriteString(h.stdin, what+"\n"); err != nil {
		h.Fatal(err)
	}
	select {
	case n := <-h.numbers:
		return n
	case <-time.After(30 * time.Second):
		h.Fatalf("the coordinator does not answer %s", what)
		return 0
	}
}

// cpu is how much processor time the process has used.
func (h *target) cpu() time.Duration {
	h.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.command.Process.Pid))
	if err != nil {
		h.Skipf("the process can't be looked at: %v", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// clients are a peer's clients to the services.
type clients struct {
	conn    *grpc.ClientConn
	studies trellisv1.StudyServiceClient
	trials  trellisv1.TrialServiceClient
	workers trellisv1.WorkerServiceClient
	cluster trellisv1.ClusterServiceClient
}

// client returns clients that connect from an address of the loopback network.
func (h *target) client(from string) *clients {
	h.Helper()
	transport := insecure.NewCredentials()
	if h.secure != nil {
		transport = credentials.NewTLS(h.secure)
	}
	conn, err := grpc.NewClient("passthrough:///"+h.address,
		grpc.WithTransportCredentials(transport), grpc.WithNoProxy(),
		grpc.WithReadBufferSize(4<<10),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, MaxDelay: 200 * time.Millisecond,
			},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return h.dial(ctx, from) }))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	return &clients{
		conn: conn, studies: trellisv1.NewStudyServiceClient(conn), trials: trellisv1.NewTrialServiceClient(conn),
		workers: newPartsClient(conn), cluster: trellisv1.NewClusterServiceClient(conn),
	}
}

// dial connects from an address of the loopback network.
func (h *target) dial(ctx context.Context, from string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return dialer.DialContext(ctx, "tcp", h.address)
}

// greeting is what an HTTP/2 client begins with: the preface, and a frame with no settings.
const greeting = clientPreface + "\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// idle opens connections that have greeted as gRPC clients do, and make no calls. It returns those that were opened.
func (h *target) idle(from string, n int) (open []net.Conn) {
	h.Helper()
	for range n {
		conn, err := h.dial(h.Context(), from)
		if err != nil {
			h.Logf("connection %d from %s: %v", len(open)+1, from, err)
			break
		}
		h.Cleanup(func() { conn.Close() })
		open = append(open, conn)
		_, _ = io.WriteString(conn, greeting)
	}
	return open
}

// stillOpen counts the connections that the coordinator has not closed.
func stillOpen(conns []net.Conn) (open int) {
	buffer := make([]byte, 1<<10)
	for _, conn := range conns {
		for {
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
			if err != nil {
				break
			}
		}
	}
	return open
}

// latency is the longest that each of a few calls of a client takes, made one after the other until stop is called.
func (h *target) latency(from string) (stop func() (worst time.Duration, calls int)) {
	h.Helper()
	client := h.client(from)
	if _, err := client.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{}); err != nil {
		h.Fatalf("a client from %s: %v", from, err)
	}
	ended, done := make(chan struct{}), make(chan struct{})
	var worst time.Duration
	calls := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-ended:
				return
			case <-time.After(5 * time.Millisecond):
			}
			began := time.Now()
			if _, err := client.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{}); err != nil {
				h.Errorf("another client, call %d: %v", calls, err)
				return
			}
			worst = max(worst, time.Since(began))
			calls++
		}
	}()
	return func() (time.Duration, int) {
		close(ended)
		<-done
		return worst, calls
	}
}
