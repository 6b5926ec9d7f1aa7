package coordinator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// withPort runs the test with a port that serves on memory pipes.
func withPort(t *testing.T, test func(*testing.T, *port, *bufconn.Listener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 10)
		dial := func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
		p := newPort(listener, dial, slog.New(slog.DiscardHandler))
		served := make(chan error, 1)
		go func() { served <- p.serve() }()
		defer func() {
			p.close()
			if err := <-served; err != nil {
				t.Errorf("a port that was closed ended with %v", err)
			}
		}()
		test(t, p, listener)
	})
}

func TestOnePortTellsCallsFromNodes(t *testing.T) {
	withPort(t, func(t *testing.T, p *port, listener *bufconn.Listener) {
		call, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer call.Close()
		// The first bytes may come one by one.
		for _, b := range []byte(clientPreface + "call") {
			if _, err := call.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		node, err := network{p.nodes, p.dial}.Dial("node", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		if _, err := node.Write([]byte("node")); err != nil {
			t.Fatal(err)
		}
		for from, want := range map[*side]string{p.calls: clientPreface + "call", p.nodes: "node"} {
			conn, err := from.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
				t.Errorf("a side reads %q and %v, want %q", got, err, want)
			}
			if _, err := conn.Write([]byte("answer")); err != nil {
				t.Errorf("answer: %v", err)
			}
		}
		// No deadline is left from the greeting.
		<-time.After(2 * prefaceTimeout) // The clock is synctest's.
		if _, err := node.Write([]byte("later")); err != nil {
			t.Errorf("write later: %v", err)
		}
	})
}

func TestAPeerThatSaysNothingHoldsNobodyUp(t *testing.T) {
	withPort(t, func(t *testing.T, p *port, listener *bufconn.Listener) {
		silent, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		began := time.Now()
		node, err := network{p.nodes, p.dial}.Dial("node", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		accepted, err := p.nodes.Accept()
		if err != nil || time.Since(began) > 0 {
			t.Fatalf("a node was accepted after %v: %v", time.Since(began), err)
		}
		defer accepted.Close()
		if _, err := silent.Read(make([]byte, 1)); err == nil || time.Since(began) != prefaceTimeout {
			t.Errorf("the silent connection ended after %v with %v, want %v", time.Since(began), err, prefaceTimeout)
		}
	})
}

func TestPeersThatSpeakSomethingElseAreLetGo(t *testing.T) {
	for name, preface := range map[string]string{
		"another version": "TRELLIS NODE 1\r\n", "HTTP/1": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on",
	} {
		t.Run(name, func(t *testing.T) {
			withPort(t, func(t *testing.T, _ *port, listener *bufconn.Listener) {
				conn, err := listener.Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				began := time.Now()
				if _, err := conn.Write([]byte(preface)); err != nil {
					t.Fatal(err)
				}
				if name == "TLS" {
					// It is told why.
					answer := make([]byte, len(wrongEncryption))
					if _, err := io.ReadFull(conn, answer); err != nil || !bytes.Equal(answer, wrongEncryption) {
						t.Errorf("the answer is %x, %v", answer, err)
					}
					began = began.Add(alertDrain)
				}
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(began) > 0 {
					t.Errorf("the connection ended after %v with %v", time.Since(began), err)
				}
			})
		})
	}
}

func TestClosingAPortClosesConnectionsThatNobodyAccepted(t *testing.T) {
	withPort(t, func(t *testing.T, p *port, listener *bufconn.Listener) {
		silent, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		unaccepted, err := network{p.nodes, p.dial}.Dial("node", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.close()
		for _, conn := range []net.Conn{silent, unaccepted} {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("a connection outlived its port")
			}
			conn.Close()
		}
	})
}

// tired fails a few times before it accepts, as a listener does whose process has too many files open.
type tired struct {
	net.Listener
	left atomic.Int32
}

type tooManyFiles struct{ error }

func (tooManyFiles) Timeout() bool   { return false }
func (tooManyFiles) Temporary() bool { return true }

func (l *tired) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, tooManyFiles{errors.New("too many open files")}
	}
	return l.Listener.Accept()
}

func TestAPortSurvivesErrorsThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 10)
		tired := &tired{Listener: listener}
		tired.left.Store(20)
		p := newPort(tired, func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) },
			slog.New(slog.DiscardHandler))
		served := make(chan error, 1)
		go func() { served <- p.serve() }()
		began := time.Now()
		node, err := network{p.nodes, p.dial}.Dial("node", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		conn, err := p.nodes.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if took := time.Since(began); took < acceptRetryMax || took > 20*acceptRetryMax {
			t.Errorf("accepted after %v: the pauses do not grow, or grow too long", took)
		}
		p.close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
