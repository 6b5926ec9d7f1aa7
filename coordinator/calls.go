package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/reflect/protoreflect"

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
	// arriving bounds the calls whose request has not arrived, and strangers those of callers who are not known yet.
	arriving, strangers *quota.Quota
	// identify says who makes a call, by what has come before its request. known is false if that takes a question to
	// the leader, or if anybody may make the call.
	identify       func(ctx context.Context, method string) (caller access.Call, known bool, err error)
	timeout        time.Duration
	messageTimeout time.Duration
	// specs bounds the large specs whose rules are checked.
	specs *quota.Turns
	// Each method belongs to one of these at most. Reads are also for parts of other requests.
	reads, transfers, backups, restores, additions *quota.Turns
	// watches bounds the watches that look for what has changed, and plans the plans whose data set is there.
	watches, plans *quota.Turns
}

func newCallLimits(
	limits Limits, identify func(ctx context.Context, method string) (caller access.Call, known bool, err error),
) *callLimits {
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
		arriving: quota.New(quota.Limit{
			Name: "arriving", Noun: "calls whose request has not arrived", Help: "retry later",
			InAll: limits.Arriving, Each: limits.ArrivingEach,
		}),
		strangers: quota.New(quota.Limit{
			Name: "strangers", Noun: "calls of unknown callers whose request has not arrived", Help: "retry later",
			InAll: limits.Strangers, Each: limits.StrangersEach,
		}),
		identify: identify,
		timeout:  limits.RequestTime, messageTimeout: messageTimeout,
		specs: &quota.Turns{
			What: "large specs", Limit: "costly-requests", Running: 1, RunningEach: 1,
			Queue: costlyQueue, QueueEach: costlyQueueEach,
		},
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
	case trellisv1.TrialService_GetReport_FullMethodName,
		trellisv1.TrialService_GetImportance_FullMethodName,
		trellisv1.TrialService_SuggestStudy_FullMethodName,
		trellisv1.TrialService_ListConfigurations_FullMethodName,
		trellisv1.TrialService_GetBestTrial_FullMethodName,
		trellisv1.ChartService_GetCurves_FullMethodName,
		trellisv1.ChartService_GetPoints_FullMethodName,
		trellisv1.ChartService_GetHeatMap_FullMethodName,
		trellisv1.ChartService_GetHistory_FullMethodName,
		trellisv1.ChartService_GetDistribution_FullMethodName,
		trellisv1.ChartService_GetCoverage_FullMethodName,
		trellisv1.ChartService_GetTimeLine_FullMethodName:
		return l.reads
	case trellisv1.TrialService_ListTrials_FullMethodName:
		// In the order of its table or of its ranking, a page reads few trials, unless it begins anywhere.
		list, _ := request.(*trellisv1.ListTrialsRequest)
		switch order := list.GetOrderBy(); {
		case list.GetFilter() == "" && list.GetOffset() == 0 && (order == "" || order == "index" || order == "objective"):
			return nil
		}
		return l.reads
	case trellisv1.ArtifactService_UploadArtifact_FullMethodName,
		trellisv1.ArtifactService_DownloadArtifact_FullMethodName,
		trellisv1.PaperService_DownloadPicture_FullMethodName,
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
	for _, file := range []protoreflect.FileDescriptor{
		trellisv1.File_trellis_v1_service_proto, grpc_health_v1.File_grpc_health_v1_health_proto,
	} {
		services := file.Services()
		for i := range services.Len() {
			methods := services.Get(i).Methods()
			for j := range methods.Len() {
				if method := methods.Get(j); !method.IsStreamingClient() && !method.IsStreamingServer() {
					unary[fmt.Sprintf("/%s/%s", services.Get(i).FullName(), method.Name())] = true
				}
			}
		}
	}
	return unary
}

var (
	errCallTimeout    = errors.New("the call took too long")
	errMessageTimeout = errors.New("the peer was silent for too long")
)

type tappedKey struct{}

// tapped is a call whose headers have come.
type tapped struct {
	cancel context.CancelCauseFunc
	// arrived is called when the call's request has arrived, or never will, or its handler waits for it. It may be called
	// again.
	arrived func()
}

