package dial

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// elsewhere is a machine for which the proxy would be asked: for this one it never is. It is not to be found.
const elsewhere = "coordinator.invalid:7070"

// ours and itself say who connects in the process that TestNoProxy starts.
const (
	variable = "TRELLIS_TEST_DIAL"
	ours     = "ours"
	itself   = "grpc"
)

// A proxy that is there for the web is not asked for the coordinator. Which proxy there is, Go's libraries read once in a
// process, so each case has one of its own. gRPC by itself shows that the proxy would notice.
func TestNoProxy(t *testing.T) {
	if who := os.Getenv(variable); who != "" {
		connectElsewhere(t, who)
		return
	}
	for who, want := range map[string]bool{ours: false, itself: true} {
		t.Run(who, func(t *testing.T) {
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			asked := make(chan bool, 1)
			go func() {
				connections := 0
				for ; ; connections++ {
					conn, err := listener.Accept()
					if err != nil {
						break
					}
					conn.Close()
				}
				asked <- connections > 0
			}()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoProxy$", "-test.v")
			proxy := "http://" + listener.Addr().String()
			child.Env = append(os.Environ(), variable+"="+who, "HTTPS_PROXY="+proxy, "HTTP_PROXY="+proxy, "ALL_PROXY="+proxy,
				"https_proxy="+proxy, "NO_PROXY=", "no_proxy=")
			if output, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
			listener.Close()
			if got := <-asked; got != want {
				t.Errorf("the proxy was asked: %t, want %t", got, want)
			}
		})
	}
}

// connectElsewhere fails to connect once, in each way in which addresses can be given.
func connectElsewhere(t *testing.T, who string) {
	for _, address := range []string{elsewhere, "dns:///" + elsewhere, elsewhere + ",other.invalid:7070"} {
		var conn *grpc.ClientConn
		var err error
		if who == ours {
			var made *Conn
			if made, err = NewClient(address, InTurn, Credentials{Insecure: true}); err == nil {
				conn = made.ClientConn
			}
		} else {
			conn, err = grpc.NewClient("passthrough:///"+elsewhere, grpc.WithTransportCredentials(insecure.NewCredentials()))
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		conn.Connect()
		for state := conn.GetState(); state != connectivity.TransientFailure; state = conn.GetState() {
			if !conn.WaitForStateChange(ctx, state) {
				t.Errorf("%s: still %v", address, state)
				break
			}
		}
		cancel()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A socket is dialed as gRPC names it, absolute or not.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, &node{address: "here"})
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(listener)
	}()
	defer func() {
		server.Stop()
		<-served
	}()
	for _, address := range []string{"unix:" + dir + "/socket", "unix://" + dir + "/socket", "unix:socket"} {
		conn, err := NewClient(address, First, Credentials{Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err == nil || err.Error() != `rpc error: code = Unavailable desc = here` {
			t.Errorf("%s: got %v", address, err)
		}
		conn.Close()
	}
}
