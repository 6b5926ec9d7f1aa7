package dial

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// Choice says to which of several nodes a call goes. Nodes that can't be reached are skipped.
type Choice int

const (
	// First uses the first node in the list, as long as the connection lasts. There is one connection in total.
	First Choice = iota
	// InTurn uses the next node for each call. There is a connection to each node.
	InTurn
)

// scheme is the scheme of the resolver for lists of addresses.
const scheme = "trellis"

// Conn is a connection to a coordinator, or to the nodes of a cluster of them.
type Conn struct {
	*grpc.ClientConn
	transport *transport
}

// Mistakes receives a mistake whenever the last attempts to connect to all nodes were mistakes: trying again is of no use
// before someone has changed something.
func (c *Conn) Mistakes() <-chan *Mistake { return c.transport.attempts.found }

// Encrypted says whether the connection is encrypted.
func (c *Conn) Encrypted() bool { return c.transport.encrypts }

// Close closes the connection.
func (c *Conn) Close() error {
	c.transport.close()
	return c.ClientConn.Close()
}

// NewClient returns a connection to the coordinator, which connects when it is first needed. addresses has the
// host:port of each node, separated by commas, or a single target that gRPC resolves, such as dns:///host:7070, or file: with
// the path of a file that has the host:port. options are added to the package's own. The error wraps ErrAddress if the
// addresses are wrong, and says which and what would be right; other errors are about the credentials.
//
// Names are looked up, and files read, at every dial. gRPC's own resolver would keep an old address for half a minute, and wait up to
// two minutes for a name that does not exist yet, as when a cluster starts.
func NewClient(
	addresses string, choice Choice, credentials Credentials, options ...grpc.DialOption,
) (*Conn, error) {
	target, own, err := targetOf(addresses, choice)
	if err != nil {
		return nil, err
	}
	nodes, err := Nodes(addresses)
	if err != nil {
		return nil, err
	}
	transport, err := credentials.transport(nodes, newAttempts(len(nodes)))
	if err != nil {
		return nil, err
	}
	if token := credentials.token(); token != nil {
		if !transport.encrypts {
			transport.close()
			return nil, ErrPlainToken
		}
		own = append(own, grpc.WithPerRPCCredentials(token))
	}
	own = append(own, grpc.WithNoProxy(), grpc.WithContextDialer(Connect), grpc.WithTransportCredentials(transport))
	conn, err := grpc.NewClient(target, append(own, options...)...)
	if err != nil {
		transport.close()
		return nil, err
	}
	return &Conn{conn, transport}, nil
}

// Connect opens a connection to an address that gRPC has resolved: host:port, unix: with the path of a socket, or file: with that
// of a file, which is read each time.
func Connect(ctx context.Context, address string) (net.Conn, error) {
	if fileOf(address) != "" {
		located, err := Located(address)
		if err != nil {
			return nil, err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", located)
		if err != nil {
			return nil, err
		}
		return &locatedConn{conn, located}, nil
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		// gRPC writes an absolute path after two slashes.
		network, address = "unix", strings.TrimPrefix(path, "//")
	} else if strings.HasPrefix(address, "\x00") {
		network = "unix" // A socket in Linux's abstract name space, from unix-abstract:.
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// escaped is an address as a part of a target, which is a URL: an IPv6 address may have a zone after a percent sign.
func escaped(address string) string { return strings.ReplaceAll(address, "%", "%25") }

// targetOf returns the target of a list of addresses, and the options that it needs.
func targetOf(addresses string, choice Choice) (target string, options []grpc.DialOption, err error) {
	nodes, err := Nodes(addresses)
	switch {
	case err != nil:
		return "", nil, err
	case fileOf(nodes[0]) != "":
		// Who answers is known by the name in the file. The call itself needs some name, and a path is none.
		return "passthrough:///" + nodes[0], []grpc.DialOption{grpc.WithAuthority("coordinator")}, nil
	case isTarget(nodes[0]):
		return nodes[0], nil, nil
	case len(nodes) == 1:
		return "passthrough:///" + escaped(nodes[0]), nil, nil
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
	return scheme + ":///" + escaped(nodes[0]), options, nil
}
