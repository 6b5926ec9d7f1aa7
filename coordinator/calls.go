package coordinator

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	"trellis/coordinator/connection"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// messageTimeout is how long a stream waits for its peer to send or to take a message. Sessions, whose leases say
	// how long a worker may be silent, may wait longer for the next one.
	messageTimeout = time.Minute
	// downloadPatience is how many times as long calls may take that may wait for the download of a data set.
	downloadPatience = 10
	// maxTransfers bounds the artifacts and data files that are sent and received at the same time, of all callers and
	// of one. Each has a file open, so they stay well within maxReserve. More wait, as many as there are sessions.
	maxTransfers     = 256
	maxTransfersEach = 128
	// maxBackups bounds the backups that are made at the same time.
	maxBackups = 2
	// costlyQueue and costlyQueueEach bound the costly requests that wait for their turn, of all callers and of one.
	costlyQueue     = 64
	costlyQueueEach = 16
	// additionsQueue and additionsQueueEach are the same for additions of nodes, which are made one by one.
	additionsQueue     = 16
	additionsQueueEach = 4
)

// callLimits bounds what callers can make this node do at the same time.
type callLimits struct {
	calls, sessions *quota.Quota
	timeout         time.Duration
	messageTimeout  time.Duration
	// Each method belongs to one of these at most.
	plans, reads, transfers, backups, restores, additions *quota.Turns
	// watches bounds the watches that look for what has changed.
	watches *quota.Turns
}

func newCallLimits(limits Limits) *callLimits {
	// Costly requests leave the other cores to the log and the leader's loops, and one caller leaves others a turn.
	costly := int(min(limits.CostlyRequests, int64(max(2, runtime.GOMAXPROCS(0)/2))))
	costlyEach := min(int(limits.CostlyRequestsEach), max(1, costly-1))
	sessions, sessionsEach := int(limits.Sessions), int(limits.SessionsEach)
	return &callLimits{
		calls: quota.New(quota.Limit{
			Name: "calls", Noun: "calls", Help: "retry later", InAll: limits.Calls, Each: limits.CallsEach,
		}),
		sessions: quota.New(quota.Limit{
			Name: "sessions", Noun: "connected workers", Help: "retry later, or raise the limit",
			InAll: limits.Sessions, Each: limits.SessionsEach,
		}),
		timeout: limits.RequestTime, messageTimeout: messageTimeout,
		plans: &quota.Turns{
			What: "plans", Limit: "costly-requests", Running: 1, RunningEach: 1,
			Queue: costlyQueue, QueueEach: costlyQueueEach,
		},
		reads: &quota.Turns{
			What: "requests that read whole studies", Limit: "costly-requests",
			Running: costly, RunningEach: costlyEach,
			Queue: costlyQueue, QueueEach: costlyQueueEach,
		},
		watches: &quota.Turns{
			What: "watches", Limit: "calls", Running: costly, RunningEach: costlyEach,
			Queue: int(limits.Calls), QueueEach: int(limits.CallsEach),
		},
		transfers: &quota.Turns{
			What: "transfers", Running: maxTransfers, RunningEach: maxTransfersEach,
			Queue: sessions, QueueEach: sessionsEach,
		},
		backups:  &quota.Turns{What: "backups", Running: maxBackups, RunningEach: maxBackups},
		restores: &quota.Turns{What: "restores", Running: 1, RunningEach: 1},
		additions: &quota.Turns{
			What: "additions of nodes", Running: 1, RunningEach: 1,
			Queue: additionsQueue, QueueEach: additionsQueueEach,
		},
	}
}

// turnsOf returns what bounds calls of a method, or nil. request is nil for streams.
func (l *callLimits) turnsOf(method string, request any) *quota.Turns {
	switch method {
	case trellisv1.StudyService_PlanStudy_FullMethodName:
		return l.plans
	case trellisv1.TrialService_GetReport_FullMethodName,
		trellisv1.TrialService_GetImportance_FullMethodName,
		trellisv1.TrialService_SuggestStudy_FullMethodName,
		trellisv1.TrialService_ListConfigurations_FullMethodName,
		trellisv1.TrialService_GetBestTrial_FullMethodName:
		return l.reads
	case trellisv1.TrialService_ListTrials_FullMethodName:
		// In the order of its table or of its ranking, a page reads few trials.
		list, _ := request.(*trellisv1.ListTrialsRequest)
		switch order := list.GetOrderBy(); {
		case list.GetFilter() == "" && (order == "" || order == "index" || order == "objective"):
			return nil
		}
		return l.reads
	case trellisv1.ArtifactService_UploadArtifact_FullMethodName,
		trellisv1.ArtifactService_DownloadArtifact_FullMethodName,
		trellisv1.DataSetService_DownloadDataFile_FullMethodName:
		return l.transfers
	case trellisv1.ClusterService_Backup_FullMethodName:
		return l.backups
	case trellisv1.ClusterService_Restore_FullMethodName:
		return l.restores
	case trellisv1.ClusterService_AddNode_FullMethodName:
		return l.additions
	}
	return nil
}

// isUnary has the methods with one request and one response, whose callers wait for an answer.
var isUnary = newIsUnary()

func newIsUnary() map[string]bool {
	unary := map[string]bool{}
	services := trellisv1.File_trellis_v1_service_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			if method := methods.Get(j); !method.IsStreamingClient() && !method.IsStreamingServer() {
				unary[fmt.Sprintf("/%s/%s", services.Get(i).FullName(), method.Name())] = true
			}
		}
	}
	return unary
}

