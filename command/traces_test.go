package command

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// traceCollector takes the spans that processes send.
type traceCollector struct {
	collector.UnimplementedTraceServiceServer
	address string

	mu sync.Mutex
	// spans are those that have come, by their ids, with the services that have sent them.
	spans map[string]received
	// exports counts the messages.
	exports int
	// again are spans that were ended more than once.
	again []string
}

type received struct {
	*traces.Span
	service string
}

// startCollector starts one, and has what is started afterwards send spans to it.
func startCollector(t *testing.T) *traceCollector {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &traceCollector{address: listener.Addr().String(), spans: map[string]received{}}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+r.address)
	t.Setenv(patientVariable, "yes")
	return r
}

// Export implements collector.TraceServiceServer.
func (r *traceCollector) Export(
	_ context.Context, request *collector.ExportTraceServiceRequest,
) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exports++
	for _, resource := range request.GetResourceSpans() {
		service := valueOf(resource.GetResource().GetAttributes(), "service.name")
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				id := string(span.GetSpanId())
				// A message whose answer comes late is sent again.
				if before := r.spans[id]; before.Span != nil && !proto.Equal(before.Span, span) {
					r.again = append(r.again, span.GetName())
				}
				r.spans[id] = received{span, service}
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// valueOf is an attribute's value as text, or "".
func valueOf(attributes []*common.KeyValue, key string) string {
	for _, attribute := range attributes {
		if attribute.GetKey() == key {
			switch value := attribute.GetValue().GetValue().(type) {
			case *common.AnyValue_StringValue:
				return value.StringValue
			case *common.AnyValue_IntValue:
				return fmt.Sprint(value.IntValue)
			}
		}
	}
	return ""
}

// named returns the spans of a name.
func (r *traceCollector) named(name string) (found []received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, span := range r.spans {
		if span.GetName() == name {
			found = append(found, span)
		}
	}
	return found
}

// one returns the only span of a name.
func (r *traceCollector) one(t *testing.T, name string) received {
	t.Helper()
	found := r.named(name)
	if len(found) != 1 {
		t.Fatalf("there are %d spans %q, want 1", len(found), name)
	}
	return found[0]
}

// children returns the spans within another, the earliest first.
func (r *traceCollector) children(of received) (children []received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, span := range r.spans {
		if string(span.GetParentSpanId()) == string(of.GetSpanId()) {
			children = append(children, span)
		}
	}
	slices.SortFunc(children, func(a, b received) int {
		return cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano())
	})
	return children
}

// tree writes a span and those within it, which must be of its trace and within its time.
func (r *traceCollector) tree(t *testing.T, span received, indent string, into *strings.Builder) {
	t.Helper()
	fmt.Fprintf(into, "%s%s (%s", indent, span.GetName(), strings.TrimPrefix(span.service, "trellis-"))
	if events := len(span.GetEvents()); events > 0 {
		fmt.Fprintf(into, ", %d events", events)
	}
	into.WriteString(")\n")
	for _, child := range r.children(span) {
		if string(child.GetTraceId()) != string(span.GetTraceId()) {
			t.Errorf("%s is of another trace than %s", child.GetName(), span.GetName())
		}
		// A call has ended for its client before the server has told its own span.
		answered := child.GetKind() == traces.Span_SPAN_KIND_SERVER
		if child.GetStartTimeUnixNano() < span.GetStartTimeUnixNano() ||
			child.GetEndTimeUnixNano() > span.GetEndTimeUnixNano() && !answered {
			t.Errorf("%s is not within the time of %s: %d to %d, %d to %d", child.GetName(), span.GetName(),
				child.GetStartTimeUnixNano(), child.GetEndTimeUnixNano(), span.GetStartTimeUnixNano(), span.GetEndTimeUnixNano())
		}
		r.tree(t, child, indent+"  ", into)
	}
}

// linksTo says whether a span has a link to another.
func linksTo(from, to received) bool {
	return slices.ContainsFunc(from.GetLinks(), func(link *traces.Span_Link) bool {
		return string(link.GetTraceId()) == string(to.GetTraceId()) && string(link.GetSpanId()) == string(to.GetSpanId())
	})
}

const tracedSpec = `
name: traced
data: mnist
model: conv-autoencoder
grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: [1, 3]}
split: {train: 256, validation: 128}
`

// submitSeparately submits a spec from a process of its own.
func submitSeparately(t *testing.T, address, spec string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "trellis", "submit", "--coordinator", address, spec)
	if said, err := command.Output(); err != nil || strings.TrimSpace(string(said)) != "traced" {
		t.Fatalf("submit: %v: %s", err, said)
	}
}

