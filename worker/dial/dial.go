package dial

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// ErrAddress means that a text is not the address of a coordinator, nor a list of such addresses.
var ErrAddress = errors.New("not an address of a coordinator")

// Choice says which of several nodes a call goes to. Nodes that can't be reached are passed over.
type Choice int

const (
	// First takes the first one in the list, and stays with it while the connection lasts: one connection in all.
	First Choice = iota
	// InTurn takes the next one for each call: a connection to each.
	InTurn
)

// scheme is the resolver's of lists of addresses.
const scheme = "trellis"

// Options returns the target and the options for one call of grpc.NewClient. Addresses are those of the nodes,
// host:port, with commas between them, or a single target that gRPC resolves, such as dns:///host:7070. The error wraps
// ErrAddress and says which of them is wrong and what would be right.
//
// Names are looked up at every dial: gRPC's own resolver would hold on to an old address for half a minute and wait up to
// two for a name that is not there yet, as when a cluster starts.
func Options(addresses string, choice Choice) (target string, options []grpc.DialOption, err error) {
	nodes, err := Nodes(addresses)
	switch {
	case err != nil:
		return "", nil, err
	case isTarget(nodes[0]):
		return nodes[0], nil, nil
	case len(nodes) == 1:
		return "passthrough:///" + nodes[0], nil, nil
	}
	var state resolver.State
	for _, node := range nodes {
		// Each node is known by its own name, not by the target's.
		address := resolver.Address{Addr: node, ServerName: node}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
	}
	list := manual.NewBuilderWithScheme(scheme)
	list.InitialState(state)
	options = []grpc.DialOption{grpc.WithResolvers(list)}
	if choice == InTurn {
		options = append(options, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	}
	return scheme + ":///" + nodes[0], options, nil
}

// Nodes splits a list of addresses, of which there is at least one.
func Nodes(addresses string) ([]string, error) {
	if isTarget(addresses) && !strings.Contains(addresses, ",") {
		return []string{addresses}, nil
	}
	var nodes []string
	for node := range strings.SplitSeq(addresses, ",") {
		node = strings.TrimSpace(node)
		switch {
		case isTarget(node):
			return nil, fmt.Errorf("%q names a resolver, which only a single address may: %w", node, ErrAddress)
		case !isAddress(node):
			return nil, fmt.Errorf("%q has no host and port, such as localhost:7070: %w", node, ErrAddress)
		case slices.Contains(nodes, node):
			return nil, fmt.Errorf("%q is in the list twice: %w", node, ErrAddress)
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// isTarget reports whether an address names the resolver that understands it.
func isTarget(address string) bool { return strings.Contains(address, ":/") }

func isAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.ContainsAny(host, " \t\n") {
		return false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}
