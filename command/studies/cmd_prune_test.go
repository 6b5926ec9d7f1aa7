package studies

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Only what has ended, long enough ago, is deleted, and the last of these are kept.
func TestPolicy(t *testing.T) {
	const (
		running   = trellisv1.StudyState_STUDY_STATE_RUNNING
		paused    = trellisv1.StudyState_STUDY_STATE_PAUSED
		completed = trellisv1.StudyState_STUDY_STATE_COMPLETED
		canceled  = trellisv1.StudyState_STUDY_STATE_CANCELED
		day       = 24 * time.Hour
	)
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	study := func(name string, state trellisv1.StudyState, age time.Duration) *trellisv1.Study {
		s := &trellisv1.Study{Name: name, State: state, CreateTime: timestamppb.New(now.Add(-999 * day))}
		if age >= 0 {
			s.EndTime = timestamppb.New(now.Add(-age))
		}
		return s
	}
	studies := []*trellisv1.Study{
		study("runs", running, -1), study("waits", paused, -1), study("old", completed, 100*day),
		study("given-up", canceled, 95*day), study("edge", completed, 90*day), study("new", completed, 90*day-time.Second),
		study("extended", running, 200*day), study("newest", canceled, 0),
	}
	for _, test := range []struct {
		name   string
		policy policy
		want   string
	}{
		{"by age", policy{olderThan: 90 * day, state: "any"}, "old given-up edge"},
		{"completed", policy{olderThan: 90 * day, state: "completed"}, "old edge"},
		{"canceled", policy{olderThan: 90 * day, state: "canceled"}, "given-up"},
		{"two that ended last are newer", policy{olderThan: 90 * day, state: "any", keep: 2}, "old given-up edge"},
		{"keep the third too", policy{olderThan: 90 * day, state: "any", keep: 3}, "old given-up"},
		{"keep all", policy{olderThan: time.Hour, state: "any", keep: 100}, ""},
		{"too young", policy{olderThan: 300 * day, state: "any"}, ""},
	} {
		var names []string
		for _, s := range test.policy.chosen(studies, now) {
			names = append(names, s.GetName())
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: %q is deleted, want %q", test.name, got, test.want)
		}
	}
}

// coordinator has studies that ended long ago, and answers the deletion of some of them with an error.
type coordinator struct {
	trellisv1.StudyServiceClient
	studies []*trellisv1.Study
	answers map[string]error
	asked   []*trellisv1.DeleteStudyRequest
}

func (c *coordinator) ListStudies(
	context.Context, *trellisv1.ListStudiesRequest, ...grpc.CallOption,
) (*trellisv1.ListStudiesResponse, error) {
	return &trellisv1.ListStudiesResponse{Studies: c.studies}, nil
}

func (c *coordinator) DeleteStudy(
	_ context.Context, request *trellisv1.DeleteStudyRequest, _ ...grpc.CallOption,
) (*trellisv1.DeleteStudyResponse, error) {
	c.asked = append(c.asked, request)
	return &trellisv1.DeleteStudyResponse{}, c.answers[request.GetStudy()]
}

