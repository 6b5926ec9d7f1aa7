package coordinator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// deleteCheckpoints deletes those of a study, and returns what was deleted.
func (h *harness) deleteCheckpoints(request *trellisv1.DeleteCheckpointsRequest) *trellisv1.CheckpointUse {
	h.Helper()
	response, err := h.studies.DeleteCheckpoints(h.Context(), request)
	if err != nil {
		h.Fatal(err)
	}
	return response.GetDeleted()
}

// What is deleted is what was planned, files that two studies share go with the last of them, and the collector
// follows. A study that is extended later trains again what has no checkpoint.
func TestDeleteCheckpoints(t *testing.T) {
	servePretrained(t, func(h *harness, store *artifacttest.Store) {
		h.create(imageSpec("waits", "conv-autoencoder", 4))
		for _, change := range []func() error{
			func() error { return nil },
			func() error {
				_, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "waits"})
				return err
			},
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			_, err := h.studies.DeleteCheckpoints(h.Context(), &trellisv1.DeleteCheckpointsRequest{Study: "waits"})
			wantCode(t, err, codes.FailedPrecondition, "wait until it has ended, or cancel it first")
			plan, err := h.studies.PlanCheckpointDeletion(h.Context(), &trellisv1.PlanCheckpointDeletionRequest{Studies: []string{"waits"}})
			if err != nil || len(plan.GetStudies()) > 0 {
				t.Errorf("of a study that has not ended, %v would be deleted: %v", plan, err)
			}
		}
		if _, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "waits"}); err != nil {
			t.Fatal(err)
		}

		// Of each, the run with latent dimension 4 is the best. The other's checkpoints are both studies'.
		w := h.trainPaper()
		h.create(imageSpec("twin", "conv-autoencoder", 4, 8))
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "paper"})
		if err != nil {
			t.Fatal(err)
		}
		size := uint64(len(weightsOf(8, 1)) + len(weightsOf(8, 2)))
		use := func(study string, files, bytes uint64) *trellisv1.CheckpointUse {
			return &trellisv1.CheckpointUse{
				Study: study, ModifyIndex: h.study(study).GetModifyIndex(), Runs: 1, Checkpoints: 2, Files: files, Bytes: bytes,
				KeptRuns: []string{best.GetTrial().GetRun()},
			}
		}
		want := []*trellisv1.CheckpointUse{use("paper", 0, 0), use("twin", 2, size)}
		plan, err := h.studies.PlanCheckpointDeletion(h.Context(), &trellisv1.PlanCheckpointDeletionRequest{
			Studies: []string{"paper", "none", "twin", "paper"},
		})
		if err != nil || !proto.Equal(plan, &trellisv1.PlanCheckpointDeletionResponse{Studies: want}) {
			t.Errorf("plan %v, %v; want %v", plan, err, want)
		}

		for _, wrong := range []*trellisv1.DeleteCheckpointsRequest{
			{Study: "paper", ModifyIndex: want[0].GetModifyIndex() - 1}, {Study: "paper", CreateIndex: 1},
		} {
			_, err := h.studies.DeleteCheckpoints(h.Context(), wrong)
			wantCode(t, err, codes.Aborted, "changed in the meantime")
		}
		for _, planned := range want {
			deleted := h.deleteCheckpoints(&trellisv1.DeleteCheckpointsRequest{
				Study: planned.GetStudy(), ModifyIndex: planned.GetModifyIndex(),
			})
			planned.Files, planned.Bytes = 0, 0 // These take a look at all studies.
			if !proto.Equal(deleted, planned) {
				t.Errorf("deleted %v, want %v", deleted, planned)
			}
			// A second call, after the answer to the first was lost, finds nothing.
			if again := h.deleteCheckpoints(&trellisv1.DeleteCheckpointsRequest{Study: planned.GetStudy()}); again.GetCheckpoints() != 0 {
				t.Errorf("deleted %v again", again)
			}
		}
		events, err := trellisv1.NewAccessServiceClient(h.conn).ListEvents(h.Context(), &trellisv1.ListEventsRequest{PageSize: 3})
		if err != nil {
			t.Fatal(err)
		}
		var methods []string
		for _, event := range events.GetEvents() {
			methods = append(methods, event.GetMethod()+" "+event.GetSubject())
		}
		if got := strings.Join(methods, ", "); got != "DeleteCheckpoints twin, DeleteCheckpoints paper, CreateStudy twin" {
			t.Errorf("events: %s", got)
		}

		time.Sleep(2 * artifact.Grace)
		for latent, kept := range map[uint32]bool{4: true, 8: false} {
			for epoch := range uint32(2) {
				if store.Has(artifacttest.DigestOf([]byte(weightsOf(latent, epoch+1)))) != kept {
					t.Errorf("the checkpoint of %d after epoch %d is there: %v", latent, epoch+1, !kept)
				}
			}
		}

		extend := &trellisv1.ExtendStudyRequest{
			Study: "paper", Axes: map[string]*trellisv1.Axis{"max_epochs": trellisv1.AxisOf[uint32](3)},
		}
		if _, err := h.studies.ExtendStudy(h.Context(), extend); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			a := w.assignment()
			first, latent := uint32(3), a.GetConfig().GetParameters().Numeric("latent_dim")
			if latent == 8 {
				first = 1
			}
			if got := a.GetCheckpoint().GetEpoch(); got != first-1 {
				t.Errorf("the run of %v goes on after epoch %d, want %d", latent, got, first-1)
			}
			for epoch := first; epoch <= 3; epoch++ {
				w.report(a, epoch)
			}
			w.succeed(a, 3)
			w.acknowledged(a.GetAttempt(), 3, true)
		}
		study := h.study("paper")
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED || study.GetProgress().GetTrialsSucceeded() != 6 {
			t.Errorf("the extended study is %v", study)
		}
	})
}

// Looking at all runs of a large store takes longer than other calls may.
func TestDeletionsTakeTheirTime(t *testing.T) {
	limits := &callLimits{timeout: time.Minute}
	for _, method := range []string{
		trellisv1.StudyService_DeleteCheckpoints_FullMethodName, trellisv1.StudyService_PlanCheckpointDeletion_FullMethodName,
	} {
		if got := limits.timeoutOf(method); got != downloadPatience*time.Minute {
			t.Errorf("%s may take %s", method, got)
		}
	}
}
