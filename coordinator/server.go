package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	validate "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/descriptorpb"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	"trellis/coordinator/forecast"
	"trellis/coordinator/webhook"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
)

// Limits of a connection.
const (
	// maxMessage bounds the size of a request's message in bytes. A piece of a file has 1 MiB, and so has a spec,
	// unless the limit spec-bytes is larger: a spec that is a little too large is refused in words.
	maxMessage = 2 << 20
	// maxResponse bounds the size of a response from another node.
	maxResponse = 32 << 20
	maxHeaders  = 64 << 10
	// readBuffer is how many bytes a connection reads ahead. It is small because there may be thousands of workers that
	// each send little, and large messages are not copied twice.
	readBuffer = 4 << 10
	// maxStreams bounds the concurrent calls on one connection.
	maxStreams = 256
	// clientPings is the shortest interval at which clients may ping. Workers that nobody answers ping every 60 s, and other
	// clients of Trellis every 30 s. Pings that arrive a little late come closer to the next: three too close end the
	// connection.
	clientPings = 5 * time.Second
	// serverPings is how soon the server notices that a client has vanished silently.
	serverPings = 20 * time.Second
	// handshakeTimeout is how long a connection may take for everything that comes before its first call.
	handshakeTimeout = 10 * time.Second
	// idleTimeout is how long a connection may be open without a call. A session, a watch and a transfer are calls.
	idleTimeout = 5 * time.Minute
)

// maxRequest is the size of the largest request's message in bytes.
func (l Limits) maxRequest() int { return max(maxMessage, int(l.SpecBytes)+maxMessage/2) }

// newServer returns the gRPC server with all services, and their health. It asks who calls, before requests arrive and
// again after, validates requests, recovers from panics, counts calls and logs.
func (c *Coordinator) newServer() (*grpc.Server, *services, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return nil, nil, fmt.Errorf("read the rules in the messages: %w", err)
	}
	recovered := recovery.WithRecoveryHandlerContext(func(_ context.Context, cause any) error {
		c.logger.Error("a call panicked", "panic", cause, "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error in the coordinator: see its log")
	})
	calls := logging.LoggerFunc(func(ctx context.Context, _ logging.Level, message string, fields ...any) {
		c.logger.Log(ctx, slog.LevelDebug, message, fields...)
	})
	finished := logging.WithLogOnEvents(logging.FinishCall)
	limits := c.calls
	transport := insecure.NewCredentials()
	if c.certificates != nil {
		transport = access.ServerCredentials()
	}
	server := grpc.NewServer(append(c.config.Tracer.ServerOptions(tracedAs),
		grpc.Creds(transport),
		grpc.MaxRecvMsgSize(c.config.Limits.maxRequest()),
		grpc.ForceServerCodecV2(newBoundedCodec()),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ReadBufferSize(readBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: clientPings, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: serverPings, Timeout: serverPings, MaxConnectionIdle: idleTimeout,
		}),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.InTapHandle(limits.tap),
		grpc.ChainUnaryInterceptor(
			limits.arrivedUnary,
			c.unread.CountUnary,
			c.metrics.server.UnaryServerInterceptor(),
			logging.UnaryServerInterceptor(calls, finished),
			recovery.UnaryServerInterceptor(recovered),
			c.authenticateUnary,
			refuseUnary,
			c.routeUnary,
			cleanUnary,
			c.config.Limits.checkSpecUnary,
			limits.validateUnary(validate.UnaryServerInterceptor(wordedValidator{validator})),
			c.checkOwner,
			limits.admitUnary,
		),
		grpc.ChainStreamInterceptor(
			c.unread.CountStream,
			c.metrics.server.StreamServerInterceptor(),
			logging.StreamServerInterceptor(calls, finished),
			recovery.StreamServerInterceptor(recovered),
			c.authenticateStream,
			limits.paceStream,
			refuseStream,
			newWaiting(c.config.Limits).bound,
			c.routeStream,
			cleanStream,
			validate.StreamServerInterceptor(wordedValidator{validator}),
			newUploads(c.config.Limits, func() (map[string]bool, error) { return namedArtifacts(c.store) }).bound,
			limits.admitStream,
		),
	)...)
	api.Register(server, api.Config{
		Numerics: c.config.Numerics, Models: c.config.Models, Sizer: c.config.Sizer, Address: c.address, Version: c.config.Version,
		Link: c.config.Link, Join: c.config.Join,
		Data: c.config.Data, MinFreeDisk: c.config.MinFreeDisk, NoPrograms: c.config.NoPrograms,
		Specs: c.config.Specs, Limits: c.config.Limits.ofStudies(),
		Store: c.store, Log: asked{c.commands}, DataSets: c.dataSets, Artifacts: c.artifacts,
		Forecasts: forecast.NewMaker(c.logger, c.leader.Lacks), Sessions: c.leader, Outputs: c.leader, Memory: c.leader, Node: self{c},
		Hooks: webhook.Sender{Version: c.config.Version}, Turns: limits.turns(), Spans: c.spans, Stopping: c.stopping, Logger: c.logger,
	})
	services := newServices(slices.Sorted(maps.Keys(server.GetServiceInfo())))
	grpc_health_v1.RegisterHealthServer(server, services)
	reflection.Register(server)
	c.metrics.server.InitializeMetrics(server)
	return server, services, nil
}

// tracedAs says which calls of a method are traced. A session lives as long as its worker: what it carries is traced by
// package spans. A worker uploads any number of checkpoints, of which only some are traced.
func tracedAs(method string) tracing.Traced {
	switch {
	case strings.HasPrefix(method, "/grpc."), method == trellisv1.WorkerService_Session_FullMethodName:
		return tracing.Never
	case asks[method], method == trellisv1.ArtifactService_UploadArtifact_FullMethodName:
		return tracing.WithinTraces
	}
	return tracing.Always
}

// asks has the methods without side effects.
var asks = func() map[string]bool {
	asks := map[string]bool{}
	services := trellisv1.File_trellis_v1_service_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			options, ok := methods.Get(j).Options().(*descriptorpb.MethodOptions)
			asks[fmt.Sprintf("/%s/%s", services.Get(i).FullName(), methods.Get(j).Name())] = ok &&
				options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
		}
	}
	return asks
}()

// readyService is the name under which the health service says whether the node can serve calls. Each service's own
// name says the same. The service without a name is SERVING while the process lives.
const readyService = "ready"

// services is the health of the node's services.
type services struct {
	*health.Server
	names []string
}

// newServices returns the health of services that are not serving yet.
func newServices(names []string) *services {
	s := &services{Server: health.NewServer(), names: append([]string{readyService}, names...)}
	s.setReady(false)
	return s
}

// setReady says whether the node can serve calls.
func (s *services) setReady(ready bool) {
	state := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, name := range s.names {
		s.SetServingStatus(name, state)
	}
}
