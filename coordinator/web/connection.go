package web

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"trellis/coordinator/connection"
)

const (
	// maxResponse bounds the size of a response's message, in bytes as gRPC sends it.
	maxResponse = 32 << 20
	// buffer is how many bytes a connection in memory reads and writes at a time: there may be thousands.
	buffer = 8 << 10
)

// conn is an HTTP connection. The first call on it opens a connection in memory to the gRPC server.
type conn struct {
	net.Conn
	connect func(inner, outer net.Conn)

	mu     sync.Mutex
	client *grpc.ClientConn
	closed bool
}

type connKey struct{}

// withConn returns the context of an HTTP connection's requests.
func withConn(ctx context.Context, opened net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, opened)
}

// connOf returns the HTTP connection of a request.
func connOf(ctx context.Context) *conn {
	opened, _ := ctx.Value(connKey{}).(*conn)
	return opened
}

// calls returns the connection in memory.
func (c *conn) calls() (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.client != nil {
		return c.client, nil
	}
	// The server may end it when it has been idle for long: then there will be another.
	dial := func(context.Context, string) (net.Conn, error) {
		own, servers := net.Pipe()
		go c.connect(servers, c.Conn)
		return own, nil
	}
	client, err := grpc.NewClient("passthrough:///coordinator",
		grpc.WithContextDialer(dial), grpc.WithNoProxy(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithReadBufferSize(buffer), grpc.WithWriteBufferSize(buffer),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse), grpc.MaxCallSendMsgSize(maxResponse)),
	)
	if err != nil {
		return nil, err
	}
	c.client = client
	return client, nil
}

// CloseWrite tells the client that nothing more is written: see connection.CloseWrite.
func (c *conn) CloseWrite() error { return connection.CloseWrite(c.Conn) }

// Close closes both connections.
func (c *conn) Close() error {
	c.mu.Lock()
	client := c.client
	c.client, c.closed = nil, true
	c.mu.Unlock()
	err := c.Conn.Close()
	if client != nil {
		client.Close()
	}
	return err
}

// listener makes the connections that it accepts HTTP connections.
type listener struct {
	net.Listener
	connect func(inner, outer net.Conn)
}

// Accept returns the next HTTP connection.
func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: accepted, connect: l.connect}, nil
}
