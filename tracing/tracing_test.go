package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
)

// TestMain has nothing depend on the settings of whoever runs the tests.
func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// newTracer returns a tracer whose spans are recorded.
func newTracer(t testing.TB, options ...sdktrace.TracerProviderOption) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	options = append(options, sdktrace.WithSpanProcessor(recorder), sdktrace.WithIDGenerator(generator{}))
	provider := sdktrace.NewTracerProvider(options...)
	return &Tracer{provider: provider, tracer: provider.Tracer("trellis")}, recorder
}

// The environment says whether there are traces, and by which protocol.
func TestProtocolFrom(t *testing.T) {
	const endpoint, exporter = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"
	type variables = map[string]string
	for _, test := range []struct {
		environment variables
		want, wrong string
	}{
		{nil, "", ""},
		{variables{"OTEL_SERVICE_NAME": "trellis"}, "", ""},
		{variables{endpoint: "http://a:4317"}, grpcProtocol, ""},
		{variables{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4317"}, grpcProtocol, ""},
		{variables{exporter: "otlp"}, grpcProtocol, ""},
		{variables{exporter: "none", endpoint: "http://a:4317"}, "", ""},
		{variables{"OTEL_SDK_DISABLED": "TRUE", endpoint: "http://a:4317"}, "", ""},
		{variables{endpoint: "http://a:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, httpProtocol, ""},
		{variables{
			endpoint: "http://a:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
			"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
		}, grpcProtocol, ""},
		{
			variables{endpoint: "http://a:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
			"",
			`OTEL_EXPORTER_OTLP_PROTOCOL is "http/json": must be grpc or http/protobuf`,
		},
		{
			variables{endpoint: "collector:4317"},
			"",
			`OTEL_EXPORTER_OTLP_ENDPOINT is "collector:4317": must be a URL such as http://collector:4317`,
		},
		{
			variables{endpoint: "http://a:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http:a"},
			"",
			`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is "http:a": must be a URL such as http://collector:4317`,
		},
		{
			variables{exporter: "zipkin", endpoint: "http://a:4317"},
			"",
			`OTEL_TRACES_EXPORTER is "zipkin": must be otlp or none`,
		},
	} {
		got, err := protocolFrom(func(name string) string { return test.environment[name] })
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		if got != test.want || wrong != test.wrong {
			t.Errorf("%v: %q and %q, want %q and %q", test.environment, got, wrong, test.want, test.wrong)
		}
	}
}

// Without a tracer nothing is allocated, and no call is handled.
func TestOff(t *testing.T) {
	var tracer *Tracer
	created := time.Unix(1, 0)
	allocations := testing.AllocsPerRun(100, func() {
		ctx, span := tracer.Start(t.Context(), "name")
		_, later := tracer.StartAt(tracer.Outgoing(ctx), "name", created)
		tracer.Root(ctx, IDs{}, "name", created).End()
		later.End()
		span.End()
	})
	if allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
	logger := slog.New(slog.DiscardHandler)
	if tracer.ServerOptions(nil) != nil || tracer.DialOptions() != nil || tracer.Logger(logger) != logger {
		t.Error("calls and log lines are handled although nothing is traced")
	}
	tracer.Stop()
}

// Whoever knows a run knows its trace, and whether that is sampled, however often and wherever it is asked. Other runs,
// and runs of another study of the name, have other traces.
func TestIDs(t *testing.T) {
	ratio := sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.25)))
	one, _ := newTracer(t, ratio)
	other, _ := newTracer(t, ratio)
	seen, sampled := map[trace.TraceID]bool{}, 0
	const runs = 4000
	for i := range runs {
		created := time.Unix(0, int64(i/2))
		ids := RunIDs("study", created, strings.Repeat("r", i%2+1))
		context := one.Root(t.Context(), ids, "run", created).SpanContext()
		again := other.Root(trace.ContextWithSpanContext(t.Context(), StudyIDs("study", created).Context()), ids, "run",
			created).SpanContext()
		if !context.Equal(again) || !context.IsValid() {
			t.Fatalf("a run's first span is %v and then %v", context, again)
		}
		if seen[context.TraceID()] = true; len(seen) != i+1 {
			t.Fatalf("two runs have the trace %v", context.TraceID())
		}
		if context.IsSampled() {
			sampled++
		}
	}
	if sampled < runs/5 || sampled > runs/3 {
		t.Errorf("%d of %d traces are sampled, want a quarter", sampled, runs)
	}
	// It is what other versions have, for the same log.
	ids := RunIDs("paper", time.Unix(1764400000, 123), "d6457c913480794cd2c18bf25b0d9e1a").Context()
	if got, want := Traceparent(ids), "00-6783480e486bebc977bcacdd1ed2264c-3565eced6cd03ad2-00"; got != want {
		t.Errorf("the trace of a known run is %s, want %s", got, want)
	}
}

// A traceparent names a span to another process. What is none is ignored.
func TestTraceparent(t *testing.T) {
	tracer, _ := newTracer(t)
	_, parent := tracer.Start(t.Context(), "parent")
	ctx, child := tracer.Start(Within(t.Context(), Traceparent(parent.SpanContext())), "child")
	its := child.(sdktrace.ReadOnlySpan).Parent()
	if its.SpanID() != parent.SpanContext().SpanID() || !its.IsRemote() ||
		child.SpanContext().TraceID() != its.TraceID() {
		t.Errorf("the parent is %v, want %v", its, parent.SpanContext())
	}
	outgoing, _ := metadata.FromOutgoingContext(tracer.Outgoing(ctx))
	if got := outgoing.Get(traceparentKey); len(got) != 1 || got[0] != Traceparent(child.SpanContext()) {
		t.Errorf("a call tells the server of %q", got)
	}
	for _, wrong := range []string{
		"", "00-0-0-00", "\xff", strings.Repeat("0", 1<<16), "00-" + strings.Repeat("0", 32) + "-0000000000000001-01",
	} {
		if ctx := Within(t.Context(), wrong); trace.SpanContextFromContext(ctx).IsValid() {
			t.Errorf("%.40q names a span", wrong)
		}
		ctx := FromHTTP(t.Context(), http.Header{"Traceparent": {wrong}})
		if len(first(metadata.FromOutgoingContext(ctx))) > 0 {
			t.Errorf("%.40q of a request becomes metadata", wrong)
		}
	}
	ctx = FromHTTP(t.Context(), http.Header{"Traceparent": {Traceparent(parent.SpanContext())}})
	got := first(metadata.FromOutgoingContext(ctx)).Get(traceparentKey)
	if len(got) != 1 || got[0] != Traceparent(parent.SpanContext()) {
		t.Errorf("a request's traceparent becomes %q", got)
	}
}

func first(md metadata.MD, _ bool) metadata.MD { return md }

// Calls that change something have spans, those that ask only within a trace, and the others none. None has one before
// it is known who calls, and whoever is not trusted is not followed.
func TestCalls(t *testing.T) {
	tracer, recorder := newTracer(t)
	kinds := map[string]Traced{"/s/Change": Always, "/s/Ask": WithinTraces, "/s/Live": Never}
	server := tracer.serverHandler(func(method string) Traced { return kinds[method] })
	const caller = "0af7651916cd43dd8448eb211c80319c"
	within := metadata.NewIncomingContext(t.Context(), metadata.Pairs(
		traceparentKey, "00-"+caller+"-b7ad6b7169203331-01", "tracestate", "a=b"))
	var log bytes.Buffer
	logger := tracer.Logger(slog.New(slog.NewTextHandler(&log, nil)))
	type known struct{ trusted, untrusted bool }
	for method, want := range map[string]map[known]string{
		"/s/Change": {{}: "", {trusted: true}: caller, {untrusted: true}: "own"},
		"/s/Ask":    {{}: "", {trusted: true}: caller, {untrusted: true}: ""},
		"/s/Live":   {{}: "", {trusted: true}: "", {untrusted: true}: ""},
	} {
		for who, want := range want {
			recorder.Reset()
			log.Reset()
			outer := server.TagRPC(within, &stats.RPCTagInfo{FullMethodName: method})
			local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7070}
			server.HandleRPC(outer, &stats.InHeader{LocalAddr: local})
			server.HandleRPC(outer, &stats.Begin{})
			if who != (known{}) {
				Begin(outer, who.trusted)
			}
			logger.InfoContext(outer, "finished")
			server.HandleRPC(outer, &stats.End{})
			server.HandleRPC(outer, &stats.OutTrailer{}) // As some transports do.
			got, ended := "", recorder.Ended()
			if len(ended) > 0 {
				if got = ended[0].SpanContext().TraceID().String(); got != caller && !ended[0].Parent().IsValid() &&
					ended[0].SpanContext().TraceState().Len() == 0 {
					got = "own"
				}
				arrival := func(a attribute.KeyValue) bool { return a.Key == "server.port" }
				if !slices.ContainsFunc(ended[0].Attributes(), arrival) {
					t.Errorf("%s lacks where it arrived: %v", method, ended[0].Attributes())
				}
				if its := ended[0].SpanContext().SpanID().String(); !strings.Contains(log.String(), its) {
					t.Errorf("the span %s is not in the log: %s", its, log.String())
				}
			}
			if started := len(recorder.Started()); got != want || started != len(ended) || started > 1 {
				t.Errorf("%s, %+v: a span in trace %q, want %q; %d started, %d ended", method, who, got, want, started,
					len(ended))
			}
		}
	}
	recorder.Reset()
	call := func(ctx context.Context, handler stats.Handler, method string) {
		ctx = handler.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: method})
		handler.HandleRPC(ctx, &stats.End{})
	}
	client := tracer.clientHandler()
	call(t.Context(), client, "/s/Client")
	ctx, span := tracer.Start(t.Context(), "outer")
	call(ctx, client, "/s/Client")
	span.End()
	// Without a trace, only what changes something has one.
	for method := range kinds {
		ctx := server.TagRPC(t.Context(), &stats.RPCTagInfo{FullMethodName: method})
		Begin(ctx, true)
		server.HandleRPC(ctx, &stats.End{})
	}
	count := map[string]int{}
	for _, ended := range recorder.Ended() {
		count[ended.Name()]++
	}
	if len(count) != 3 || count["s/Change"] != 1 || count["s/Client"] != 1 {
		t.Errorf("spans: %v", count)
	}
}