// One run with two trials is one trace, of three processes: from the creation of its study, to which it has a link, through the
// lease, the training, the uploads of weights and the outcome. A study that comes over HTTP is in the trace of whoever sent it.
func TestTraces(t *testing.T) {
	r := startCollector(t)
	coordinator, address := startCoordinator(t, "--checkpoint-interval", "1h", "--http", "127.0.0.1:0", "--log-format", "json")
	worker := startWorker(t, address, "tracer", "--log-format", "text")
	submitSeparately(t, address, writeSpec(t, tracedSpec))
	mustTrellis(t, "watch", "--coordinator", address, "traced")
	// It shares the results.
	caller := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	page := regexp.MustCompile(`(?m)^Web page: +(http://\S+/) `).FindStringSubmatch(coordinator.said())
	if page == nil {
		t.Fatalf("the coordinator does not say where its page is: %s", coordinator.said())
	}
	body := strings.NewReader(`{"spec": {"name": "by-http", "data": "mnist", "model": "conv-autoencoder", "grid": [{"axes": {` +
		`"latent_dim": {"integers": [4]}, "learning_rate": {"numbers": [0.001]}, "max_epochs": {"integers": [3]}}}], ` +
		`"split": {"train": 256, "validation": 128}}}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page[1]+"api/v1/studies", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Traceparent", caller)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the study over HTTP: %s", response.Status)
	}
	// They send the rest as they end.
	worker.stop(t)
	coordinator.stop(t)

	if len(r.again) > 0 {
		t.Errorf("these spans were ended more than once: %q", r.again)
	}
	run := r.one(t, "run")
	var tree strings.Builder
	r.tree(t, run, "", &tree)
	t.Logf("the trace of a run with two trials:\n%s", tree.String())
	const upload = "trellis.v1.ArtifactService/UploadArtifact"
	want := `run (coordinator)
  grant (coordinator)
  attempt (worker)
    train (worker, 3 events)
    upload checkpoint (worker)
      ` + upload + ` (worker)
        ` + upload + ` (coordinator)
    upload checkpoint (worker)
      ` + upload + ` (worker)
        ` + upload + ` (coordinator)
  record (coordinator)
`
	if tree.String() != want {
		t.Errorf("want\n%s", want)
	}
	attempt := valueOf(r.one(t, "grant").GetAttributes(), "trellis.attempt.number")
	id := valueOf(run.GetAttributes(), "trellis.run.id")
	for _, one := range []struct{ span, key, value string }{
		{"run", "trellis.study.name", "traced"},
		{"run", "trellis.run.state", "succeeded"},
		{"run", "trellis.run.trials", "2"},
		{"run", "trellis.run.epochs", "3"},
		{"run", "trellis.run.first_trial", "0"},
		{"grant", "trellis.study.name", "traced"},
		{"attempt", "trellis.study.name", "traced"},
		{"attempt", "trellis.run.id", id},
		{"attempt", "trellis.attempt.number", attempt},
		{"attempt", "trellis.attempt.outcome", "success"},
		{"attempt", "trellis.model", "conv-autoencoder"},
		{"record", "trellis.attempt.number", attempt},
		{"record", "trellis.attempt.outcome", "success"},
		{"record", "trellis.run.stop_reason", "max_epochs"},
		{"train", "trellis.epoch.first", "1"},
		{"train", "trellis.epoch.last", "3"},
		{"submit", "trellis.study.name", "traced"},
	} {
		if got := valueOf(r.one(t, one.span).GetAttributes(), one.key); got != one.value || got == "" {
			t.Errorf("%s of %s is %q, want %q", one.key, one.span, got, one.value)
		}
	}
	for _, name := range []string{"grant", "attempt"} {
		if got := valueOf(r.one(t, name).GetAttributes(), "trellis.worker.name"); !strings.HasPrefix(got, "tracer-") {
			t.Errorf("%s is of the worker %q", name, got)
		}
	}
	r.checkCreated(t, run, caller)
	// Log lines say which trace they belong to.
	inLog(t, coordinator, `"msg":"study created","study":"traced".*"trace_id":"`,
		r.creation(t, "traced").GetTraceId(), r.creation(t, "traced").GetSpanId())
	inLog(t, worker, `msg=trained .*`, run.GetTraceId(), r.one(t, "attempt").GetSpanId())
}

// creation returns the call that created a study.
func (r *traceCollector) creation(t *testing.T, study string) received {
	t.Helper()
	for _, call := range r.named("trellis.v1.StudyService/CreateStudy") {
		if valueOf(call.GetAttributes(), "trellis.study.name") == study {
			return call
		}
	}
	t.Fatalf("no call has created the study %s", study)
	return received{}
}

