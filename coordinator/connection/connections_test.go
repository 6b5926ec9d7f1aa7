package connection

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trellis/coordinator/quota"
)

func TestConnectionsAreCountedUntilTheyAreClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	logger := slog.New(slog.DiscardHandler)
	limits := Limits{All: 3, Host: 2, Principal: 1, Refusing: 8}
	bounded := Listen(listener, limits, NewUnread(quota.Limit{}, nil, logger), logger)
	connect := func(from string) *Conn {
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
		return Of(accepted.RemoteAddr())
	}
	first, second := connect("127.0.0.1"), connect("127.0.0.1")
	if err := errors.Join(first.Refused(), second.Refused()); err != nil {
		t.Fatal(err)
	}
	third := connect("127.0.0.1")
	if err := third.Refused(); err == nil || !strings.Contains(err.Error(), "connections-address=2") {
		t.Errorf("a host's third connection: %v", err)
	}
	if err := connect("127.0.0.2").Refused(); err != nil {
		t.Errorf("another host: %v", err)
	}
	if err := connect("127.0.0.3").Refused(); err == nil || !strings.Contains(err.Error(), "limit connections=3") {
		t.Errorf("the fourth connection: %v", err)
	}
	// Another node's is kept.
	if third.KeepNode(); third.Refused() != nil {
		t.Error("a node's connection above a limit is refused")
	}
	if err := errors.Join(first.Claim("a"), first.Claim("a"), second.Claim("b")); err != nil {
		t.Error(err)
	}
	if err := second.Claim("a"); err == nil || !strings.Contains(err.Error(), "connections-each=1") {
		t.Errorf("a principal's second connection: %v", err)
	}
	first.Close()
	first.Close()
	if err := second.Claim("a"); err != nil {
		t.Errorf("after its first was closed: %v", err)
	}
	second.Close()
	third.Close()
	if again := connect("127.0.0.1"); again.Refused() != nil {
		t.Errorf("after all were closed: %v", again.Refused())
	}
	bounded.mu.Lock()
	defer bounded.mu.Unlock()
	if bounded.all != 2 || bounded.open["127.0.0.1"] != 1 || bounded.nodes != 0 || len(bounded.claimed) != 0 {
		t.Errorf("%d connections, by host %v, %d of nodes, by principal %v", bounded.all, bounded.open, bounded.nodes,
			bounded.claimed)
	}
}

// A connection above a limit is closed soon after a call was refused, however many calls follow: its slot is for telling
// others.
func TestCallsDoNotKeepARefusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		logger := slog.New(slog.DiscardHandler)
		bounded := Listen(nil, Limits{Refusing: 8}, NewUnread(quota.Limit{}, nil, logger), logger)
		counted := bounded.count(far)
		if counted == nil {
			t.Fatal("it was closed at once")
		}
		refused := Of(counted.RemoteAddr())
		for range 100 {
			if refused.Refused() == nil {
				t.Fatal("a call was not refused")
			}
			<-time.After(refusalLinger / 2) // The clock is synctest's.
		}
		if bounded.mu.Lock(); bounded.allRefusing != 0 {
			t.Error("the connection is still open")
		}
		bounded.mu.Unlock()
	})
}

func TestAHostIsAnAddressOrANetwork(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:4": "10.1.2.3", "[::ffff:10.1.2.3]:4": "10.1.2.3", "[::1]:4": "::1", "bufconn": "bufconn",
		"[2001:db8:1:2:3:4:5:6]:4": "2001:db8:1:2::/64", "[fe80::1%eth0]:4": "fe80::/64", "one:1": "one",
	} {
		if got := HostOf(namedAddr(address)); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}

type namedAddr string

func (namedAddr) Network() string  { return "tcp" }
func (a namedAddr) String() string { return string(a) }
