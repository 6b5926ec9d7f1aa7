package coordinator

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/connection"
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
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for a timeout of the handshake")
	}
	target := newTarget(t, hostileConfig{})
	slow := map[string]net.Conn{}
	for name, said := range map[string]string{
		"silent": "", "half a preface": "PRI * HT", "preface without the rest": clientPreface,
		"preface without settings": clientPreface + "\r\nSM\r\n\r\n",
		"half a frame of settings": clientPreface + "\r\nSM\r\n\r\n\x00\x00\x06\x04",
	} {
		conn, err := target.dial(t.Context(), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
		slow[name] = conn
	}
	for name, conn := range slow {
		conn.SetReadDeadline(time.Now().Add(3 * handshakeTimeout))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: it is open after %v", name, 3*handshakeTimeout)
		}
	}
}

func TestTheLimitOfDescriptorsLeavesAReserve(t *testing.T) {
	for _, c := range []struct {
		descriptors uint64
		want        connection.Limits
	}{
		{1 << 62, connection.Limits{All: 12_000, Host: 2000, Principal: 2000, Refusing: 128}},
		{20_000, connection.Limits{All: 12_000, Host: 2000, Principal: 2000, Descriptors: 18_976, Refusing: 128}},
		{4096, connection.Limits{All: 3072, Host: 1536, Principal: 2000, Descriptors: 3072, Refusing: 128}},
		{256, connection.Limits{All: 192, Host: 96, Principal: 2000, Descriptors: 192, Refusing: 8}},
	} {
		got := Limits{}.withDefaults().connections().Within(c.descriptors)
		if got != c.want {
			t.Errorf("with %d descriptors: %+v, want %+v", c.descriptors, got, c.want)
		}
	}
}

// ramp has n axis values.
func ramp(n uint32) []uint32 {
	values := make([]uint32, n)
	for i := range values {
		values[i] = uint32(i) + 1
	}
	return values
}