// failing is an endpoint that fails as told.
type failing struct {
	sdktrace.SpanExporter
	err error
}

func (f *failing) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }

func (f *failing) Shutdown(context.Context) error { return nil }

// It is said once that spans are lost, and once that no more are.
func TestSaidOnce(t *testing.T) {
	var log bytes.Buffer
	endpoint := &failing{}
	sender := newSender(endpoint, slog.New(slog.NewTextHandler(&log, nil)))
	defer sender.giveUp()
	spans := make([]sdktrace.ReadOnlySpan, 3)
	for _, err := range []error{nil, errors.New("away"), errors.New("away"), nil, nil, errors.New("away again")} {
		endpoint.err = err
		if err := sender.ExportSpans(t.Context(), spans); err != nil {
			t.Errorf("nobody looks at the error %v", err)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "error=away") || !strings.Contains(lines[1], `"spans lost"=6`) ||
		!strings.Contains(lines[2], "away again") {
		t.Errorf("the log says\n%s", log.String())
	}
}

// hanging is an endpoint that answers when it must.
type hanging struct{ sdktrace.SpanExporter }

func (hanging) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (hanging) Shutdown(context.Context) error { return nil }

// Whoever ends spans never waits for the endpoint, and Stop does not wait for long.
func TestHangingEndpoint(t *testing.T) {
	before := Patience
	Patience = time.Millisecond
	defer func() { Patience = before }()
	var log bytes.Buffer
	sender := newSender(hanging{}, slog.New(slog.NewTextHandler(&log, nil)))
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newQueue(sender, 0)))
	tracer := &Tracer{provider: provider, tracer: provider.Tracer("trellis"), sender: sender}
	const spans = 10 * sdktrace.DefaultMaxQueueSize
	for range spans { // Would never end if anything waited.
		_, span := tracer.Start(t.Context(), "span")
		span.End()
	}
	tracer.Stop()
	tracer.Stop()
	if got := sender.unsent(); got != spans {
		t.Errorf("%d spans are lost, want all %d", got, spans)
	}
}

