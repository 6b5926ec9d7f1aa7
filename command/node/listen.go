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

// checkLoopback refuses an address that other machines can reach. flag is the name of the flag that gave the address, and
// remedy says what would be right.
func checkLoopback(ctx context.Context, flag, address, remedy string) error {
	host, err := hostOf(flag, address)
	if err != nil {
		return err
	}
	loopback, err := isLoopback(ctx, host)
	if err != nil {
		return exit.Usagef("--%s %s: %w", flag, address, err)
	}
	if !loopback {
		return exit.Usagef("--%s %s can be reached from other machines without encryption or passwords: %s", flag,
			address, remedy)
	}
	return nil
}

// hostOf returns the host of an address to listen on.
func hostOf(flag, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", exit.Usagef("--%s must be an address such as %s, not %q", flag, client.DefaultAddress, address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", exit.Usagef("--%s %s: the port must be a number between 0 and 65535", flag, address)
	}
	return host, nil
}

// listen opens a TCP port. flag is the name of the flag that gave the address.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	if _, err := hostOf(flag, address); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the address is already in use, possibly by another coordinator "+
			"or worker; choose another with --%s", address, flag)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s (--%s): %w", address, flag, cause(err))
	}
	return listener, nil
}

// cause is an error of the network without what Go's own text adds to it.
func cause(err error) error {
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		err = operation.Err
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New(lookup.Err)
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	return err
}

// isLoopback says whether a host is this machine and cannot be reached from another. No host is all interfaces.
func isLoopback(ctx context.Context, host string) (bool, error) {
	if host == "" {
		return false, nil
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", host, cause(err))
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
