package connection

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

// Unread bounds the responses that clients have not read. gRPC keeps what a call has sent, and even what is left when
// the call has ended, until the client's flow control admits it or the connection is closed. So the connection is what
// has to be looked at: what calls have sent on it, less what it has written.
//
// Beyond a limit, the connection with the most of the host with the most is closed. Its client connects again, and a
// watch continues from the index that it has. What a client cancels without reading counts until its connection is
// closed.
type Unread struct {
	limit quota.Limit
	// forwarded says whether another node has forwarded a call.
	forwarded func(ctx context.Context) bool
	logger    *slog.Logger

	mu     sync.Mutex
	all    int64
	byHost map[string]int64
	conns  map[*Conn]int64
}

// NewUnread returns what counts the responses of a listener's connections. forwarded says whether another node has
// forwarded a call.
func NewUnread(limit quota.Limit, forwarded func(ctx context.Context) bool, logger *slog.Logger) *Unread {
	return &Unread{
		limit: limit, forwarded: forwarded, logger: logger, byHost: map[string]int64{}, conns: map[*Conn]int64{},
	}
}

// sent counts bytes that a call sends on a connection, nil if its connection is not known. A node that has forwarded
// the call is bound by the limit of all only: it speaks for many, whom it bounds itself. An answer that is larger than a
// limit by itself is refused: however much the client reads, there will be no room for it.
func (u *Unread) sent(conn *Conn, bytes int64, forwarded bool) error {
	if conn == nil {
		return nil
	}
	if name, limit := u.most(!forwarded); limit > 0 && bytes > limit {
		return status.Errorf(codes.ResourceExhausted, "the answer has %d bytes, which exceeds the limit %s=%d", bytes,
			name, limit)
	}
	u.mu.Lock()
	if _, open := u.conns[conn]; !open {
		u.mu.Unlock()
		return nil
	}
	u.add(conn, bytes)
	var victims []*Conn
	for {
		victim := u.victim(conn.host, !forwarded)
		if victim == nil {
			break
		}
		u.logger.Info("closed the connection of a client that reads too little", "client", victim.host,
			"unread_bytes", u.conns[victim], "limit", u.limit.Name)
		u.remove(victim)
		victims = append(victims, victim)
	}
	u.mu.Unlock()
	for _, victim := range victims {
		victim.Close()
	}
	return nil
}

// most returns the lower limit, and its name. each says whether the limit of one host counts.
func (u *Unread) most(each bool) (name string, limit int64) {
	if each && u.limit.Each > 0 && (u.limit.InAll == 0 || u.limit.Each < u.limit.InAll) {
		return u.limit.Name + quota.EachSuffix, u.limit.Each
	}
	return u.limit.Name, u.limit.InAll
}

// written says that a connection has written bytes of responses, or that they will never be written.
func (u *Unread) written(conn *Conn, bytes int64) {
	if conn == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, open := u.conns[conn]; open {
		u.add(conn, -bytes)
	}
}

// Written says that so many bytes of responses have been written to the connection.
func (c *Conn) Written(bytes int64) {
	if c != nil {
		c.from.unread.written(c, bytes)
	}
}

// open begins to count for a connection, and closed forgets it.
func (u *Unread) open(conn *Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conns[conn] = 0
}

func (u *Unread) closed(conn *Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(conn)
}

// Held returns how many bytes are unread in all.
func (u *Unread) Held() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all
}

// add and the methods below are called with mu held.
func (u *Unread) add(conn *Conn, bytes int64) {
	u.conns[conn] += bytes
	u.all += bytes
	if u.byHost[conn.host] += bytes; u.byHost[conn.host] == 0 {
		delete(u.byHost, conn.host)
	}
}

func (u *Unread) remove(conn *Conn) {
	if bytes, open := u.conns[conn]; open {
		u.add(conn, -bytes)
		delete(u.conns, conn)
	}
}

// victim returns the connection to close, or nil if the limits hold after a connection from host has sent something.
// each says whether the limit of one host counts.
func (u *Unread) victim(host string, each bool) *Conn {
	switch {
	case each && u.limit.Each > 0 && u.byHost[host] > u.limit.Each:
	case u.limit.InAll > 0 && u.all > u.limit.InAll:
		for other, bytes := range u.byHost {
			if bytes > u.byHost[host] {
				host = other
			}
		}
	default:
		return nil
	}
	var victim *Conn
	for conn, bytes := range u.conns {
		if conn.host == host && (victim == nil || bytes > u.conns[victim]) {
			victim = conn
		}
	}
	return victim
}

// messageHead is the size of what gRPC writes before each message.
const messageHead = 5

// SizeOf is how many bytes of a connection's data a message takes.
func SizeOf(message any) int64 {
	if message, ok := message.(proto.Message); ok {
		return messageHead + int64(proto.Size(message))
	}
	return messageHead
}

// CountUnary counts the response to a call.
func (u *Unread) CountUnary(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	response, err := handler(ctx, request)
	if err == nil {
		err = u.sent(Of(PeerOf(ctx)), SizeOf(response), u.forwarded(ctx))
	}
	return response, err
}

// CountStream counts the responses of a stream.
func (u *Unread) CountStream(
	service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	ctx := stream.Context()
	return handler(service, &countedStream{stream, u, Of(PeerOf(ctx)), u.forwarded(ctx)})
}

type countedStream struct {
	grpc.ServerStream
	unread    *Unread
	conn      *Conn
	forwarded bool
}

// Encoded is a message that was encoded before the codec gets it. A codec passes it on as it is.
type Encoded struct{ Wire mem.BufferSlice }

// codec encodes messages as gRPC does.
var codec = encoding.GetCodecV2(grpcproto.Name)

// SendMsg sends a message, which counts from the moment that it waits for the client. What a worker is told is encoded
// at once, because to compute the size of an assignment takes as long. It is small, unlike other answers, which are not
// encoded before there is room for them.
func (s *countedStream) SendMsg(message any) error {
	var bytes int64
	if its, ok := message.(*trellisv1.SessionResponse); ok {
		wire, err := codec.Marshal(its)
		if err != nil {
			return status.Errorf(codes.Internal, "encode an answer: %v", err)
		}
		message, bytes = Encoded{wire}, messageHead+int64(wire.Len())
	} else {
		bytes = SizeOf(message)
	}
	if err := s.unread.sent(s.conn, bytes, s.forwarded); err != nil {
		return err
	}
	err := s.ServerStream.SendMsg(message)
	if err != nil {
		s.unread.written(s.conn, bytes)
	}
	return err
}

// Frames follows the HTTP/2 frames that are written to a connection: see RFC 9113, section 4.1.
type Frames struct {
	head [9]byte
	// got is how much of the head has been written, and left how much of the payload has not.
	got, left int
}

// frameData is the type of frames that carry messages.
const frameData = 0

// Data returns how many bytes of the next piece are messages.
func (f *Frames) Data(piece []byte) (bytes int64) {
	for len(piece) > 0 {
		if f.got < len(f.head) {
			n := copy(f.head[f.got:], piece)
			f.got += n
			piece = piece[n:]
			if f.got == len(f.head) {
				f.left = int(binary.BigEndian.Uint32(f.head[:4]) >> 8)
			}
		} else {
			n := min(f.left, len(piece))
			if f.head[3] == frameData {
				bytes += int64(n)
			}
			f.left -= n
			piece = piece[n:]
		}
		if f.got == len(f.head) && f.left == 0 {
			f.got = 0
		}
	}
	return bytes
}
