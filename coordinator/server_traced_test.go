package coordinator

import (
	"testing"

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
