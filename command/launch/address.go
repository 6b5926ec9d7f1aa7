package launch

import (
	"net"
	"strings"

	"trellis/command/exit"
	"trellis/worker/dial"
)

// checkReachable refuses addresses of the coordinator that mean another machine on every node. What gRPC resolves itself
// (dns:///host:7070) is taken as it is.
func checkReachable(addresses string) error {
	nodes, err := dial.Nodes(addresses)
	if err != nil {
		return exit.Usagef("--coordinator: %w", err)
	}
	for _, node := range nodes {
		// A coordinator that is about to start has no address yet, and may well get another.
		if located, err := dial.Located(node); err == nil {
			node = located
		}
		host, port, err := net.SplitHostPort(node)
		if err != nil {
			host, port = strings.Trim(node, "[]"), "7070"
		}
		if strings.HasPrefix(node, "unix:") || strings.HasPrefix(node, "unix-abstract:") {
			return unreachable(node, "7070")
		}
		ip := net.ParseIP(host)
		if host == "" || strings.EqualFold(host, "localhost") || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
			return unreachable(node, port)
		}
	}
	return nil
}

func unreachable(node, port string) error {
	return exit.Usagef("workers on other machines can't reach the coordinator at %s: name it as they see it, with --coordinator "+
		"HOST:%s, and start it with --listen :%s", node, port, port)
}