// tap is called when a call's headers have come, before there is a goroutine or a message. It refuses a call of a caller
// who may not make it, or above a limit, and gives a call its deadline. From then on, even a call that never sends its
// request ends. It must not wait: the connection's other calls do too.
func (l *callLimits) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	address := connection.PeerOf(ctx)
	if err := connection.Of(address).Refused(); err != nil {
		return ctx, err
	}
	caller, known, err := l.identify(ctx, info.FullMethodName)
	if err != nil {
		return ctx, err
	}
	who, arriving := nameOf(address, caller.Principal), l.arriving
	if !known {
		arriving = l.strangers
	}
	if err := l.calls.Take(who, 1); err != nil {
		return ctx, api.Status(err)
	}
	if err := arriving.Take(who, 1); err != nil {
		l.calls.Give(who, 1)
		return ctx, api.Status(err)
	}
	arrived := sync.OnceFunc(func() { arriving.Give(who, 1) })
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
		arrived()
		l.calls.Give(who, 1)
	})
	return context.WithValue(limited, tappedKey{}, tapped{cancel, arrived}), nil
}

// arrivedUnary is called when a request has arrived.
func (l *callLimits) arrivedUnary(
	ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	if call, ok := ctx.Value(tappedKey{}).(tapped); ok {
		call.arrived()
	}
	return handler(ctx, request)
}

// timeoutOf is how long a call of a method may take, unless its caller wants less.
func (l *callLimits) timeoutOf(method string) time.Duration {
	switch method {
	case trellisv1.StudyService_CreateStudy_FullMethodName, trellisv1.StudyService_PlanStudy_FullMethodName,
		trellisv1.StudyService_ParseSpec_FullMethodName, trellisv1.StudyService_DeleteCheckpoints_FullMethodName,
		trellisv1.StudyService_PlanCheckpointDeletion_FullMethodName:
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
	call, ok := ctx.Value(tappedKey{}).(tapped)
	if !ok {
		return handler(service, stream)
	}
	// From here on, a stream may wait for its turn. Its first message is counted while it is received.
	call.arrived()
	who := nameOf(connection.PeerOf(ctx), access.Of(ctx))
	paced := &pacedStream{ServerStream: stream, timeout: l.messageTimeout, cancel: call.cancel}
	paced.arrive = func() (arrived func(), err error) {
		if err := l.arriving.Take(who, 1); err != nil {
			return nil, api.Status(err)
		}
		return func() { l.arriving.Give(who, 1) }, nil
	}
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
	// arrive counts the first message while it is received. It is nil after that.
	arrive func() (arrived func(), err error)
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
	if s.arrive != nil {
		arrived, err := s.arrive()
		if err != nil {
			return err
		}
		defer arrived()
		s.arrive = nil
	}
	return s.ServerStream.RecvMsg(message)
}

func (s *pacedStream) limit() *time.Timer {
	return time.AfterFunc(s.timeout, func() { s.cancel(errMessageTimeout) })
}

// turns are those that the services take for a part of a request.
func (l *callLimits) turns() api.Turns {
	of := func(turns *quota.Turns) api.Turn {
		return func(ctx context.Context) (release func(), err error) {
			who, err := claimConnection(ctx)
			if err != nil {
				return nil, err
			}
			return turns.Take(ctx, who)
		}
	}
	return api.Turns{Watch: of(l.watches), Read: of(l.reads), Plan: of(l.plans), Spec: of(l.specs)}
}

// claimConnection returns what turns and limits are divided among: principals, or hosts at a coordinator without
// authentication. The call's connection is counted as the principal's.
func claimConnection(ctx context.Context) (who string, err error) {
	from, principal := connection.PeerOf(ctx), access.Of(ctx)
	who = nameOf(from, principal)
	if principal.Anonymous() {
		return who, nil
	}
	return who, connection.Of(from).Claim(who)
}

// nameOf is what limits count a caller by: the principal if it is known, otherwise its host.
func nameOf(from net.Addr, principal access.Principal) string {
	if principal.Anonymous() {
		return connection.HostOf(from)
	}
	return principal.Role.String() + "/" + principal.Name
}

// isForwarded says whether another node, or somebody who says so, has forwarded a call.
func isForwarded(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, api.ForwardedBy)) > 0
}
