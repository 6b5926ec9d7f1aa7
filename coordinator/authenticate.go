package coordinator

import (
	"context"
	"net"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	"trellis/coordinator/connection"
	trellisv1 "trellis/proto/trellis/v1"
)

// Metadata of calls. A caller sends its token as HTTP does. A node that forwards a call says for whom, and the
// principal is that caller: only nodes may send these keys.
const (
	authorizationKey = "authorization"
	bearer           = "Bearer "

	callerKeys       = "trellis-caller-"
	callerRoleKey    = callerKeys + "role"
	callerNameKey    = callerKeys + "name"
	callerTokenKey   = callerKeys + "token"
	callerAddressKey = callerKeys + "address"
)

// maxAddress bounds the host that a forwarding node says a call comes from.
const maxAddress = 255

var (
	errNoCredential = status.Error(codes.Unauthenticated, "this coordinator must know who calls: give a token "+
		"(--token-file or TRELLIS_TOKEN) or a client certificate (--certificate and --key)")
	errWrongToken = status.Error(codes.Unauthenticated, "unknown token: it was revoked, or belongs to another "+
		"coordinator")
	errExpiredToken = status.Error(codes.Unauthenticated, "the token has expired: ask an admin for another (trellis "+
		"tokens create)")
	errEndedToken = status.Error(codes.Unauthenticated, "the token was revoked or has expired")
)

// authenticateUnary finds out who makes a call, and refuses one that its principal may not make.
func (c *Coordinator) authenticateUnary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	call, err := c.identify(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(access.WithCall(ctx, call), request)
}

// authenticateStream is authenticateUnary for streams. A stream ends with its caller's token.
func (c *Coordinator) authenticateStream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	call, err := c.identify(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	ctx := access.WithCall(stream.Context(), call)
	if call.Token != nil {
		var done func()
		ctx, done = c.tokens.use(ctx, call.Token)
		defer done()
	}
	err = handler(service, &identifiedStream{stream, ctx})
	if cause := context.Cause(ctx); err != nil && stream.Context().Err() == nil && cause != nil {
		return cause
	}
	return err
}

// identifiedStream is a stream whose caller is known. It ends with its context.
type identifiedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context of the call.
func (s *identifiedStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *identifiedStream) RecvMsg(message any) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return s.ServerStream.RecvMsg(message)
}

// SendMsg implements grpc.ServerStream.
func (s *identifiedStream) SendMsg(message any) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return s.ServerStream.SendMsg(message)
}

// identify returns who makes a call, if they may.
func (c *Coordinator) identify(ctx context.Context, name string) (access.Call, error) {
	call := access.Call{Address: hostFrom(ctx), Method: path.Base(name)}
	forwarded := value(ctx, api.ForwardedBy) != ""
	if !c.authenticates {
		if address := value(ctx, callerAddressKey); forwarded && len(address) <= maxAddress {
			call.Address = address
		}
		return call, nil
	}
	may := methodsByName[name].may
	if may.has(trellisv1.Role_ROLE_UNSPECIFIED) {
		return call, nil
	}
	err := c.authenticate(ctx, &call, forwarded)
	if err == nil && may == 0 {
		err = unknownMethod(name)
	}
	if err == nil && !may.has(call.Role) {
		err = status.Errorf(codes.PermissionDenied, "%v may not call %s: it takes the role %v", call.Principal,
			call.Method, may)
	}
	if err != nil {
		c.denials.log(call, err)
	}
	return call, err
}

// authenticate fills in who makes the call.
func (c *Coordinator) authenticate(ctx context.Context, call *access.Call, forwarded bool) error {
	holder, hasCertificate, err := access.FromPeer(ctx)
	if err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	isNode := hasCertificate && holder.Role == trellisv1.Role_ROLE_NODE
	if !isNode && (forwarded || sentByNode(ctx)) {
		return status.Error(codes.PermissionDenied, "only nodes of the cluster may forward calls")
	}
	if isNode && forwarded {
		if address := value(ctx, callerAddressKey); address != "" && len(address) <= maxAddress {
			call.Address = address
		}
	}
	authorization := value(ctx, authorizationKey)
	switch {
	case authorization != "":
		secret, ok := strings.CutPrefix(authorization, bearer)
		if !ok {
			return status.Error(codes.Unauthenticated, "the authorization must be a bearer token")
		}
		token, err := c.tokenOf(ctx, *call, secret, forwarded)
		if err != nil {
			return err
		}
		call.Principal, call.Token = access.FromMessage(token.GetPrincipal()), access.WithoutHash(token)
		return nil
	case !hasCertificate:
		return errNoCredential
	case isNode && value(ctx, callerRoleKey) != "":
		return c.believe(ctx, call)
	}
	call.Principal = holder
	return nil
}