// stepping is an endpoint that answers when it is let.
type stepping struct {
	failing
	let chan struct{}
}

func (s *stepping) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-s.let
	return nil
}

// An endpoint that answers too slowly loses spans as well, and the log says so once, and at the end how many.
func TestSlowEndpoint(t *testing.T) {
	before := Patience
	Patience = time.Hour
	defer func() { Patience = before }()
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
	var log bytes.Buffer
	endpoint := &stepping{let: make(chan struct{})}
	tracer := New(endpoint, Config{Service: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 10 { // None of them has been sent yet.
		_, span := tracer.Start(t.Context(), "span")
		span.End()
	}
	close(endpoint.let)
	tracer.Stop()
	if said := log.String(); strings.Count(said, "too slow") != 1 || strings.Count(said, `"spans lost"=6`) != 1 {
		t.Errorf("the log says\n%s", said)
	}
}

// Spans that the endpoint rejects are lost, and the others are not: traces can still be sent.
func TestPartialSuccess(t *testing.T) {
	before := Patience
	Patience = time.Hour
	defer func() { Patience = before }()
	answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{
		PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 2, ErrorMessage: "too old"},
	})
	if err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.Write(answer)
	}))
	defer endpoint.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", httpProtocol)
	var log bytes.Buffer
	tracer, err := Start(Config{
		Service: "test", Logger: slog.New(slog.NewTextHandler(&log, nil)), Environment: os.Getenv,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, span := tracer.Start(t.Context(), "span")
		span.End()
	}
	tracer.Stop()
	if said := log.String(); strings.Count(said, "does not take all") != 1 || strings.Contains(said, "can't be sent") ||
		!strings.Contains(said, `"spans lost"=2`) {
		t.Errorf("the log says\n%s", said)
	}
}

