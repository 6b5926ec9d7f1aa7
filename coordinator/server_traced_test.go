package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/metadata"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
)

// A worker names no trace with the checkpoints that are beyond its bound: they must not become traces of their own.
func TestTracedAs(t *testing.T) {
	for method, want := range map[string]tracing.Traced{
		trellisv1.StudyService_CreateStudy_FullMethodName:       tracing.Always,
		trellisv1.StudyService_GetStudy_FullMethodName:          tracing.WithinTraces,
		trellisv1.ArtifactService_UploadArtifact_FullMethodName: tracing.WithinTraces,
		trellisv1.WorkerService_Session_FullMethodName:          tracing.Never,
		"/grpc.health.v1.Health/Check":                          tracing.Never,
	} {
		if got := tracedAs(method); got != want {
			t.Errorf("%s is traced as %d, want %d", method, got, want)
		}
	}
}

// traced calls a method with every credential, each in a trace of its own, and returns which traces have a span of the
// call.
func traced(h *harness, exporter *tracetest.InMemoryExporter, who map[string]context.Context) map[string]bool {
	h.Helper()
	callers := map[string]string{}
	for name, ctx := range who {
		callers[name] = fmt.Sprintf("%032x", len(callers)+1)
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+callers[name]+"-b7ad6b7169203331-01")
		// Whether it is refused does not matter.
		_, _ = h.studies.ListStudies(ctx, &trellisv1.ListStudiesRequest{})
		_, _ = h.studies.DeleteStudy(ctx, &trellisv1.DeleteStudyRequest{Study: "none"})
		_, _ = h.dataSets.GetDataSet(ctx, &trellisv1.GetDataSetRequest{})
	}
	synctest.Wait()
	h.config.Tracer.Stop()
	in := map[string]bool{}
	for _, span := range exporter.GetSpans() {
		for name, caller := range callers {
			if span.SpanContext.TraceID().String() == caller {
				in[name] = true
			}
		}
	}
	return in
}

// keeping is an exporter whose spans can be read when it has been stopped.
type keeping struct{ *tracetest.InMemoryExporter }

func (keeping) Shutdown(context.Context) error { return nil }

// Whoever may make a coordinator work may have it record traces. A stranger or a viewer may not.
func TestWhoseTracesAreFollowed(t *testing.T) {
	for name, authenticates := range map[string]bool{"authenticating": true, "insecure": false} {
		t.Run(name, func(t *testing.T) {
			exporter := keeping{tracetest.NewInMemoryExporter()}
			tracer := tracing.New(exporter, tracing.Config{Service: "test", Logger: slog.New(slog.DiscardHandler)})
			serve(t, Config{Tracer: tracer, hooks: hooks{authenticate: authenticates}}, func(h *harness) {
				synctest.Wait()
				who := map[string]context.Context{"stranger": h.Context()}
				want := map[string]bool{"submitter": true, "admin": true, "worker": true, "viewer": false, "stranger": false}
				if !authenticates {
					want = map[string]bool{"stranger": true}
				} else {
					for role, name := range map[trellisv1.Role]string{
						trellisv1.Role_ROLE_SUBMITTER: "submitter", trellisv1.Role_ROLE_ADMIN: "admin",
						trellisv1.Role_ROLE_WORKER: "worker", trellisv1.Role_ROLE_VIEWER: "viewer",
					} {
						who[name], _, _ = h.withToken(role, name, time.Hour)
					}
				}
				got := traced(h, exporter.InMemoryExporter, who)
				for name, want := range want {
					if got[name] != want {
						t.Errorf("a call of a %s is in their trace: %v, want %v", name, got[name], want)
					}
				}
			})
		})
	}
}
