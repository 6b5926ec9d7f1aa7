package coordinator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// longSpec has one trial for each of its values, and axes of about so many bytes that no range describes.
func longSpec(name string, bytes int) *trellisv1.StudySpec {
	spec := &trellisv1.StudySpec{Name: name, Model: "synthetic"}
	random := rand.New(rand.NewPCG(1, 1))
	for left := bytes / 8; left > 0; left -= 5000 {
		rates := make([]float64, min(left, 5000))
		for i := range rates {
			rates[i] = random.Float64()
		}
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf(len(spec.Grid) + 1),
			"learning_rate": trellisv1.AxisOf[float64](rates...),
			"max_epochs":    trellisv1.AxisOf[int](2),
		}})
	}
	return spec
}

// pad adds an unknown field of so many bytes.
func pad[Message proto.Message](message Message, bytes int) Message {
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 9999, protowire.BytesType), make([]byte, bytes))
	message.ProtoReflect().SetUnknown(unknown)
	return message
}

// A large study that is extended again and again can be persisted, and the coordinator starts again with it.
func TestAStudyExtendedAgainAndAgainCanBeStored(t *testing.T) {
	skipShort(t)
	data := t.TempDir()
	target := newTarget(t, hostileConfig{Data: data})
	client := target.client("127.0.0.2")
	spec := pad(longSpec("large", 32<<10), 64<<10)
	pad(spec.Grid[0], 64<<10)
	if _, err := client.studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	const extensions = 27
	for i := range extensions {
		request := pad(&trellisv1.ExtendStudyRequest{Study: "large", Axes: map[string]*trellisv1.Axis{"learning_rate": trellisv1.AxisOf[float64](float64(i + 3))}}, 64<<10)
		if _, err := client.studies.ExtendStudy(t.Context(), request); err != nil {
			t.Fatalf("extension %d: %v", i, err)
		}
	}
	get := func(client *clients) *trellisv1.Study {
		t.Helper()
		response, err := client.studies.GetStudy(t.Context(), &trellisv1.GetStudyRequest{Study: "large"})
		if err != nil {
			t.Fatal(err)
		}
		return response.GetStudy()
	}
	study := get(client)
	if size, most := proto.Size(study), proto.Size(longSpec("large", 32<<10))+8<<10; size > most {
		t.Errorf("the study has %d bytes after %d extensions, want at most %d", size, extensions, most)
	}
	if kept := len(study.GetSpecHistory().GetDifferences()); kept != extensions {
		t.Errorf("%d of %d extensions are known", kept, extensions)
	}
	if len(study.GetSpec().ProtoReflect().GetUnknown())+len(study.GetSpec().GetGrid()[0].ProtoReflect().GetUnknown()) > 0 {
		t.Error("unknown fields of a spec are stored")
	}
	backup, err := client.cluster.Backup(t.Context(), &trellisv1.BackupRequest{}) // It takes a snapshot.
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = backup.Recv()
	}
	target.stop()
	again := newTarget(t, hostileConfig{Data: data})
	if got := get(again.client("127.0.0.2")); !proto.Equal(got.GetSpec(), study.GetSpec()) {
		t.Error("the study has another spec after a restart")
	}
}

// Each limit on studies refuses what exceeds it, and says which it is.
func TestStudiesBeyondTheLimitsAreRefused(t *testing.T) {
	target := newTarget(t, hostileConfig{Limits: Limits{
		Studies: 4, Trials: 100, SpecBytes: 64 << 10, StudyBytes: 65 << 10, AllStudiesBytes: 128 << 10,
	}})
	client := target.client("127.0.0.2")
	create := func(spec *trellisv1.StudySpec) error {
		_, err := client.studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
		return err
	}
	refused := func(what string, err error, code codes.Code, text string) {
		t.Helper()
		if status.Code(err) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %v that says %q", what, err, code, text)
		}
	}
	refused("a spec", create(longSpec("s", 70<<10)), codes.InvalidArgument, "limit spec-bytes=65536")
	_, err := client.studies.PlanStudy(t.Context(), &trellisv1.PlanStudyRequest{Spec: longSpec("s", 70<<10)})
	refused("a plan", err, codes.InvalidArgument, "limit spec-bytes=65536")
	refused("trials", create(syntheticSpec("s", ramp(101), []uint32{1})), codes.ResourceExhausted, "limit trials=100")
	if err := create(syntheticSpec("s1", ramp(60), []uint32{1})); err != nil {
		t.Fatal(err)
	}
	refused("trials with those of another study", create(syntheticSpec("s2", ramp(41), []uint32{1})),
		codes.ResourceExhausted, "already has 60 trials, and 41 more would exceed the limit trials=100")
	extend := func(study string, epochs ...uint32) error {
		_, err := client.studies.ExtendStudy(t.Context(), &trellisv1.ExtendStudyRequest{Study: study, Axes: map[string]*trellisv1.Axis{"max_epochs": trellisv1.AxisOf[uint32](epochs...)}})
		return err
	}
	refused("an extension", extend("s1", 2), codes.ResourceExhausted, "limit trials=100")
	for i := range 3 {
		if err := create(syntheticSpec(fmt.Sprint("t", i), ramp(2), []uint32{uint32(i + 2)})); err != nil {
			t.Fatal(err)
		}
	}
	refused("a study", create(syntheticSpec("t4", ramp(1), []uint32{1})), codes.ResourceExhausted, "limit studies=4")
	if _, err := client.studies.DeleteStudy(t.Context(), &trellisv1.DeleteStudyRequest{Study: "s1"}); err != nil {
		t.Fatal(err)
	}
	if err := create(syntheticSpec("t4", ramp(60), []uint32{1})); err != nil {
		t.Errorf("after a study was deleted: %v", err)
	}
}
