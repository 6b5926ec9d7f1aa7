package worker

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// Sessions go through one node after the other, and past those that are not there.
func TestSeveralNodes(t *testing.T) {
	nodes := map[string]*coordinator{}
	down := ""
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		if address == down {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		return nodes[address].listener.DialContext(ctx)
	}
	configure := func(h *harness, c *Config) {
		c.Coordinator = "a:1,b:2,c:3"
		c.DialOptions = append(c.DialOptions, grpc.WithContextDialer(dial))
		for address := range strings.SplitSeq(c.Coordinator, ",") {
			nodes[address] = newCoordinator()
			nodes[address].sessions = make(chan *peer, 100)
		}
	}
	inBubble(t, configure, func(h *harness) {
		servers := map[string]*grpc.Server{}
		for address, node := range nodes {
			servers[address] = grpc.NewServer()
			trellisv1.RegisterWorkerServiceServer(servers[address], node)
			go servers[address].Serve(node.listener)
		}
		defer func() {
			h.kill()
			for _, server := range servers {
				server.Stop()
			}
		}()
		// next waits for a session, through whichever node.
		next := func() (string, *peer) {
			var p *peer
			address := ""
			select {
			case p = <-nodes["a:1"].sessions:
				address = "a:1"
			case p = <-nodes["b:2"].sessions:
				address = "b:2"
			case p = <-nodes["c:3"].sessions:
				address = "c:3"
			case <-time.After(time.Minute):
				h.Fatalf("no session within a minute; log:\n%s", h.logs)
			}
			p.T = h.T
			return address, p
		}
		synctest.Wait()
		through := map[string]int{}
		var epoch int
		_, p := next()
		p.welcome()
		p.assign(synthetic(1, "run", 1000))
		for range 6 {
			epoch++
			p.reports(1, epoch, epoch)
			p.acknowledge(1, epoch)
			synctest.Wait()
			p.end <- status.Error(codes.Unavailable, "the leader is gone")
			var address string
			address, p = next()
			through[address]++
			p.welcome(1)
		}
		if through["a:1"] != 2 || through["b:2"] != 2 || through["c:3"] != 2 {
			t.Errorf("sessions went through %v, want each node twice", through)
		}
		p.end <- status.Error(codes.Unavailable, "the leader is gone")
		down = "b:2"
		servers[down].Stop()
		clear(through)
		// While gRPC tries to reach the node that is down, it may begin its turns anew.
		for sessions := 0; sessions < 100 && (sessions < 4 || len(through) < 2); sessions++ {
			address, p := next()
			through[address]++
			p.welcome(1)
			synctest.Wait()
			p.end <- status.Error(codes.Unavailable, "the leader is gone")
		}
		if through["b:2"] > 0 || through["a:1"] == 0 || through["c:3"] == 0 {
			t.Errorf("sessions went through %v, want a:1 and c:3", through)
		}
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training, want 1", n)
		}
		if n := h.count("lost the coordinator; reconnecting"); n < 6 {
			t.Errorf("the log tells %d times that the coordinator was lost", n)
		}
	})
}
