package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// outputStream takes what a call sends.
type outputStream struct {
	grpc.ServerStream
	ctx  context.Context
	text strings.Builder
}

func (s *outputStream) Context() context.Context { return s.ctx }

func (s *outputStream) Send(response *trellisv1.GetOutputResponse) error {
	if response.GetOmitted() > 0 {
		fmt.Fprintf(&s.text, "[%d]", response.GetOmitted())
	}
	s.text.Write(response.GetData())
	return nil
}

// What the worker has sent is not sent again from the artifact, wherever the worker stopped.
func TestOutputGoesOnFromTheArtifact(t *testing.T) {
	keeper := artifact.NewKeeper(slog.New(slog.DiscardHandler))
	keeper.Use(openArtifactFolder(t, t.TempDir()), nil)
	// Of the 20 bytes a...t, the first 4 and the last 6 are kept.
	var packed bytes.Buffer
	writer, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write([]byte("abcdopqrst")); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	digest, size, err := keeper.Put(t.Context(), &packed)
	if err != nil {
		t.Fatal(err)
	}
	run := &trellisv1.Run{}
	run.Outputs = trajectory.WithOutput(run, &trellisv1.Output{
		Attempt: 7, Sha256: digest, Size: uint64(size), Length: 10, Omitted: 10, Head: 4,
	})
	output := trajectory.OutputOf(run, 7)
	for sent, want := range map[uint64]string{
		0: "abcd[10]opqrst", 2: "cd[10]opqrst", 4: "[10]opqrst", 9: "[5]opqrst", 14: "opqrst", 17: "rst", 20: "",
	} {
		stream := &outputStream{ctx: t.Context()}
		f := &outputFollower{
			trialService: trialService{artifacts: keeper}, stream: stream, attempt: 7, offset: sent, began: sent > 0,
		}
		if err := f.sendArtifact(output); err != nil {
			t.Errorf("after %d bytes: %v", sent, err)
		}
		if got := stream.text.String(); got != want {
			t.Errorf("after %d bytes: %q, want %q", sent, got, want)
		}
	}
	// It is not what the run says.
	short := &trellisv1.Output{Attempt: 7, Sha256: digest, Size: uint64(size), Length: 30, Head: 30}
	f := &outputFollower{
		trialService: trialService{artifacts: keeper}, stream: &outputStream{ctx: t.Context()}, attempt: 7,
	}
	wantCode(t, f.sendArtifact(short), codes.DataLoss, "damaged")
}

func TestRunsKeepFewOutputs(t *testing.T) {
	run := &trellisv1.Run{}
	for attempt := range uint64(2 * trajectory.MaxOutputs) {
		before := run.Outputs
		run.Outputs = trajectory.WithOutput(run, &trellisv1.Output{Attempt: attempt + 1})
		if len(before) > 0 && before[0].GetAttempt() == 0 {
			t.Fatal("what was stored has changed")
		}
	}
	if n, first := len(run.Outputs), run.Outputs[0].GetAttempt(); n != trajectory.MaxOutputs || first != trajectory.MaxOutputs+1 {
		t.Errorf("%d are kept, from attempt %d on", n, first)
	}
	if lastAttempt(run) != 2*trajectory.MaxOutputs {
		t.Errorf("the last is %d", lastAttempt(run))
	}
}

// Programs are refused where anybody could submit them, and so are files that are too large or not there.
func TestProgramsThatAreRefused(t *testing.T) {
	spec := &trellisv1.StudySpec{Program: &trellisv1.Program{
		Command: []string{"true"}, Files: &trellisv1.Files{Sha256: strings.Repeat("0", 64), Size: 100},
	}}
	open := studyService{noPrograms: true}
	wantCode(t, open.checkProgram(spec), codes.FailedPrecondition, "--insecure")
	small := studyService{limits: Limits{FilesBytes: 99}}
	wantCode(t, small.checkProgram(spec), codes.InvalidArgument, "files-bytes=99")
	keeper := artifact.NewKeeper(slog.New(slog.DiscardHandler))
	without := studyService{artifacts: keeper}
	if err := without.keepFiles(t.Context(), spec.GetProgram()); !errors.Is(err, errNoArtifacts) {
		t.Errorf("got %v", err)
	}
	keeper.Use(openArtifactFolder(t, t.TempDir()), nil)
	with := studyService{artifacts: keeper, limits: Limits{FilesBytes: 100}}
	if err := with.checkProgram(spec); err != nil {
		t.Error(err)
	}
	wantCode(t, with.keepFiles(t.Context(), spec.GetProgram()), codes.FailedPrecondition, "name their folder in the spec")
	digest, _, err := keeper.Put(t.Context(), strings.NewReader("files"))
	if err != nil {
		t.Fatal(err)
	}
	spec.Program.Files.Sha256 = digest
	wantCode(t, with.keepFiles(t.Context(), spec.GetProgram()), codes.InvalidArgument, "has 5 bytes, not 100")
	spec.Program.Files.Size = 5
	if err := with.keepFiles(t.Context(), spec.GetProgram()); err != nil {
		t.Error(err)
	}
}
