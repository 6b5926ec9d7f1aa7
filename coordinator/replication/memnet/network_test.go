package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns the ends of a connection between a and b.
func pair(t *testing.T, a, b *Endpoint) (near, far net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := b.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	near, err := a.Dial(b.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return near, <-accepted
}

func listen(t *testing.T, n *Network, address string) *Endpoint {
	t.Helper()
	e, err := n.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// receive reads one byte within a second.
func receive(t *testing.T, c net.Conn) (byte, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1)
	_, err := io.ReadFull(c, data)
	return data[0], err
}

func TestCutOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := listen(t, n, "a"), listen(t, n, "b")
		defer a.Close()
		defer b.Close()
		near, far := pair(t, a, b)
		n.Cut("a", "b")
		if _, err := near.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := receive(t, far); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("over a cut link: %v", err)
		}
		if _, err := far.Write([]byte{2}); err != nil {
			t.Fatal(err)
		}
		if got, err := receive(t, near); got != 2 || err != nil {
			t.Errorf("against the cut: %d, %v", got, err)
		}
		if _, err := b.Dial("a", time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dial over a link that is cut one way: %v", err)
		}
		n.Heal()
		if got, err := receive(t, far); got != 1 || err != nil {
			t.Errorf("after the link was healed: %d, %v", got, err)
		}
	})
}

func TestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := listen(t, n, "a"), listen(t, n, "b")
		defer a.Close()
		near, _ := pair(t, a, b)
		hidden, _ := pair(t, a, b)
		b.Close()
		if _, err := receive(t, near); !errors.Is(err, io.EOF) {
			t.Errorf("read from a node that is down: %v", err)
		}
		if _, err := a.Dial("b", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial a node that is down: %v", err)
		}
		hidden.Close()
		b = listen(t, n, "b")
		defer b.Close()
		near, far := pair(t, a, b)
		n.Partition([]string{"a"}, []string{"b"})
		far.Close()
		if _, err := receive(t, near); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a partition lets through that a connection was closed: %v", err)
		}
		n.Heal()
		if _, err := receive(t, near); !errors.Is(err, io.EOF) {
			t.Errorf("after the partition: %v", err)
		}
	})
}
