package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// appliedIndexKey is the trailer key of a forwarded call's response. Its value is the log index of the last command
	// that the leader's store includes.
	appliedIndexKey = "trellis-applied-index"
	// notExecutedKey is the trailer key of the response to a forwarded call that no node has executed. Such a call may
	// be forwarded again, to the node that leads.
	notExecutedKey = "trellis-not-executed"
	// leaderPatience is how long a call waits for a leader to be elected, or for the node to be ready.
	leaderPatience = time.Second
	// catchUpTimeout is how long a node waits for its own store to include what the leader's response reflects.
	catchUpTimeout = 2 * time.Second
)

// routeUnary serves a call here or forwards it to the leader, as the table of routes says.
func (c *Coordinator) routeUnary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	var refused refusedError
	for {
		leader, err := c.destinationOf(ctx, info.FullMethod, refused)
		if err != nil {
			if err := grpc.SetTrailer(ctx, metadata.Pairs(notExecutedKey, "true")); err != nil {
				return nil, fmt.Errorf("tell that the call was not executed: %w", err)
			}
			return nil, err
		}
		if leader == "" {
			break
		}
		response, err := c.forwardUnary(ctx, leader, info.FullMethod, request)
		if !errors.As(err, &refused) {
			return response, err
		}
	}
	response, err := handler(ctx, request)
	forwarded := len(metadata.ValueFromIncomingContext(ctx, api.ForwardedBy)) > 0
	if err == nil && forwarded && routeOf(info.FullMethod) == leaderNode {
		index := strconv.FormatUint(c.machine.applied.get(), 10)
		if err := grpc.SetTrailer(ctx, metadata.Pairs(appliedIndexKey, index)); err != nil {
			return nil, fmt.Errorf("tell what the store includes: %w", err)
		}
	}
	return response, err
}

// routeStream is routeUnary for streams. A stream that was refused is not forwarded again, because some of its messages
// were: the client opens another.
func (c *Coordinator) routeStream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	leader, err := c.destinationOf(stream.Context(), info.FullMethod, refusedError{})
	if err != nil {
		return err
	}
	if leader != "" {
		return c.forwardStream(leader, stream, info)
	}
	return handler(service, stream)
}

// refusedError says that the supposed leader has not executed a call, and why.
type refusedError struct {
	leader string
	error
}

// unknownMethod refuses a method that is not in the table.
func unknownMethod(name string) error {
	return status.Errorf(codes.Unimplemented, "unknown method %s: this version of Trellis has no such call", name)
}

// destinationOf is destination for a method. gRPC's own services, health and reflection, answer at any time.
func (c *Coordinator) destinationOf(
	ctx context.Context, method string, refused refusedError,
) (leader string, err error) {
	where := routeOf(method)
	switch {
	case where == unrouted:
		return "", unknownMethod(method)
	case strings.HasPrefix(method, "/grpc."):
		return "", nil
	}
	return c.destination(ctx, where, refused)
}

// destination returns the leader's address if the call must be forwarded, and "" if this node serves it. If neither is
// possible, it waits a moment and then fails with UNAVAILABLE: for example during an election, or while this node knows
// no leader other than the one that has refused the call. A forwarded call is not forwarded again.
func (c *Coordinator) destination(
	ctx context.Context, where route, refused refusedError,
) (leader string, err error) {
	var patience <-chan time.Time
	for {
		changed := c.changes.next()
		leader, refusal := c.whoAnswers(where)
		if refusal == "" && (leader == "" || leader != refused.leader) {
			if by := metadata.ValueFromIncomingContext(ctx, api.ForwardedBy); len(by) > 0 && leader != "" {
				return "", status.Errorf(codes.Unavailable, "%s forwarded the call to this coordinator, %s, but the "+
					"leader is %s",
					by[0], c.address, leader)
			}
			return leader, nil
		}
		if patience == nil {
			timer := time.NewTimer(leaderPatience)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case <-changed:
			continue
		case <-patience:
		case <-ctx.Done():
		case <-c.stopping.Done():
			return "", errStopping
		}
		if refusal == "" {
			return "", refused.error
		}
		return "", status.Error(codes.Unavailable, refusal)
	}
}

// whoAnswers returns the leader's address if the call must be forwarded, "" if this node serves it, or the reason why
// neither is possible now.
func (c *Coordinator) whoAnswers(where route) (leader, refusal string) {
	select {
	case <-c.opened:
	default:
		return "", "this coordinator is starting: it is reading its log"
	}
	view := c.view.Load()
	switch {
	case (where == readyNode || where == leaderStore) && c.leader.Leads() && view.uncertain:
		return "", fmt.Sprintf("this coordinator, %s, leads, but its disk does not answer: another may have been elected "+
			"meanwhile", c.address)
	case where == anyNode, c.leader.Leads():
		return "", ""
	case !view.known:
		return "", c.whyNoLeader()
	case where == readyNode && view.ready:
		return "", ""
	}
	// The log knows of a new leader before the view does, and of this node's election before its term begins.
	leader, known := c.log.Leader()
	switch {
	case !known:
		return "", c.whyNoLeader()
	case leader == c.address:
		return "", fmt.Sprintf("this coordinator, %s, has just been elected leader and is not ready yet", c.address)
	case where == readyNode:
		return "", fmt.Sprintf("this coordinator, %s, is still catching up with the leader, %s", c.address,
			leader)
	case leader != view.leader:
		return "", fmt.Sprintf("this coordinator, %s, has just heard of another leader, %s", c.address, leader)
	}
	return leader, ""
}

