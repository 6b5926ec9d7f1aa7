package studies

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

// owner has a study, and another state of it once somebody has tried to delete it.
type owner struct {
	trellisv1.StudyServiceClient
	study, later *trellisv1.Study
	asked        *trellisv1.DeleteStudyRequest
}

func (o *owner) GetStudy(
	context.Context, *trellisv1.GetStudyRequest, ...grpc.CallOption,
) (*trellisv1.GetStudyResponse, error) {
	if o.asked != nil {
		return &trellisv1.GetStudyResponse{Study: o.later}, nil
	}
	return &trellisv1.GetStudyResponse{Study: o.study}, nil
}

func (o *owner) DeleteStudy(
	_ context.Context, request *trellisv1.DeleteStudyRequest, _ ...grpc.CallOption,
) (*trellisv1.DeleteStudyResponse, error) {
	o.asked = request
	if o.later != nil {
		return nil, status.Error(codes.Aborted, "changed")
	}
	return &trellisv1.DeleteStudyResponse{}, nil
}

// delete deletes what it has looked at, and says what there is instead.
func TestDelete(t *testing.T) {
	running := &trellisv1.Study{
		Name: "s", State: trellisv1.StudyState_STUDY_STATE_RUNNING, CreateIndex: 5, ModifyIndex: 9, Progress: &trellisv1.Progress{},
	}
	ended := &trellisv1.Study{
		Name: "s", State: trellisv1.StudyState_STUDY_STATE_COMPLETED, CreateIndex: 5, ModifyIndex: 8, Progress: &trellisv1.Progress{},
		EndTime: timestamppb.Now(),
	}
	replaced := &trellisv1.Study{
		Name: "s", State: trellisv1.StudyState_STUDY_STATE_RUNNING, CreateIndex: 20, ModifyIndex: 21, Progress: &trellisv1.Progress{},
	}
	for _, test := range []struct {
		name         string
		study, later *trellisv1.Study
		// modified is the modify_index that is asked for.
		modified uint64
		fails    string
	}{
		{name: "running", study: running},
		{name: "ended", study: ended, modified: 8},
		{name: "runs again", study: ended, later: running, modified: 8, fails: "s has changed in the meantime: it is running: "},
		{name: "replaced", study: running, later: replaced, fails: "s was replaced in the meantime: another one of that name is running: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := &owner{study: test.study, later: test.later}
			var out, log bytes.Buffer
			env := &cli.Environment{In: strings.NewReader(""), Out: &out, Err: &log, Log: &log}
			cmd := &cobra.Command{}
			confirm := cli.ConfirmFlag(cmd, env)
			if err := cmd.Flags().Set("yes", "true"); err != nil {
				t.Fatal(err)
			}
			err := deleteStudy(t.Context(), env, &client.Client{StudyServiceClient: fake}, "s", confirm)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if fake.asked.GetCreateIndex() != test.study.GetCreateIndex() || fake.asked.GetModifyIndex() != test.modified {
				t.Errorf("asked for %v", fake.asked)
			}
			if said := out.String() != ""; said == (test.fails != "") {
				t.Errorf("wrote %q", &out)
			}
		})
	}
}
