package fake

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// FreeAddress is FreeAddressAt for this machine alone.
func FreeAddress(t *testing.T) string {
	t.Helper()
	return FreeAddressAt(t, "127.0.0.1")
}

// drawn counts the ports that this process has drawn.
var drawn atomic.Uint32

// nextPort is the port after the one before, from 10000 to 29999. Each process begins at a place of its own: tests of
// several packages run at the same time, and one must not draw what another has drawn and does not listen at yet.
func nextPort() int {
	// Without a common divisor, no two of so many processes begin at the same place, and close process ids far apart.
	const ports, stride = 20000, 7639
	begin := os.Getpid() % ports * stride
	return 10000 + (begin+int(drawn.Add(1)-1))%ports
}

// FreeAddressAt returns an address of a host on which nothing listens, and another one each time. Its port is none that
// the system gives to outgoing connections and to who asks for any port, so that it stays free while the process that
// listens there is dead.
func FreeAddressAt(t *testing.T, host string) string {
	t.Helper()
	for range 100 {
		address := net.JoinHostPort(host, fmt.Sprint(nextPort()))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		listener.Close()
		return address
	}
	t.Fatal("no port between 10000 and 30000 seems to be free")
	return ""
}
