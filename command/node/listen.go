package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"trellis/command/client"
	"trellis/command/exit"
)

// Listen opens a TCP port. One that other machines can reach is refused unless insecure is true, since nothing that
// listens here asks who is calling. flag is the name of the flag that gave the address.
func Listen(ctx context.Context, flag, address string, insecure bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, exit.Usagef("--%s must be an address such as %s, not %q", flag, client.DefaultAddress, address)
	}
	if !insecure {
		loopback, err := isLoopback(ctx, host)
		if err != nil {
			return nil, exit.Usagef("--%s %s: %w", flag, address, err)
		}
		if !loopback {
			return nil, exit.Usagef("--%s %s can be reached from other machines without encryption or passwords: if "+
				"all of them can be trusted, add --insecure; otherwise listen on 127.0.0.1", flag, address)
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the address is already in use, possibly by another coordinator "+
			"or worker; choose another with --%s", address, flag)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s (--%s): %w", address, flag, err)
	}
	return listener, nil
}

// isLoopback says whether a host is this machine and cannot be reached from another. No host is all interfaces.
func isLoopback(ctx context.Context, host string) (bool, error) {
	if host == "" {
		return false, nil
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", host, err)
	}
	for _, address := range addresses {
		if !address.IP.IsLoopback() {
			return false, nil
		}
	}
	return true, nil
}

// reachableAddress is what others may call a listener: its address, or the machine's name if it listens on all
// interfaces.
func reachableAddress(listener net.Listener) string {
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return listener.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			return net.JoinHostPort(name, port)
		}
	}
	return net.JoinHostPort(host, port)
}
