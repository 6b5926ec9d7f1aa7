package coordinator

import (
	"context"
	"errors"
	"fmt"
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
	"trellis/results"
	"trellis/tracing"
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
		"coordinator: ask an admin for another (trellis tokens create)")
	errExpiredToken = status.Error(codes.Unauthenticated, "the token has expired: ask an admin for another (trellis "+
		"tokens create)")
	errNotReady   = status.Error(codes.Unavailable, "the leader has changed: retry later")
	errEndedToken = status.Error(codes.Unauthenticated, "the token was revoked or has expired")
)

// authenticateUnary finds out who makes a call, and refuses one that its principal may not make.
func (c *Coordinator) authenticateUnary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	call, err := c.identify(ctx, info.FullMethod, c.askLeader)
	if err != nil {
		return nil, err
	}
	return handler(c.identified(ctx, call), request)
}

// authenticateStream is authenticateUnary for streams. A stream ends with its caller's token.
func (c *Coordinator) authenticateStream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	call, err := c.identify(stream.Context(), info.FullMethod, c.askLeader)
	if err != nil {
		return err
	}
	ctx := c.identified(stream.Context(), call)
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

// tracers are the roles whose calls are traced where their callers are. Others would decide what a coordinator records
// and sends.
const tracers = submitters | admins | workers | nodes

// identified returns the context of a call, now that it is known who calls.
func (c *Coordinator) identified(ctx context.Context, call access.Call) context.Context {
	return tracing.Begin(access.WithCall(ctx, call), !c.authenticates || tracers.has(call.Role))
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

// ask returns the token of a secret that this node does not know.
type ask func(ctx context.Context, call access.Call, secret string) (*trellisv1.Token, error)

// errNotKnownHere says that only another node may know a token.
var errNotKnownHere = errors.New("the token is not known here")

// identifyEarly is identify before the request has arrived. It does not wait for other nodes: see callLimits.identify.
func (c *Coordinator) identifyEarly(ctx context.Context, name string) (call access.Call, known bool, err error) {
	call, err = c.identify(ctx, name, func(context.Context, access.Call, string) (*trellisv1.Token, error) {
		return nil, errNotKnownHere
	})
	if errors.Is(err, errNotKnownHere) {
		return call, false, nil
	}
	return call, !c.authenticates || !call.Anonymous(), err
}

// identify returns who makes a call, if they may. asks says whose token it is that this node does not know.
func (c *Coordinator) identify(ctx context.Context, name string, asks ask) (access.Call, error) {
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
	err := c.authenticate(ctx, &call, forwarded, asks)
	if errors.Is(err, errNotKnownHere) {
		return call, err
	}
	if err == nil && may == 0 {
		err = unknownMethod(name)
	}
	if err == nil && !may.has(call.Role) {
		err = status.Errorf(codes.PermissionDenied, "%v is not allowed to do this: %s needs the role %v",
			call.Principal, call.Method, may)
	}
	if err != nil {
		c.denials.log(call, err)
		return call, err
	}
	connection.Of(connection.PeerOf(ctx)).Accept()
	return call, nil
}

// authenticate fills in who makes the call.
func (c *Coordinator) authenticate(ctx context.Context, call *access.Call, forwarded bool, asks ask) error {
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
	if len(metadata.ValueFromIncomingContext(ctx, authorizationKey)) > 1 {
		return status.Error(codes.Unauthenticated, "a call must have one authorization only")
	}
	authorization := value(ctx, authorizationKey)
	switch {
	case authorization != "":
		// Letters of the scheme may be large or small (RFC 9110, 11.1).
		scheme, secret, ok := strings.Cut(authorization, " ")
		if !ok || !strings.EqualFold(scheme+" ", bearer) {
			return status.Error(codes.Unauthenticated, "the authorization must be a bearer token")
		}
		token, err := c.tokenOf(ctx, *call, secret, forwarded, asks)
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
	ctx context.Context, call access.Call, secret string, forwarded bool, asks ask,
) (*trellisv1.Token, error) {
	id, ok := access.SecretID(secret)
	if !ok {
		return nil, errWrongToken
	}
	// What is asked first does not change between the two: who leads has every token.
	leads := c.leader.Leads()
	token, err := c.store.Snapshot().Token(id)
	switch {
	case err == nil && !access.Matches(token, secret):
		return nil, errWrongToken
	case err == nil && access.Expired(token, time.Now()):
		return nil, errExpiredToken
	case err == nil:
		return token, nil
	case leads:
		return nil, errWrongToken
	case forwarded:
		// Another node takes this one for the leader. It may be elected, and not have read all of its log.
		return nil, status.Errorf(codes.Unavailable, "this coordinator, %s, does not lead or is not ready yet, and does "+
			"not know the token: retry later", c.address)
	}
	return asks(ctx, call, secret)
}

// askLeader has the leader say whose token a secret is of. Callers are not known yet, so few ask at a time.
func (c *Coordinator) askLeader(ctx context.Context, call access.Call, secret string) (*trellisv1.Token, error) {
	release, err := c.asks.Take(ctx, connection.HostOf(connection.PeerOf(ctx)))
	if err != nil {
		return nil, err
	}
	defer release()
	leader, err := c.destination(ctx, leaderNode, refusedError{})
	if err != nil {
		return nil, err
	}
	if leader == "" {
		// This node has become the leader, and knows all tokens.
		return c.tokenOf(ctx, call, secret, false, func(context.Context, access.Call, string) (*trellisv1.Token, error) {
			return nil, errNotReady
		})
	}
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

// checkOwner refuses a submitter's change of a study or report that another has made: a call of a method that the table of
// methods says submitters may call for their own. The state machine does so again, without words: it may be replaced in the
// meantime.
func (c *Coordinator) checkOwner(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	caller := access.Of(ctx)
	if !methodsByName[info.FullMethod].own || caller.Role != trellisv1.Role_ROLE_SUBMITTER {
		return handler(ctx, request)
	}
	its, err := c.owned(request)
	if err != nil {
		return nil, api.Status(err)
	}
	if its == nil {
		return handler(ctx, request)
	}
	switch creator := access.FromMessage(its.creator); creator {
	case caller:
		return handler(ctx, request)
	case access.Principal{}:
		return nil, status.Errorf(codes.PermissionDenied, "%s was created before this coordinator asked who calls: "+
			"only an admin may change it", its.name)
	default:
		return nil, status.Errorf(codes.PermissionDenied, "%s was created by %v: only its creator or an admin may "+
			"change it", its.name, creator)
	}
}

// owned is what a request changes that somebody has made.
type owned struct {
	name    string
	creator *trellisv1.Principal
}

// owned returns what a request changes, nil if there is none yet.
func (c *Coordinator) owned(request any) (*owned, error) {
	snapshot := c.store.Snapshot()
	switch named := request.(type) {
	case interface{ GetStudy() string }:
		study, err := snapshot.Study(nil, named.GetStudy())
		return &owned{fmt.Sprintf("study %q", study.GetName()), study.GetCreator()}, err
	case *trellisv1.DeletePaperReportRequest:
		report, err := snapshot.Paper(named.GetReport())
		return &owned{fmt.Sprintf("report %q", report.GetName()), report.GetCreator()}, err
	case *trellisv1.PutPaperReportRequest:
		report, err := snapshot.Paper(named.GetReport().GetName())
		if errors.Is(err, results.ErrNotFound) {
			return nil, nil
		}
		return &owned{fmt.Sprintf("report %q", report.GetName()), report.GetCreator()}, err
	}
	return nil, status.Errorf(codes.Internal, "a request that names nothing: %T", request)
}