// believe takes from a forwarding node for whom it forwards. If that is the holder of a token, the leader makes sure
// that it was not revoked in the meantime: the node may not know yet.
func (c *Coordinator) believe(ctx context.Context, call *access.Call) error {
	role, known := access.ParseRole(value(ctx, callerRoleKey))
	if !known {
		return status.Errorf(codes.PermissionDenied, "a node forwarded a call of unknown role %q",
			value(ctx, callerRoleKey))
	}
	call.Principal = access.Principal{Role: role, Name: value(ctx, callerNameKey)}
	id := value(ctx, callerTokenKey)
	if id == "" || !c.leader.Leads() {
		return nil
	}
	token, err := c.store.Snapshot().Token(id)
	switch {
	case err != nil || access.FromMessage(token.GetPrincipal()) != call.Principal:
		return errWrongToken
	case access.Expired(token, time.Now()):
		return errExpiredToken
	}
	call.Token = access.WithoutHash(token)
	return nil
}

// tokenOf returns the token of a secret. A node that does not know it asks the leader: it may have been made a moment
// ago.
func (c *Coordinator) tokenOf(
	ctx context.Context, call access.Call, secret string, forwarded bool,
) (*trellisv1.Token, error) {
	id, ok := access.SecretID(secret)
	if !ok {
		return nil, errWrongToken
	}
	for {
		token, err := c.store.Snapshot().Token(id)
		switch {
		case err == nil && !access.Matches(token, secret):
			return nil, errWrongToken
		case err == nil && access.Expired(token, time.Now()):
			return nil, errExpiredToken
		case err == nil:
			return token, nil
		case c.leader.Leads() || forwarded:
			return nil, errWrongToken
		}
		leader, err := c.destination(ctx, leaderNode, refusedError{})
		if err != nil {
			return nil, err
		}
		if leader != "" {
			return c.askLeader(ctx, leader, call, secret)
		}
	}
}

// askLeader has the leader say whose token a secret is of.
func (c *Coordinator) askLeader(
	ctx context.Context, leader string, call access.Call, secret string,
) (*trellisv1.Token, error) {
	conn, done, err := c.peers.connect(leader)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "connect to the leader, %s: %v", leader, err)
	}
	defer done()
	ctx = metadata.AppendToOutgoingContext(c.outgoing(ctx), authorizationKey, bearer+secret,
		callerAddressKey, call.Address)
	answer, err := trellisv1.NewAccessServiceClient(conn).WhoAmI(ctx, &trellisv1.WhoAmIRequest{})
	if err != nil {
		return nil, c.leaderError(leader, err)
	}
	if answer.GetToken() == nil {
		return nil, errWrongToken
	}
	return answer.GetToken(), nil
}

// hostFrom returns the host at the other end of a call's connection.
func hostFrom(ctx context.Context) string {
	from := connection.PeerOf(ctx)
	if from == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(from.String())
	if err != nil {
		return from.String()
	}
	return host
}

// value returns the only value of a metadata key, or "".
func value(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
		return values[0]
	}
	return ""
}

// sentByNode says whether the call has metadata that only nodes may send.
func sentByNode(ctx context.Context) bool {
	sent, _ := metadata.FromIncomingContext(ctx)
	for key := range sent {
		if strings.HasPrefix(key, callerKeys) || key == api.ForwardedBy {
			return true
		}
	}
	return false
}

// onBehalf returns the context of a forwarded call: outgoing's, with who makes the call.
func (c *Coordinator) onBehalf(ctx context.Context) context.Context {
	call := access.CallOf(ctx)
	pairs := []string{callerAddressKey, call.Address}
	if !call.Anonymous() {
		pairs = append(pairs, callerRoleKey, access.RoleName(call.Role), callerNameKey, call.Name)
	}
	if call.Token != nil {
		pairs = append(pairs, callerTokenKey, call.Token.GetId())
	}
	return metadata.AppendToOutgoingContext(c.outgoing(ctx), pairs...)
}