// Lines have the span of their context once, and those of a logger with a span have that one.
func TestLogger(t *testing.T) {
	tracer, _ := newTracer(t)
	var log bytes.Buffer
	logger := tracer.Logger(slog.New(slog.NewTextHandler(&log, nil)))
	ctx, outer := tracer.Start(t.Context(), "outer")
	_, inner := tracer.Start(ctx, "inner")
	logger.InfoContext(t.Context(), "none")
	logger.With("key", "value").InfoContext(ctx, "outer")
	WithSpan(logger, inner.SpanContext()).WithGroup("group").InfoContext(ctx, "inner")
	WithSpan(logger, trace.SpanContext{}).Info("none")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	for i, want := range []trace.Span{nil, outer, inner, nil} {
		ids := ""
		if want != nil {
			its := want.SpanContext()
			ids = "trace_id=" + its.TraceID().String() + " span_id=" + its.SpanID().String()
		}
		count := strings.Count(lines[i], "trace_id")
		if !strings.Contains(lines[i], ids) || count > 1 || count == 1 && want == nil {
			t.Errorf("line %s, want %q once", lines[i], ids)
		}
	}
}

// What a span costs those who start it, and what it costs when nothing is traced.
func BenchmarkSpan(b *testing.B) {
	created := time.Unix(1764400000, 0)
	benchmark := func(tracer *Tracer) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ctx, span := tracer.Start(b.Context(), "attempt")
				_, inner := tracer.Start(ctx, "train")
				inner.End()
				span.End()
			}
		}
	}
	sampling := func(sampler sdktrace.Sampler) *Tracer {
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(&failing{}), sdktrace.WithSampler(sampler),
			sdktrace.WithIDGenerator(generator{}))
		b.Cleanup(func() { provider.Shutdown(context.Background()) })
		return &Tracer{provider: provider, tracer: provider.Tracer("trellis")}
	}
	b.Run("off", benchmark(nil))
	b.Run("not sampled", benchmark(sampling(sdktrace.NeverSample())))
	b.Run("on", benchmark(sampling(sdktrace.AlwaysSample())))
	b.Run("ids of a run", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			RunIDs("paper", created, "d6457c913480794cd2c18bf25b0d9e1a")
		}
	})
}
