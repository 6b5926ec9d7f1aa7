package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
)

// checkAddress is about whether a coordinator could listen on an address, or one does.
func (m *machine) checkAddress(ctx context.Context, flag, address string) finding {
	f := finding{Check: "--" + flag, State: fine, Found: address + " is free"}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err == nil {
		listener.Close()
		return f
	}
	f.State = fault
	elsewhere := "choose another with --" + flag
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		name, arguments, pid := listenerOn(m.root, portOf(address))
		switch {
		case serves(flag, name, arguments):
			f.State, f.Found = fine, fmt.Sprintf("trellis (process %d) listens on %s", pid, address)
		case name != "":
			if name == "trellis" && len(arguments) > 1 {
				name += " " + arguments[1]
			}
			f.Found = fmt.Sprintf("%s is taken by %s (process %d)", address, name, pid)
			f.Advice = "stop that, or " + elsewhere
		default:
			f.Found = address + " is taken by a process of another user"
			f.Advice = fmt.Sprintf("find it as root: ss -ltnp 'sport = :%d', or %s", portOf(address), elsewhere)
		}
	case errors.Is(err, syscall.EACCES):
		f.Found, f.Advice = address+" is for root alone", "choose a port above 1023 with --"+flag
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Found, f.Advice = address+" is not an address of this machine", "name one that it has, or :PORT for all, with --"+flag
	default:
		f.Found, f.Advice = fmt.Sprintf("can't listen on %s (%v)", address, err), elsewhere
	}
	return f
}

// serves says whether a process is one that is to listen on the address of a flag: a coordinator, or a worker for its metrics.
func serves(flag, name string, arguments []string) bool {
	return name == "trellis" && (slices.Contains(arguments, "coordinator") ||
		flag == "metrics" && slices.Contains(arguments, "worker"))
}

// portOf is the port of an address that was listened on.
func portOf(address string) uint64 {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		number, _ = strconv.Atoi(port)
	}
	return uint64(number)
}