// forwardUnary forwards a call. After it has succeeded, it waits until this node's store includes what the call has
// changed, so that clients read their own writes. If the node has fallen behind, it does not hold back the response
// forever. It fails with a refusedError if the other node has not executed the call.
func (c *Coordinator) forwardUnary(ctx context.Context, leader, method string, request any) (any, error) {
	_, response, err := messagesOf(method)
	if err != nil {
		return nil, err
	}
	conn, done, err := c.peers.connect(leader)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "connect to the leader, %s: %v", leader, err)
	}
	defer done()
	answer := response.New().Interface()
	var trailer metadata.MD
	if err := conn.Invoke(c.onBehalf(ctx), method, request, answer, grpc.Trailer(&trailer)); err != nil {
		if status.Code(err) == codes.Unavailable && len(trailer.Get(notExecutedKey)) > 0 {
			return nil, refusedError{leader: leader, error: c.leaderError(leader, err)}
		}
		return nil, c.leaderError(leader, err)
	}
	if values := trailer.Get(appliedIndexKey); len(values) > 0 {
		index, err := strconv.ParseUint(values[0], 10, 64)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "invalid log index %q from the leader, %s: %v", values[0],
				leader, err)
		}
		waiting, cancel := context.WithTimeout(ctx, catchUpTimeout)
		defer cancel()
		if err := c.machine.applied.await(waiting, index); err != nil {
			c.logger.Debug("responded before this node's store included the change", "method", method, "index", index)
		}
	}
	return answer, nil
}

// outgoing returns the context of a call to another node. It has the caller's deadline, and says which node calls.
func (c *Coordinator) outgoing(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(api.ForwardedBy, c.address))
}

// leaderError returns what the caller is told about an error of a call to the leader: what the leader said, or that it
// can't be reached.
func (c *Coordinator) leaderError(leader string, err error) error {
	answer := status.Convert(err)
	if answer.Code() != codes.Unavailable {
		return answer.Err()
	}
	return status.Errorf(codes.Unavailable, "the leader, %s, according to %s: %s", leader, c.address, answer.Message())
}

// forwardStream forwards messages in both directions until the leader ends the stream, the caller gives up, or the
// leader changes.
func (c *Coordinator) forwardStream(leader string, stream grpc.ServerStream, info *grpc.StreamServerInfo) error {
	requests, responses, err := messagesOf(info.FullMethod)
	if err != nil {
		return err
	}
	conn, done, err := c.peers.connect(leader)
	if err != nil {
		return status.Errorf(codes.Unavailable, "connect to the leader, %s: %v", leader, err)
	}
	defer done()
	ctx, cancel := context.WithCancelCause(c.onBehalf(stream.Context()))
	defer cancel(nil)
	view := c.view.Load()
	if view.leader != leader {
		return errLeaderChanged
	}
	defer context.AfterFunc(view.ctx, func() { cancel(errLeaderChanged) })()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-c.stopping.Done():
			cancel(errStopping)
		case <-stopped:
		}
	}()
	onward, err := conn.NewStream(ctx, &grpc.StreamDesc{
		StreamName: info.FullMethod, ServerStreams: info.IsServerStream, ClientStreams: info.IsClientStream,
	}, info.FullMethod, grpc.ForceCodecV2(newForwardingCodec()))
	if err != nil {
		return c.streamError(ctx, leader, err)
	}
	next := func() any { return requests.New().Interface() }
	if info.FullMethod == trellisv1.WorkerService_Session_FullMethodName {
		// They are for the leader to decode.
		next = func() any { return &undecoded{} }
	}
	// This ends at the latest with the caller's stream, which ends when this function returns.
	go func() {
		if err := forwardRequests(stream, onward, next); err != nil {
			cancel(err)
		}
	}()
	for {
		response := responses.New().Interface()
		err := onward.RecvMsg(response)
		if errors.Is(err, io.EOF) {
			stream.SetTrailer(onward.Trailer())
			return nil
		}
		if err != nil {
			return c.streamError(ctx, leader, err)
		}
		if err := stream.SendMsg(response); err != nil {
			return err
		}
	}
}

// forwardRequests forwards what the caller sends, until the caller closes its side.
func forwardRequests(stream grpc.ServerStream, onward grpc.ClientStream, next func() any) error {
	for {
		request := next()
		err := stream.RecvMsg(request)
		if errors.Is(err, io.EOF) {
			return onward.CloseSend()
		}
		if err != nil {
			return err
		}
		// If the leader has ended the stream, whoever receives from it learns why.
		if err := onward.SendMsg(request); err != nil {
			return nil
		}
	}
}

// streamError says why a stream to the leader has ended: for a reason of this node's, or of the leader's.
func (c *Coordinator) streamError(ctx context.Context, leader string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return api.Status(cause)
	}
	return c.leaderError(leader, err)
}

// messagesOf returns the types of a method's messages.
func messagesOf(method string) (request, response protoreflect.MessageType, err error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, nil, status.Errorf(codes.Unimplemented, "find method %s: %v", method, err)
	}
	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, nil, status.Errorf(codes.Unimplemented, "%s is not a method", method)
	}
	if request, err = protoregistry.GlobalTypes.FindMessageByName(descriptor.Input().FullName()); err == nil {
		response, err = protoregistry.GlobalTypes.FindMessageByName(descriptor.Output().FullName())
	}
	if err != nil {
		return nil, nil, status.Errorf(codes.Internal, "find the messages of method %s: %v", method, err)
	}
	return request, response, nil
}
