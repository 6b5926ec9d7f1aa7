package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"trellis/coordinator/api"
	"trellis/coordinator/artifact"
	"trellis/coordinator/replication"
	"trellis/coordinator/web"
)

// self is what the packages api, lead and artifact see of their node: no more than their interfaces require.
type self struct{ c *Coordinator }

var (
	_ api.Node       = self{}
	_ artifact.Peers = self{}
)

// Replicated returns the log if it can be replicated to other nodes, and nil if it is in memory.
func (s self) Replicated() *replication.Log { return s.c.replicated }

// Applied returns the index of the last command that the store includes.
func (s self) Applied() uint64 { return s.c.machine.applied.get() }

// Connect returns a connection to another node for one call.
func (s self) Connect(address string) (conn *grpc.ClientConn, done func(), err error) {
	return s.c.peers.connect(address)
}

// Visit returns a connection for one call to an address that may not be a node's.
func (s self) Visit(address string) (conn *grpc.ClientConn, done func(), err error) {
	return s.c.peers.visit(address)
}

// Outgoing returns the context for a call to another node.
func (s self) Outgoing(ctx context.Context) context.Context { return s.c.outgoing(ctx) }

// WhilePaused does work while the leader's loops are paused, and ends all sessions.
func (s self) WhilePaused(ctx context.Context, why error, work func() error) error {
	return s.c.whilePaused(ctx, why, work)
}

// Others returns the addresses of the other nodes, the leader's first.
func (s self) Others() ([]string, error) {
	if s.c.replicated == nil {
		return nil, nil
	}
	nodes, err := s.c.replicated.Nodes()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(nodes, func(a, b replication.Node) int { return cmp.Compare(rank(a), rank(b)) })
	var others []string
	for _, node := range nodes {
		if node.Address != s.c.address {
			others = append(others, node.Address)
		}
	}
	return others, nil
}

func rank(node replication.Node) int {
	if node.Leader {
		return 0
	}
	return 1
}

// makeWeb makes what serves HTTP on a listener. Its calls go to the gRPC server as all others do.
func (c *Coordinator) makeWeb(listener net.Listener) error {
	c.webPort = newPort(listener, c.port.dial, c.logger)
	c.webPort.speaksHTTP()
	c.webPort.certificates, c.webPort.strangerTime = c.certificates, c.port.strangerTime
	hosts := []string{}
	for _, address := range []string{c.address, listener.Addr().String()} {
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts = append(hosts, strings.ToLower(host))
		}
	}
	server, err := web.New(web.Config{
		Connect:       func(inner, outer net.Conn) { c.port.calls.hand(innerConn{inner, outer}) },
		Authenticates: c.config.TLS.Given() || c.config.hooks.authenticate, Hosts: hosts, MaxBody: int64(c.config.Limits.maxRequest()),
		Page: c.config.Page, Logger: c.logger,
	})
	if err != nil {
		return fmt.Errorf("coordinator: %w", err)
	}
	c.web = server
	return nil
}