// What prune writes of four studies: before it asks, and after it has deleted some of them.
func TestPrune(t *testing.T) {
	const table = "NAME"
	lost := status.Error(codes.Unavailable, "the coordinator stops")
	for _, test := range []struct {
		name    string
		format  output.Format
		typed   string // At the question. Empty: --yes.
		answers map[string]error
		deleted []string
		fails   string
		// Are in what is written to standard output, and besides it.
		out, log string
	}{
		{name: "all", format: output.Table, deleted: []string{"a", "b", "c", "d"}, out: "Deleted 4 studies."},
		{name: "all in JSON", format: output.JSON, deleted: []string{"a", "b", "c", "d"}, out: `"name": "d"`},
		{name: "asked", format: output.JSON, typed: "y\n", deleted: []string{"a", "b", "c", "d"}, out: `"name": "d"`, log: table},
		{name: "refused", format: output.JSON, typed: "n\n", fails: "nothing was changed", log: table},
		{
			name: "asked in a table", format: output.Table, typed: "y\n", deleted: []string{"a", "b", "c", "d"}, out: table,
			log: "Delete 4 studies",
		},
		{
			name: "some have changed", format: output.CSV, deleted: []string{"a", "d"}, out: "a,",
			answers: map[string]error{"b": status.Error(codes.Aborted, "changed"), "c": status.Error(codes.Aborted, "changed")},
			log:     "Study b has changed in the meantime: it stays.\nStudy c has",
		},
		{
			name: "one is gone", format: output.JSON, deleted: []string{"a", "b", "c", "d"}, out: `"name": "b"`,
			answers: map[string]error{"b": status.Error(codes.NotFound, "no such study")},
		},
		{
			name: "the third fails", format: output.JSON, deleted: []string{"a", "b"}, out: `"name": "b"`,
			answers: map[string]error{"c": lost}, fails: "delete study c, after 2 studies: ",
		},
		{
			name: "the third fails in a table", format: output.Table, deleted: []string{"a", "b"}, out: "Deleted 2 studies.",
			answers: map[string]error{"c": lost}, fails: "delete study c, after 2 studies: ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := &coordinator{answers: test.answers}
			for i, name := range []string{"a", "b", "c", "d"} {
				fake.studies = append(fake.studies, &trellisv1.Study{
					Name: name, State: trellisv1.StudyState_STUDY_STATE_COMPLETED, CreateTime: timestamppb.New(time.Unix(0, 0)),
					EndTime: timestamppb.New(time.Unix(1, 0)), CreateIndex: uint64(10 + i), ModifyIndex: uint64(20 + i),
				})
			}
			var out, log bytes.Buffer
			env := &cli.Environment{In: strings.NewReader(test.typed), Out: &out, Err: &log, Log: &log}
			cmd := &cobra.Command{}
			confirm := cli.ConfirmFlag(cmd, env)
			if test.typed == "" {
				if err := cmd.Flags().Set("yes", "true"); err != nil {
					t.Fatal(err)
				}
			}
			err := prune(t.Context(), env, &client.Client{StudyServiceClient: fake}, policy{olderThan: time.Hour, state: "any"}, false,
				test.format, false, confirm)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			for _, request := range fake.asked {
				at := slices.IndexFunc(fake.studies, func(s *trellisv1.Study) bool { return s.GetName() == request.GetStudy() })
				if want := fake.studies[at].GetModifyIndex(); request.GetModifyIndex() != want {
					t.Errorf("study %s is deleted at index %d, want %d", request.GetStudy(), request.GetModifyIndex(), want)
				}
			}
			if !strings.Contains(out.String(), test.out) || !strings.Contains(log.String(), test.log) {
				t.Errorf("wrote\n%s\nand\n%s\nwant %q and %q", &out, &log, test.out, test.log)
			}
			if test.log == "" && log.Len() > 0 {
				t.Errorf("also wrote %q", &log)
			}
			if test.format == output.JSON {
				if got := namesIn(&out); !slices.Equal(got, test.deleted) {
					t.Errorf("wrote that %q are deleted, want %q", got, test.deleted)
				}
			}
		})
	}
}

// namesIn are the names in JSON.
func namesIn(text io.Reader) (names []string) {
	data, _ := io.ReadAll(text)
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), `"name": "`); ok {
			names = append(names, strings.TrimRight(name, `",`))
		}
	}
	return names
}

// checkpoints is a coordinator of studies that have checkpoints.
type checkpoints struct {
	coordinator
	// now are the studies since they were listed, where they have changed.
	now     map[string]*trellisv1.Study
	deletes []*trellisv1.DeleteCheckpointsRequest
}

func (c *checkpoints) study(name string) *trellisv1.Study {
	if now := c.now[name]; now != nil {
		return now
	}
	at := slices.IndexFunc(c.studies, func(s *trellisv1.Study) bool { return s.GetName() == name })
	return c.studies[at]
}

func (c *checkpoints) GetStudy(
	_ context.Context, request *trellisv1.GetStudyRequest, _ ...grpc.CallOption,
) (*trellisv1.GetStudyResponse, error) {
	return &trellisv1.GetStudyResponse{Study: c.study(request.GetStudy())}, nil
}

// PlanCheckpointDeletion has nothing to delete of study a.
func (c *checkpoints) PlanCheckpointDeletion(
	_ context.Context, request *trellisv1.PlanCheckpointDeletionRequest, _ ...grpc.CallOption,
) (*trellisv1.PlanCheckpointDeletionResponse, error) {
	response := &trellisv1.PlanCheckpointDeletionResponse{}
	for _, name := range request.GetStudies() {
		if name != "a" {
			response.Studies = append(response.Studies, &trellisv1.CheckpointUse{
				Study: name, ModifyIndex: 20, Runs: 2, Checkpoints: 3, Files: 2, Bytes: 3 << 20,
			})
		}
	}
	return response, nil
}

