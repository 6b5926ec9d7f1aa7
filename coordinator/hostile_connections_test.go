package coordinator

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

// A host opens as many connections as it can, against a process that may open few files. It gets its share, the log
// goes on, and another host's calls are served.
func TestAFloodOfConnectionsLeavesTheLogItsFiles(t *testing.T) {
	const descriptors = 512
	target := newTarget(t, hostileConfig{Descriptors: descriptors})
	stop := target.latency("127.0.0.9")
	flood := target.idle("127.0.0.2", descriptors+100)
	client := target.client("127.0.0.3")
	for _, name := range []string{"one", "two"} {
		// A large study makes the log open its next file.
		spec := syntheticSpec(name, ramp(200), ramp(200))
		if _, err := client.studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
			t.Errorf("study %s: %v", name, err)
		}
	}
	if _, err := client.cluster.Backup(t.Context(), &trellisv1.BackupRequest{}); err != nil {
		t.Error(err)
	}
	open := stillOpen(flood)
	if open == 0 || open > descriptors/2 {
		t.Errorf("one host holds %d connections of %d", open, descriptors)
	}
	// It is told which limit it has met.
	refused := target.client("127.0.0.2")
	target.eventually("a refusal names the limit", func() bool {
		_, err := refused.studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{})
		if err == nil {
			t.Fatal("a connection above the limit is served")
		}
		return status.Code(err) == codes.ResourceExhausted &&
			strings.Contains(err.Error(), "limit connections-address=")
	})

	// A second host takes what is left. Then all are refused, and who is connected is served.
	second := target.idle("127.0.0.4", descriptors+100)
	var third *clients
	target.eventually("all are refused", func() bool {
		third = target.client("127.0.0.5")
		_, err := third.studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{})
		return status.Code(err) == codes.ResourceExhausted || status.Code(err) == codes.Unavailable
	})
	spec := syntheticSpec("three", ramp(200), ramp(200))
	if _, err := client.studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
		t.Errorf("who was connected before the flood: %v", err)
	}
	for _, conn := range append(flood, second...) {
		conn.Close()
	}
	target.eventually("there is room again", func() bool {
		_, err := third.studies.ListStudies(t.Context(), &trellisv1.ListStudiesRequest{})
		return err == nil
	})
	worst, calls := stop()
	t.Logf("one host held %d connections; another's slowest of %d calls took %v; peak memory %d MB",
		open, calls, worst, target.status("VmHWM")>>10)
}

// Connections that never say what they are, or stop in the middle of greeting, are closed.
func TestSlowConnectionsAreClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a timeout of the handshake")
	}
	target := newTarget(t, hostileConfig{})
	for name, said := range map[string]string{
		"silent": "", "half a preface": "PRI * HT", "preface without the rest": clientPreface,
		"preface without settings": clientPreface + "\r\nSM\r\n\r\n",
		"half a frame of settings": clientPreface + "\r\nSM\r\n\r\n\x00\x00\x06\x04",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := target.dial(t.Context(), "127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, said); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(3 * handshakeTimeout))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it is open after %v", 3*handshakeTimeout)
			}
		})
	}
}

func TestConnectionsAreCountedUntilTheyAreClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	logger := slog.New(slog.DiscardHandler)
	limits := connectionLimits{all: 3, host: 2, principal: 1, refusing: 8}
	bounded := newConnections(listener, limits, newUnread(quota.Limit{}, logger), logger)
	connect := func(from string) *connection {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.DialContext(context.Background(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		accepted, err := bounded.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { accepted.Close() })
		return connectionOf(accepted.RemoteAddr())
	}
	first, second := connect("127.0.0.1"), connect("127.0.0.1")
	if err := errors.Join(first.refused(), second.refused()); err != nil {
		t.Fatal(err)
	}
	third := connect("127.0.0.1")
	if err := third.refused(); err == nil || !strings.Contains(err.Error(), "connections-address=2") {
		t.Errorf("a host's third connection: %v", err)
	}
	if err := connect("127.0.0.2").refused(); err != nil {
		t.Errorf("another host: %v", err)
	}
	if err := connect("127.0.0.3").refused(); err == nil || !strings.Contains(err.Error(), "limit connections=3") {
		t.Errorf("the fourth connection: %v", err)
	}
	// Another node's is kept.
	if third.keepNode(); third.refused() != nil {
		t.Error("a node's connection above a limit is refused")
	}
	if err := errors.Join(first.claim("a"), first.claim("a"), second.claim("b")); err != nil {
		t.Error(err)
	}
	if err := second.claim("a"); err == nil || !strings.Contains(err.Error(), "connections-each=1") {
		t.Errorf("a principal's second connection: %v", err)
	}
	first.Close()
	first.Close()
	if err := second.claim("a"); err != nil {
		t.Errorf("after its first was closed: %v", err)
	}
	second.Close()
	third.Close()
	if again := connect("127.0.0.1"); again.refused() != nil {
		t.Errorf("after all were closed: %v", again.refused())
	}
	bounded.mu.Lock()
	defer bounded.mu.Unlock()
	if bounded.all != 2 || bounded.open["127.0.0.1"] != 1 || bounded.nodes != 0 || len(bounded.claimed) != 0 {
		t.Errorf("%d connections, by host %v, %d of nodes, by principal %v", bounded.all, bounded.open, bounded.nodes,
			bounded.claimed)
	}
}

func TestTheLimitOfDescriptorsLeavesAReserve(t *testing.T) {
	for _, c := range []struct {
		descriptors uint64
		want        connectionLimits
	}{
		{1 << 62, connectionLimits{all: 12_000, host: 2000, principal: 2000, refusing: 128}},
		{20_000, connectionLimits{all: 12_000, host: 2000, principal: 2000, descriptors: 18_976, refusing: 128}},
		{4096, connectionLimits{all: 3072, host: 1536, principal: 2000, descriptors: 3072, refusing: 128}},
		{256, connectionLimits{all: 192, host: 96, principal: 2000, descriptors: 192, refusing: 8}},
	} {
		if got := newConnectionLimits(Limits{}.withDefaults(), c.descriptors); got != c.want {
			t.Errorf("with %d descriptors: %+v, want %+v", c.descriptors, got, c.want)
		}
	}
}

func TestAHostIsAnAddressOrANetwork(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:4": "10.1.2.3", "[::ffff:10.1.2.3]:4": "10.1.2.3", "[::1]:4": "::1", "bufconn": "bufconn",
		"[2001:db8:1:2:3:4:5:6]:4": "2001:db8:1:2::/64", "[fe80::1%eth0]:4": "fe80::/64", "one:1": "one",
	} {
		if got := hostOf(namedAddr(address)); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}

type namedAddr string

func (namedAddr) Network() string  { return "tcp" }
func (a namedAddr) String() string { return string(a) }

// ramp has n axis values.
func ramp(n uint32) []uint32 {
	values := make([]uint32, n)
	for i := range values {
		values[i] = uint32(i) + 1
	}
	return values
}
