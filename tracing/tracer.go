package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Patience is how long Stop waits until spans have been sent. Tests of processes have more.
var Patience = 2 * time.Second

// Config says who sends traces.
type Config struct {
	// Service is the name of the service, unless the environment says otherwise. Version is the binary's.
	Service, Version string
	// Brief says that the process ends soon: what can't be sent is not tried again.
	Brief bool
	// Logger learns once when traces can't be sent, and when they can again.
	Logger *slog.Logger
	// Environment returns the value of an environment variable, for the decision whether there are traces.
	// OpenTelemetry's own library reads the process's.
	Environment func(name string) string
}

// Tracer starts spans. A nil Tracer starts none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	sender   *sender
	stop     sync.Once
}

// none is the span of those who start none.
var none trace.Span = noop.Span{}

// Start returns a tracer, or nil if the environment does not ask for traces. The error says which variable is wrong.
func Start(config Config) (*Tracer, error) {
	protocol, err := protocolFrom(config.Environment)
	if err != nil || protocol == "" {
		return nil, err
	}
	// What OpenTelemetry's library finds wrong in the environment is said as everything else is.
	otel.SetLogger(logr.FromSlogHandler(config.Logger.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		config.Logger.Warn("a mistake in the settings of traces", "error", err)
	}))
	exporter, err := otlptrace.New(context.Background(), newClient(protocol, config.Brief))
	if err != nil {
		return nil, fmt.Errorf("prepare to send traces: %w", err)
	}
	return New(exporter, config), nil
}

// New returns a tracer that exports spans.
func New(exporter sdktrace.SpanExporter, config Config) *Tracer {
	// What is wrong with a part of the environment leaves the rest of it.
	described, err := resource.New(context.Background(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", config.Service),
			attribute.String("service.version", config.Version)), resource.WithFromEnv())
	if err != nil {
		config.Logger.Warn("could not describe this process in traces", "error", err)
	}
	room, _ := strconv.Atoi(os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE"))
	t := &Tracer{sender: newSender(exporter, config.Logger)}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newQueue(t.sender, room)),
		sdktrace.WithResource(described), sdktrace.WithIDGenerator(generator{}))
	t.tracer = t.provider.Tracer("trellis", trace.WithInstrumentationVersion(config.Version))
	return t
}

// newClient returns a client of the endpoint, which it connects to when it is first needed.
func newClient(protocol string, brief bool) otlptrace.Client {
	if protocol == grpcProtocol {
		var options []otlptracegrpc.Option
		if brief {
			options = append(options, otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}))
		}
		return otlptracegrpc.NewClient(options...)
	}
	var options []otlptracehttp.Option
	if brief {
		options = append(options, otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	}
	return otlptracehttp.NewClient(options...)
}

const (
	grpcProtocol = "grpc"
	httpProtocol = "http/protobuf"
)

// protocolFrom returns the protocol by which the environment wants traces to be sent, or "" if it wants none.
func protocolFrom(environment func(string) string) (string, error) {
	if strings.EqualFold(environment("OTEL_SDK_DISABLED"), "true") {
		return "", nil
	}
	variable := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	if environment(variable) == "" {
		variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	endpoint := environment(variable)
	switch exporter := environment("OTEL_TRACES_EXPORTER"); exporter {
	case "":
		if endpoint == "" {
			return "", nil
		}
	case "none":
		return "", nil
	case "otlp":
	default:
		return "", fmt.Errorf("OTEL_TRACES_EXPORTER is %q: must be otlp or none", exporter)
	}
	if its, err := url.Parse(endpoint); endpoint != "" &&
		(err != nil || its.Host == "" || its.Scheme != "http" && its.Scheme != "https") {
		return "", fmt.Errorf("%s is %q: must be a URL such as http://collector:4317", variable, endpoint)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol := environment(name); protocol {
		case "":
		case grpcProtocol, httpProtocol:
			return protocol, nil
		default:
			return "", fmt.Errorf("%s is %q: must be %s or %s", name, protocol, grpcProtocol, httpProtocol)
		}
	}
	return grpcProtocol, nil
}

// Start starts a span within that of ctx.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, trace.Span) {
	if t == nil {
		return ctx, none
	}
	return t.tracer.Start(ctx, name)
}

// StartAt is Start for a span that has begun earlier.
func (t *Tracer) StartAt(ctx context.Context, name string, at time.Time) (context.Context, trace.Span) {
	if t == nil {
		return ctx, none
	}
	return t.tracer.Start(ctx, name, trace.WithTimestamp(at))
}

// Root starts the first span of a trace that everybody knows by its IDs. It may be started anywhere and any number of
// times, but should be ended once. A span that is not ended tells whether its trace is sampled.
func (t *Tracer) Root(ctx context.Context, ids IDs, name string, at time.Time) trace.Span {
	if t == nil {
		return none
	}
	_, span := t.tracer.Start(context.WithValue(ctx, idsKey{}, ids), name, trace.WithNewRoot(), trace.WithTimestamp(at))
	return span
}

// Stop sends what has not been sent, for as long as Patience. Spans that end later are dropped.
func (t *Tracer) Stop() {
	if t == nil {
		return
	}
	t.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		defer t.sender.giveUp()
		// An endpoint that is away has been told of.
		_ = t.provider.Shutdown(ctx)
		if lost := t.sender.unsent(); lost > 0 {
			t.sender.logger.Warn("not all traces were sent", "spans lost", lost)
		}
	})
}