func (c *checkpoints) DeleteCheckpoints(
	_ context.Context, request *trellisv1.DeleteCheckpointsRequest, _ ...grpc.CallOption,
) (*trellisv1.DeleteCheckpointsResponse, error) {
	c.deletes = append(c.deletes, request)
	if err := c.answers[request.GetStudy()]; err != nil {
		return nil, err
	}
	if request.GetModifyIndex() != c.study(request.GetStudy()).GetModifyIndex() {
		return nil, status.Error(codes.Aborted, "changed")
	}
	return &trellisv1.DeleteCheckpointsResponse{Deleted: &trellisv1.CheckpointUse{
		Study: request.GetStudy(), Checkpoints: 3,
	}}, nil
}

// What prune --checkpoints writes of studies that change or go away meanwhile: those that have been extended, or
// replaced by others, keep their checkpoints. Where an earlier attempt has deleted a part, the rest is deleted.
func TestPruneCheckpoints(t *testing.T) {
	ended := func(name string, created, modified uint64, end int64) *trellisv1.Study {
		return &trellisv1.Study{
			Name: name, State: trellisv1.StudyState_STUDY_STATE_COMPLETED, CreateIndex: created, ModifyIndex: modified,
			EndTime: timestamppb.New(time.Unix(end, 0)),
		}
	}
	for _, test := range []struct {
		name, typed string // Typed at the question. Empty: --yes.
		format      output.Format
		dryRun      bool
		now         map[string]*trellisv1.Study
		answers     map[string]error
		deleted     string
		fails       string
		out, log    string
	}{
		{name: "all", deleted: "b c", out: "Deleted 6 checkpoints of 2 studies. That frees 6.0 MiB in 4 files, within a few hours."},
		{name: "listed", dryRun: true, out: "STUDY", log: "Would delete 6 checkpoints of 2 studies, and free 6.0 MiB in 4 files.\n"},
		{name: "refused", typed: "n\n", fails: "nothing was changed", log: "Delete 6 checkpoints of 2 studies, permanently, and free 6.0 MiB"},
		{name: "a part is deleted", deleted: "b b c", now: map[string]*trellisv1.Study{"b": ended("b", 10, 30, 1)}, out: "Deleted 6"},
		{
			name: "extended since", deleted: "b c", now: map[string]*trellisv1.Study{"b": ended("b", 10, 30, 2)}, out: "Deleted 3",
			log: "Study b has changed in the meantime: the rest of its checkpoints stays.\n",
		},
		{
			name: "replaced since", deleted: "b c", now: map[string]*trellisv1.Study{"c": ended("c", 30, 30, 1)}, out: "Deleted 3",
			log: "Study c has changed in the meantime: the rest of its checkpoints stays.\n",
		},
		{
			name: "runs again, and is gone", format: output.JSON, deleted: "b c", out: `"studies": []`,
			answers: map[string]error{
				"b": status.Error(codes.FailedPrecondition, "it is running"), "c": status.Error(codes.NotFound, "no such study"),
			},
			log: "Study b has changed in the meantime: the rest of its checkpoints stays.\nStudy c was deleted in the meantime.\n",
		},
		{
			name: "fails", deleted: "b c", answers: map[string]error{"c": status.Error(codes.Unavailable, "it stops")},
			out: "Deleted 3", fails: "after 1 study: ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := &checkpoints{now: test.now, coordinator: coordinator{answers: test.answers}}
			for _, name := range []string{"a", "b", "c"} {
				fake.studies = append(fake.studies, ended(name, 10, 20, 1))
			}
			var out, log bytes.Buffer
			env := &cli.Environment{In: strings.NewReader(test.typed), Out: &out, Err: &log, Log: &log}
			cmd := &cobra.Command{}
			confirm := cli.ConfirmFlag(cmd, env)
			if test.typed == "" {
				if err := cmd.Flags().Set("yes", "true"); err != nil {
					t.Fatal(err)
				}
			}
			err := prune(t.Context(), env, &client.Client{StudyServiceClient: fake}, policy{olderThan: time.Hour, state: "any"}, true,
				cmp.Or(test.format, output.Table), test.dryRun, confirm)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			var asked []string
			for _, request := range fake.deletes {
				asked = append(asked, request.GetStudy())
				if request.GetCreateIndex() != 10 {
					t.Errorf("%v does not say which study of the name is meant", request)
				}
			}
			if got := strings.Join(asked, " "); got != test.deleted {
				t.Errorf("asked to delete those of %q, want %q", got, test.deleted)
			}
			if !strings.Contains(out.String(), test.out) || !strings.Contains(log.String(), test.log) || test.log == "" && log.Len() > 0 {
				t.Errorf("wrote\n%s\nand\n%s\nwant %q and %q", &out, &log, test.out, test.log)
			}
		})
	}
}