// checkCreated checks that a run leads to whoever submitted it, and that a caller over HTTP is found.
func (r *traceCollector) checkCreated(t *testing.T, run received, caller string) {
	t.Helper()
	var created received
	for _, one := range r.named("create study") {
		if valueOf(one.GetAttributes(), "trellis.study.name") == "traced" {
			created = one
		}
	}
	submit, call := r.one(t, "submit"), r.creation(t, "traced")
	switch {
	case created.Span == nil:
		t.Fatal("the creation of the study is no span")
	case !linksTo(run, created):
		t.Errorf("the run has no link to the creation of its study: %v", run.GetLinks())
	case !linksTo(created, call) || !linksTo(call, created):
		t.Errorf("the creation of a study and the call have no links to each other: %v, %v", created.GetLinks(), call.GetLinks())
	case string(call.GetParentSpanId()) != string(submit.GetSpanId()) || string(call.GetTraceId()) != string(submit.GetTraceId()):
		t.Errorf("the call is not within submit")
	case string(created.GetTraceId()) == string(run.GetTraceId()), len(submit.GetParentSpanId()) > 0:
		t.Error("a study and its runs are of one trace")
	}
	if submit.service != "trellis" {
		t.Errorf("submit is of the service %q", submit.service)
	}
	byHTTP := r.creation(t, "by-http")
	if got := fmt.Sprintf("00-%x-%x-01", byHTTP.GetTraceId(), byHTTP.GetParentSpanId()); got != caller {
		t.Errorf("the study over HTTP is within %s, want %s", got, caller)
	}
}

// inLog checks that a process has logged a line with the ids of a span.
func inLog(t *testing.T, p *process, line string, trace, span []byte) {
	t.Helper()
	pattern := regexp.MustCompile(line + `.*` + hex.EncodeToString(trace) + `.*` + hex.EncodeToString(span))
	if !pattern.MatchString(p.said()) {
		t.Errorf("no line like %v in\n%s", pattern, p.said())
	}
}

// Nothing is sent when traces are off, and an endpoint that never answers is told of once and holds up nothing.
func TestTracesOffAndAway(t *testing.T) {
	spec := writeSpec(t, "name: traced\nmodel: synthetic\ngrid: {latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 5}\n")
	work := func(t *testing.T) (coordinator *process) {
		t.Helper()
		coordinator, address := startCoordinator(t)
		worker := startWorker(t, address, "worker")
		submitSeparately(t, address, spec)
		mustTrellis(t, "watch", "--coordinator", address, "traced")
		if os.Getenv("OTEL_TRACES_EXPORTER") != "none" {
			coordinator.await(t, "traces can't be sent")
		}
		worker.stop(t)
		coordinator.stop(t)
		return coordinator
	}
	t.Run("off", func(t *testing.T) {
		r := startCollector(t)
		t.Setenv("OTEL_TRACES_EXPORTER", "none")
		work(t)
		if r.exports > 0 {
			t.Errorf("%d messages came", r.exports)
		}
	})
	t.Run("away", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // The kernel takes connections, and nobody answers.
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+silent.Addr().String())
		t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
		t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "200")
		said := work(t).said()
		if times := strings.Count(said, "traces can't be sent"); times != 1 {
			t.Errorf("the coordinator says %d times that traces can't be sent:\n%s", times, said)
		}
	})
}

// Over TLS, a coordinator follows the trace of a caller who may change something, and of nobody else: it would record
// and send what strangers want.
func TestTracesOfStrangers(t *testing.T) {
	r := startCollector(t)
	coordinator, page, folder := startSecured(t, "viewer", "submitter")
	trusted := x509.NewCertPool()
	certificate, err := os.ReadFile(filepath.Join(folder, "authority.crt"))
	if err != nil || !trusted.AppendCertsFromPEM(certificate) {
		t.Fatalf("read the authority: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	defer transport.CloseIdleConnections()
	ask := func(method, path, secret, trace string, want int) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, page+"/api/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
		if secret != "" {
			request.Header.Set("Authorization", "Bearer "+secret)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Fatalf("%s %s: %s, want %d", method, path, response.Status, want)
		}
	}
	secrets := map[string]string{"": ""}
	for _, role := range []string{"viewer", "submitter"} {
		secret, err := os.ReadFile(filepath.Join(folder, role+".token"))
		if err != nil {
			t.Fatal(err)
		}
		secrets[role] = strings.TrimSpace(string(secret))
	}
	traceOf := map[string]string{
		"": "0af7651916cd43dd8448eb211c803191", "viewer": "0af7651916cd43dd8448eb211c803192",
		"submitter": "0af7651916cd43dd8448eb211c803193",
	}
	for role, changes := range map[string]int{
		"": http.StatusUnauthorized, "viewer": http.StatusForbidden, "submitter": http.StatusNotFound,
	} {
		asks := http.StatusOK
		if role == "" {
			asks = http.StatusUnauthorized
		}
		ask(http.MethodGet, "studies", secrets[role], traceOf[role], asks)
		ask(http.MethodDelete, "studies/none", secrets[role], traceOf[role], changes)
	}
	coordinator.stop(t) // It sends the rest.
	r.mu.Lock()
	defer r.mu.Unlock()
	in := map[string]int{}
	for _, span := range r.spans {
		in[hex.EncodeToString(span.GetTraceId())]++
	}
	for role, trace := range traceOf {
		want := 0
		if role == "submitter" {
			want = 2
		}
		if in[trace] != want {
			t.Errorf("%d calls of the %q are in their trace, want %d", in[trace], role, want)
		}
	}
}
