package dial

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneAddress(t *testing.T) {
	for address, want := range map[string]string{
		"host:7070":         "passthrough:///host:7070",
		"[::1]:7070":        "passthrough:///[::1]:7070",
		"[fe80::1%lo]:7070": "passthrough:///[fe80::1%25lo]:7070",
		"dns:///host:7070":  "dns:///host:7070",
		"unix:/run/trellis": "unix:/run/trellis",
	} {
		for _, choice := range []Choice{First, InTurn} {
			target, options, err := targetOf(address, choice)
			if target != want || len(options) != 0 || err != nil {
				t.Errorf("%s: got %s, %d options and error %v, want %s and none", address, target, len(options), err, want)
			}
		}
	}
}

// An IPv6 address with a zone is dialed as it is, alone or in a list.
func TestZone(t *testing.T) {
	for _, addresses := range []string{"[fe80::1%lo]:7070", "[fe80::1%lo]:7070,[fe80::2%lo]:7070"} {
		dialed := make(chan string, 16)
		conn, err := NewClient(addresses, First, Credentials{Insecure: true},
			grpc.WithContextDialer(func(_ context.Context, address string) (net.Conn, error) {
				select {
				case dialed <- address:
				default:
				}
				return nil, syscall.ECONNREFUSED
			}))
		if err != nil {
			t.Fatalf("%s: %v", addresses, err)
		}
		_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if got := <-dialed; status.Code(err) != codes.Unavailable || got != "[fe80::1%lo]:7070" {
			t.Errorf("%s: dialed %s: %v", addresses, got, err)
		}
		conn.Close()
	}
}

// nodes are servers, of which each answers with its address.
type nodes struct {
	listeners map[string]*bufconn.Listener
	servers   map[string]*grpc.Server
	serving   sync.WaitGroup
}

type node struct {
	grpc_health_v1.UnimplementedHealthServer
	address string
}

func (n *node) Check(
	context.Context, *grpc_health_v1.HealthCheckRequest,
) (*grpc_health_v1.HealthCheckResponse, error) {
	return nil, status.Error(codes.Unavailable, n.address)
}

func (n *nodes) start(address string) {
	listener, server := bufconn.Listen(1<<16), grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, &node{address: address})
	n.listeners[address], n.servers[address] = listener, server
	n.serving.Go(func() { server.Serve(listener) })
}

func (n *nodes) stop(address string) { n.servers[address].Stop() }

func (n *nodes) dial(ctx context.Context, address string) (net.Conn, error) {
	listener := n.listeners[address]
	if listener == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return listener.DialContext(ctx)
}

// ask makes so many calls and returns which nodes have answered.
func ask(t *testing.T, conn *Conn, calls int) string {
	t.Helper()
	var answers []string
	for range calls {
		synctest.Wait()
		_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{},
			grpc.WaitForReady(true))
		answers = append(answers, status.Convert(err).Message())
	}
	return strings.Join(answers, " ")
}

func TestSeveralNodes(t *testing.T) {
	for _, test := range []struct {
		name   string
		choice Choice
		up     []string
		want   string
		// stop is a node that stops then, and after the calls that go on without it.
		stop, after string
	}{
		{"first", First, []string{"a:1", "b:2", "c:3"}, "a:1 a:1 a:1 a:1", "a:1", "b:2 b:2"},
		{"first that is there", First, []string{"b:2", "c:3"}, "b:2 b:2 b:2 b:2", "b:2", "c:3 c:3"},
		{"last", First, []string{"c:3"}, "c:3 c:3 c:3 c:3", "", ""},
		{"in turn", InTurn, []string{"a:1", "b:2", "c:3"}, "a:1 b:2 c:3 a:1", "b:2", "a:1 c:3 a:1 c:3"},
		{"in turn but one", InTurn, []string{"a:1", "c:3"}, "a:1 c:3 a:1 c:3", "a:1", "c:3 c:3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &nodes{listeners: map[string]*bufconn.Listener{}, servers: map[string]*grpc.Server{}}
				for _, address := range test.up {
					n.start(address)
				}
				conn, err := NewClient("a:1,b:2,c:3", test.choice, Credentials{Insecure: true}, grpc.WithContextDialer(n.dial))
				if err != nil {
					t.Fatal(err)
				}
				conn.Connect()
				if got := rotations(ask(t, conn, 4)); !slices.Contains(got, test.want) {
					t.Errorf("answers came from %s, want %s", got[0], test.want)
				}
				if test.stop != "" {
					n.stop(test.stop)
					want := strings.Fields(test.after)
					if got := rotations(ask(t, conn, len(want))); !slices.Contains(got, test.after) {
						t.Errorf("after %s has stopped, answers came from %s, want %s", test.stop, got[0], test.after)
					}
				}
				conn.Close()
				for _, address := range test.up {
					n.stop(address)
				}
				n.serving.Wait()
			})
		})
	}
}

// rotations are the lists of answers that differ only in which node came first. Which one does is random.
func rotations(answers string) []string {
	list := strings.Fields(answers)
	distinct := slices.Compact(slices.Sorted(slices.Values(list)))
	var all []string
	for shift := range distinct {
		var rotated []string
		for _, answer := range list {
			i := slices.Index(distinct, answer)
			rotated = append(rotated, distinct[(i+shift)%len(distinct)])
		}
		all = append(all, strings.Join(rotated, " "))
	}
	return all
}
