package coordinator

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// Additions of nodes that are none leave no connections, no goroutines and no work behind.
func TestAdditionsOfNodesThatAreNoneLeaveNothing(t *testing.T) {
	t.Parallel()
	target := newTarget(t, hostileConfig{})
	// It accepts connections, and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var held, most atomic.Int64
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			// A connection that the coordinator has closed is seen as closed a moment later: a second of this
			// process, which may stall.
			for looks := 0; held.Load() > 0 && looks < 1000; looks++ {
				time.Sleep(time.Millisecond)
			}
			now := held.Add(1)
			go func() {
				if now > most.Load() {
					most.Store(now)
				}
				for buffer := make([]byte, 1<<10); ; {
					if _, err := conn.Read(buffer); err != nil {
						break
					}
				}
				conn.Close()
				held.Add(-1)
			}()
		}
	}()
	client := target.client("127.0.0.2")
	for _, address := range []string{"0.0.0.0:7070", "[::]:7070", "224.0.0.1:7070", "nowhere", "host:0x1"} {
		_, err := client.cluster.AddNode(t.Context(), &trellisv1.AddNodeRequest{Id: "node", Address: address})
		wantCode(t, err, codes.InvalidArgument, "")
	}
	before := target.goroutines()
	stop := target.latency("127.0.0.9")
	const additions = 600
	var calls sync.WaitGroup
	var refused, failed atomic.Int64
	for part := range 4 {
		client := target.client(fmt.Sprintf("127.0.0.%d", 3+part))
		calls.Go(func() {
			for n := range additions / 4 {
				address := fmt.Sprintf("127.1.%d.%d:9", part, n)
				if n == 7 {
					address = silent.Addr().String()
				}
				_, err := client.cluster.AddNode(t.Context(), &trellisv1.AddNodeRequest{Id: "node", Address: address})
				switch status.Code(err) {
				case codes.FailedPrecondition:
					failed.Add(1)
				case codes.ResourceExhausted:
					refused.Add(1)
				default:
					t.Errorf("%s: %v", address, err)
				}
			}
		})
	}
	calls.Wait()
	worst, made := stop()
	if most.Load() > 1 {
		t.Errorf("%d additions were made at the same time", most.Load())
	}
	target.eventually("connections are closed", func() bool { return held.Load() == 0 })
	target.eventually("goroutines have ended", func() bool { return target.goroutines() < before+20 })
	used := target.cpu()
	time.Sleep(time.Second)
	used = target.cpu() - used
	if used > 300*time.Millisecond {
		t.Errorf("after %d additions, it uses %v of a second", additions, used)
	}
	t.Logf("%d of %d additions failed and %d were refused; goroutines %d before and %d after; %v of the next second "+
		"used; another client's slowest of %d calls took %v; peak memory %d MB", failed.Load(), additions,
		refused.Load(), before, target.goroutines(), used, made, worst, target.status("VmHWM")>>10)
}