var (
	errCallTimeout    = errors.New("the call took too long")
	errMessageTimeout = errors.New("the peer was silent for too long")
)

type cancelKey struct{}

// tap is called when a call's headers have come, before there is a goroutine or a message. It refuses a call above a
// limit, and gives a call its deadline. From then on, even a call that never sends its request ends.
func (l *callLimits) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	address := connection.PeerOf(ctx)
	if err := connection.Of(address).Refused(); err != nil {
		return ctx, err
	}
	host := connection.HostOf(address)
	if err := l.calls.Take(host, 1); err != nil {
		return ctx, api.Status(err)
	}
	call := ctx
	limited, cancel := context.WithCancelCause(ctx)
	if isUnary[info.FullMethodName] {
		var stop context.CancelFunc
		limited, stop = context.WithTimeoutCause(call, l.timeoutOf(info.FullMethodName), errCallTimeout)
		cancel = func(error) { stop() }
	}
	// gRPC ends this context with the call, however that ends.
	context.AfterFunc(call, func() {
		cancel(nil)
		l.calls.Give(host, 1)
	})
	return context.WithValue(limited, cancelKey{}, cancel), nil
}

// timeoutOf is how long a call of a method may take, unless its caller wants less.
func (l *callLimits) timeoutOf(method string) time.Duration {
	switch method {
	case trellisv1.StudyService_CreateStudy_FullMethodName, trellisv1.StudyService_PlanStudy_FullMethodName:
		return downloadPatience * l.timeout
	}
	return l.timeout
}

// admitUnary has costly calls wait for their turn. The response to a call whose time is up may be incomplete, so it is
// dropped.
func (l *callLimits) admitUnary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	who, err := claimConnection(ctx)
	if err != nil {
		return nil, err
	}
	if turns := l.turnsOf(info.FullMethod, request); turns != nil {
		release, err := turns.Take(ctx, who)
		if err != nil {
			return nil, l.whyEnded(ctx, info.FullMethod, err)
		}
		defer release()
	}
	response, err := handler(ctx, request)
	if ctx.Err() != nil {
		return nil, l.whyEnded(ctx, info.FullMethod, status.FromContextError(ctx.Err()).Err())
	}
	return response, err
}

// admitStream has costly streams wait for their turn.
func (l *callLimits) admitStream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	who, err := claimConnection(stream.Context())
	if err != nil {
		return err
	}
	if info.FullMethod == trellisv1.WorkerService_Session_FullMethodName {
		if err := l.sessions.Take(who, 1); err != nil {
			return api.Status(err)
		}
		defer l.sessions.Give(who, 1)
	}
	if turns := l.turnsOf(info.FullMethod, nil); turns != nil {
		release, err := turns.Take(stream.Context(), who)
		if err != nil {
			return err
		}
		defer release()
	}
	return handler(service, stream)
}

// paceStream ends a stream whose peer neither sends nor takes messages.
func (l *callLimits) paceStream(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	ctx := stream.Context()
	cancel, ok := ctx.Value(cancelKey{}).(context.CancelCauseFunc)
	if !ok {
		return handler(service, stream)
	}
	paced := &pacedStream{ServerStream: stream, timeout: l.messageTimeout, cancel: cancel}
	paced.patient = info.FullMethod == trellisv1.WorkerService_Session_FullMethodName
	if err := handler(service, paced); err != nil {
		return l.whyEnded(ctx, info.FullMethod, err)
	}
	return nil
}

// whyEnded says whether a call ended because its time was up. Otherwise, it returns err.
func (l *callLimits) whyEnded(ctx context.Context, method string, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCallTimeout):
		return status.Errorf(codes.DeadlineExceeded, "the call took longer than %v: see the limit request-time",
			l.timeoutOf(method))
	case errors.Is(cause, errMessageTimeout):
		return status.Errorf(codes.DeadlineExceeded, "the client neither sent nor took anything for %v, the longest "+
			"that a coordinator waits", l.messageTimeout)
	}
	return err
}

// pacedStream ends when its peer is silent for too long.
type pacedStream struct {
	grpc.ServerStream
	timeout time.Duration
	cancel  context.CancelCauseFunc
	// patient streams wait for a message forever.
	patient bool
}

// SendMsg waits until the peer has room for the message.
func (s *pacedStream) SendMsg(message any) error {
	defer s.limit().Stop()
	return s.ServerStream.SendMsg(message)
}

// RecvMsg waits for the peer's next message.
func (s *pacedStream) RecvMsg(message any) error {
	if !s.patient {
		defer s.limit().Stop()
	}
	return s.ServerStream.RecvMsg(message)
}

func (s *pacedStream) limit() *time.Timer {
	return time.AfterFunc(s.timeout, func() { s.cancel(errMessageTimeout) })
}

// watchTurn waits until a watch may look for what has changed.
func (l *callLimits) watchTurn(ctx context.Context) (release func(), err error) {
	who, err := claimConnection(ctx)
	if err != nil {
		return nil, err
	}
	return l.watches.Take(ctx, who)
}

// claimConnection returns what turns and limits are divided among: principals, or hosts at a coordinator without
// authentication. The call's connection is counted as the principal's.
func claimConnection(ctx context.Context) (who string, err error) {
	from, principal := connection.PeerOf(ctx), access.Of(ctx)
	if principal.Anonymous() {
		return connection.HostOf(from), nil
	}
	who = principal.Role.String() + "/" + principal.Name
	return who, connection.Of(from).Claim(who)
}

// isForwarded says whether another node, or somebody who says so, has forwarded a call.
func isForwarded(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, api.ForwardedBy)) > 0
}
