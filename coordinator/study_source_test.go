package coordinator

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// pretrainedModels are one that begins with the weights of others, and those.
var pretrainedModels = []*trellisv1.Model{
	{Name: "synthetic", Axes: commonAxes},
	{Name: "conv-autoencoder", Data: true, Axes: commonAxes},
	{
		Name: "classifier", Data: true, Pretrained: []string{"conv-autoencoder", "denoising-autoencoder"}, Axes: commonAxes,
	},
}

// servePretrained runs the test with a coordinator that knows the models and keeps artifacts in memory.
func servePretrained(t *testing.T, test func(*harness, *artifacttest.Store)) {
	t.Helper()
	// The collector's rounds come in between calls, and in one test during one.
	limits := Limits{RequestTime: 24 * time.Hour}
	serve(t, Config{Models: pretrainedModels, Limits: limits}, func(h *harness) {
		store := artifacttest.New()
		synctest.Wait()
		h.artifacts.Use(store, nil)
		// Its collector begins with a term.
		if err := h.whilePaused(h.Context(), errStopping, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		test(h, store)
	})
}

// imageSpec is a study of a model that trains on images, one run for each latent dimension.
func imageSpec(name, model string, latent ...uint32) *trellisv1.StudySpec {
	spec := syntheticSpec(name, latent, []uint32{1, 2})
	spec.Model, spec.Data = model, "tiny"
	if len(latent) == 0 {
		delete(spec.Grid[0].Axes, "latent_dim")
	}
	return spec
}

func classifierSpec(name string, pretrained *trellisv1.Pretrained, latent ...uint32) *trellisv1.StudySpec {
	spec := imageSpec(name, "classifier", latent...)
	spec.Pretrained = pretrained
	return spec
}

// weightsOf is the content of the checkpoint that fake workers save at an epoch of a run.
func weightsOf(latent, epoch uint32) string {
	return fmt.Sprintf("weights of %d after %d", latent, epoch)
}

// save uploads a checkpoint of an epoch that has been reported, whose weights are the best so far, and reports it.
func (w *fakeWorker) save(a *trellisv1.Assignment, epoch uint32) {
	w.Helper()
	w.saveContent(a, epoch, weightsOf(uint32(a.GetConfig().GetParameters().Numeric("latent_dim")), epoch))
}

// saveContent does so with a content, and returns its digest.
func (w *fakeWorker) saveContent(a *trellisv1.Assignment, epoch uint32, content string) string {
	w.Helper()
	digest, size, err := w.artifacts.Put(w.Context(), strings.NewReader(content))
	if err != nil {
		w.Fatal(err)
	}
	w.send(&trellisv1.SessionRequest{
		Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
			Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			Checkpoint: &trellisv1.Checkpoint{Epoch: epoch, Sha256: digest, Size: uint64(size), BestEpoch: epoch},
		}},
	})
	return digest
}

// trainPaper creates the study paper and trains it, with a checkpoint at each epoch. Its trials 0 and 1 are of the
// latent dimension 4 after 1 and 2 epochs, 2 and 3 of 8.
func (h *harness) trainPaper() *fakeWorker {
	h.Helper()
	h.create(imageSpec("paper", "conv-autoencoder", 4, 8))
	w := h.connect("w", 1)
	for range 2 {
		a := w.assignment()
		w.report(a, 1)
		w.save(a, 1)
		w.report(a, 2)
		w.save(a, 2)
		w.succeed(a, 2)
		w.acknowledged(a.GetAttempt(), 2, true)
	}
	if study := h.study("paper"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
		h.Fatalf("the study is %v", study)
	}
	return w
}

func (h *harness) createError(spec *trellisv1.StudySpec) error {
	_, err := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
	return err
}

// A study begins with the weights of the best trial of another, of a certain one, or of a checkpoint. Its workers are
// told, its runs have ids of their own, and the log alone gives the same study.
func TestCreateFromAnotherStudy(t *testing.T) {
	servePretrained(t, func(h *harness, store *artifacttest.Store) {
		replayed := newReplica(t)
		h.log.hook(func(l *hookedLog) {
			l.proposing = func(command *trellisv1.Command) {
				data, err := proto.Marshal(command)
				if err != nil {
					t.Error(err)
				}
				replayed.apply(data)
			}
		})
		w := h.trainPaper()
		runs := map[string]string{}
		for _, test := range []struct {
			name       string
			pretrained *trellisv1.Pretrained
			latent     []uint32
			want       *trellisv1.Source
		}{
			{
				"best", &trellisv1.Pretrained{Study: "paper"}, nil,
				&trellisv1.Source{Study: "paper", Trial: 1, Sha256: artifacttest.DigestOf([]byte(weightsOf(4, 2)))},
			},
			{
				"other", &trellisv1.Pretrained{Study: "paper", Trial: proto.Uint64(2)},
				[]uint32{8},
				&trellisv1.Source{Study: "paper", Trial: 2, Sha256: artifacttest.DigestOf([]byte(weightsOf(8, 1)))},
			},
			{
				"checkpoint", &trellisv1.Pretrained{Checkpoint: artifacttest.DigestOf([]byte(weightsOf(8, 2)))},
				[]uint32{8},
				&trellisv1.Source{Sha256: artifacttest.DigestOf([]byte(weightsOf(8, 2)))},
			},
		} {
			study := h.create(classifierSpec(test.name, test.pretrained, test.latent...))
			test.want.Size = uint64(len(weightsOf(8, 2)))
			if test.want.Study != "" {
				trial, err := h.store.Snapshot().Trial("paper", test.want.Trial)
				if err != nil {
					t.Fatal(err)
				}
				test.want.Run, test.want.Model, test.want.Parameters = trial.Run, "conv-autoencoder", trial.Parameters
			} else {
				run, _, err := h.store.Snapshot().SavedBy(test.want.Sha256)
				if err != nil {
					t.Fatal(err)
				}
				test.want.Run, test.want.Model, test.want.Parameters = run.Id, "conv-autoencoder", run.Parameters
			}
			if !proto.Equal(study.GetPretrained(), test.want) {
				t.Errorf("%s: the source is %v, want %v", test.name, study.GetPretrained(), test.want)
			}
			wantLatent := uint32(8)
			if test.latent == nil {
				wantLatent = 4
			}
			if got := study.GetSpec().GetGrid()[0].GetAxes()["latent_dim"].GetValues(); len(got) != 1 || got[0].GetInteger() != int64(wantLatent) {
				t.Errorf("%s: the latent dimensions are %v, want %d", test.name, got, wantLatent)
			}
			a := w.assignment()
			if config := a.GetConfig(); config.GetPretrained() != test.want.Sha256 ||
				config.GetPretrainedSize() != test.want.Size ||
				config.GetParameters().Numeric("latent_dim") != float64(wantLatent) || grid.RunID(config) != a.GetRun() {
				t.Errorf("%s: got the assignment %v", test.name, a)
			}
			if other := runs[a.GetRun()]; other != "" {
				t.Errorf("%s: its run has the id of that of %s", test.name, other)
			}
			runs[a.GetRun()] = test.name
			w.train(a)
		}
		// An extension begins with the same weights, and so does what is retried or seeds are added to.
		extended := h.extend(&trellisv1.ExtendStudyRequest{Study: "best", Seeds: trellisv1.AxisOf[int](1, 2), Axes: map[string]*trellisv1.Axis{"max_epochs": trellisv1.AxisOf[int](3)}}, 4)
		if extended.GetPretrained().GetSha256() != artifacttest.DigestOf([]byte(weightsOf(4, 2))) {
			t.Errorf("the extended study begins with %v", extended.GetPretrained())
		}
		for range 2 {
			a := w.assignment()
			if a.GetConfig().GetPretrained() != extended.GetPretrained().GetSha256() {
				t.Errorf("got the assignment %v", a)
			}
			for epoch := a.GetEpochs() + 1; epoch <= 3; epoch++ {
				w.report(a, epoch)
			}
			w.succeed(a, 3)
			w.acknowledged(a.GetAttempt(), 3, true)
		}
		_, err := h.studies.ExtendStudy(h.Context(), &trellisv1.ExtendStudyRequest{Study: "best", Axes: map[string]*trellisv1.Axis{"latent_dim": trellisv1.AxisOf[int](8)}})
		wantCode(t, err, codes.InvalidArgument, "latent dimension 4 and fit no other, such as 8")
		synctest.Wait()
		live, err := h.store.Snapshot().Hash()
		again, againErr := replayed.store.Snapshot().Hash()
		if err != nil || againErr != nil || live != again {
			t.Errorf("the log gives %x, %v; the store is %x, %v", again, againErr, live, err)
		}
		study, err := replayed.store.Snapshot().Study(nil, "other")
		if err != nil || study.GetPretrained().GetTrial() != 2 {
			t.Errorf("the log gives %v, %v", study, err)
		}
	})
}

// What can't be begun with is refused, and it is said why and what would be right. A plan fails as the study would.
func TestSourcesThatAreRefused(t *testing.T) {
	servePretrained(t, func(h *harness, store *artifacttest.Store) {
		w := h.trainPaper()
		h.create(syntheticSpec("mnist", []uint32{4}, []uint32{1}))
		w.train(w.assignment())
		h.create(classifierSpec("classes", &trellisv1.Pretrained{Study: "paper"}))
		a := w.assignment()
		w.report(a, 1)
		classes := w.saveContent(a, 1, "weights of classes")
		w.report(a, 2)
		w.succeed(a, 2)
		w.acknowledged(a.GetAttempt(), 2, true)
		h.create(imageSpec("unsaved", "conv-autoencoder", 16))
		w.train(w.assignment())
		h.create(imageSpec("open", "conv-autoencoder", 64))
		w.assignment()
		h.create(imageSpec("canceled", "conv-autoencoder", 65))
		if _, err := h.studies.CancelStudy(h.Context(), &trellisv1.CancelStudyRequest{Study: "canceled"}); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			spec *trellisv1.StudySpec
			code codes.Code
			text string
		}{
			"no study": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "papre"}), codes.InvalidArgument,
				`study "papre" not found`,
			},
			"no trial": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "paper", Trial: proto.Uint64(17)}),
				codes.InvalidArgument, `study "paper" has no trial 17`,
			},
			"another model": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "mnist"}), codes.InvalidArgument,
				"begins with weights of the model conv-autoencoder or denoising-autoencoder",
			},
			"another latent": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "paper"}, 4, 8), codes.InvalidArgument,
				"the weights of trial 1 of study paper have the latent dimension 4 and fit no other, such as 8",
			},
			"none": {
				classifierSpec("s", nil, 4), codes.InvalidArgument,
				"the model classifier begins with weights of the model",
			},
			"not wanted": {func() *trellisv1.StudySpec {
				spec := imageSpec("s", "conv-autoencoder", 4)
				spec.Pretrained = &trellisv1.Pretrained{Study: "paper"}
				return spec
			}(), codes.InvalidArgument, "the model conv-autoencoder begins with random weights: leave pretrained out"},
			"checkpoint without latent": {
				classifierSpec("s",
					&trellisv1.Pretrained{Checkpoint: artifacttest.DigestOf([]byte(weightsOf(4, 2)))}),
				codes.InvalidArgument, "latent_dim",
			},
			"checkpoint of another model": {
				classifierSpec("s", &trellisv1.Pretrained{Checkpoint: classes}, 4), codes.InvalidArgument,
				"the checkpoint " + classes + `, saved by a run of study "classes", is of the model classifier; ` +
					"the model classifier " +
					"begins with weights of the model conv-autoencoder or denoising-autoencoder",
			},
			"checkpoint of another latent": {
				classifierSpec("s", &trellisv1.Pretrained{Checkpoint: artifacttest.DigestOf([]byte(weightsOf(8, 2)))},
					8, 4), codes.InvalidArgument,
				"have the latent dimension 8 and fit no other, such as 4: latent_dim: 8, or name a checkpoint of " +
					"that dimension",
			},
			"no checkpoint": {
				classifierSpec("s", &trellisv1.Pretrained{Checkpoint: strings.Repeat("0", 64)}, 4),
				codes.FailedPrecondition, "no longer stores it",
			},
			"no digest": {
				classifierSpec("s", &trellisv1.Pretrained{Checkpoint: "abc"}, 4), codes.InvalidArgument,
				"64 lower-case hexadecimal digits",
			},
			"two forms": {
				classifierSpec("s",
					&trellisv1.Pretrained{Study: "paper", Checkpoint: strings.Repeat("0", 64)}, 4),
				codes.InvalidArgument,
				"come from a study or a checkpoint",
			},
			"not answered": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "open", Trial: proto.Uint64(0)}),
				codes.FailedPrecondition, `trial 0 of study "open" has no result yet`,
			},
			"no best": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "open"}), codes.FailedPrecondition,
				`study "open" has no best trial yet`,
			},
			"not saved": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "unsaved"}), codes.FailedPrecondition,
				"weights of trial 1 are kept",
			},
			"canceled": {
				classifierSpec("s", &trellisv1.Pretrained{Study: "canceled", Trial: proto.Uint64(1)}),
				codes.FailedPrecondition, `trial 1 of study "canceled" has no result: it is canceled`,
			},
		} {
			if err := h.createError(test.spec); status.Code(err) != test.code ||
				!strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: error %v, want %v with %q", name, err, test.code, test.text)
			} else if name != "no checkpoint" && len(status.Convert(err).Details()) == 0 {
				t.Errorf("%s: error %v does not say which field of the spec is wrong", name, err)
			}
			_, err := h.studies.PlanStudy(h.Context(), &trellisv1.PlanStudyRequest{Spec: test.spec})
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: planning fails with %v, want %v with %q", name, err, test.code, test.text)
			}
		}
		// Who submits a study again does not ask for its source.
		h.create(classifierSpec("again", &trellisv1.Pretrained{Study: "paper"}))
		if _, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "paper"}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, h.createError(classifierSpec("again", &trellisv1.Pretrained{Study: "paper"})), codes.AlreadyExists, "study \"again\" already exists")
		h.artifacts.Use(nil, nil)
		checkpoint := classifierSpec("s",
			&trellisv1.Pretrained{Checkpoint: artifacttest.DigestOf([]byte(weightsOf(4, 2)))}, 4)
		wantCode(t, h.createError(checkpoint), codes.FailedPrecondition, "log is in memory, so it stores no artifacts")
	})
}

// collectionsPerGrace is how often the leader's collector looks in a grace period.
const collectionsPerGrace = 6

// The collector keeps what a study begins with for as long as the study is there, even if the study that it comes from
// is deleted, and even if nothing has referred to it for nearly the whole grace period when the study is created.
func TestSourcesAreKept(t *testing.T) {
	servePretrained(t, func(h *harness, store *artifacttest.Store) {
		h.trainPaper()
		// The collector's rounds come in between.
		time.Sleep(time.Minute)
		collect := func(rounds int) { time.Sleep(time.Duration(rounds) * artifact.Grace / collectionsPerGrace) }
		want := func(latent, epoch uint32, there bool) {
			t.Helper()
			if found := store.Has(artifacttest.DigestOf([]byte(weightsOf(latent, epoch)))); found != there {
				t.Errorf("the weights of %d after %d epochs are there: %v, want %v", latent, epoch, found, there)
			}
		}
		// Nobody trains what is created, for hours.
		create := func(name string, pretrained *trellisv1.Pretrained) {
			t.Helper()
			h.create(classifierSpec(name, pretrained, 4))
			if _, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: name}); err != nil {
				t.Fatal(err)
			}
		}
		remove := func(study string) {
			t.Helper()
			if _, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: study}); err != nil {
				t.Fatal(err)
			}
		}
		create("classes", &trellisv1.Pretrained{Study: "paper"})
		remove("paper")
		collect(2 * collectionsPerGrace)
		want(4, 2, true)
		want(8, 2, false)
		best := &trellisv1.Pretrained{Checkpoint: artifacttest.DigestOf([]byte(weightsOf(4, 2)))}
		create("more", best)
		remove("classes")
		collect(2 * collectionsPerGrace)
		want(4, 2, true)

		remove("more")
		collect(collectionsPerGrace)
		want(4, 2, true)
		h.log.hook(func(l *hookedLog) {
			l.proposing = func(command *trellisv1.Command) {
				if command.GetCreateStudy() != nil {
					collect(2)
				}
			}
		})
		create("late", best)
		collect(2 * collectionsPerGrace)
		want(4, 2, true)
		remove("late")
		collect(2 * collectionsPerGrace)
		want(4, 2, false)
	})
}

// A checkpoint that the coordinator can't admit, as its artifact is not there, is recorded as missing too, and a report
// counts the trials whose weights it has.
func TestRefusedCheckpointsAreMissing(t *testing.T) {
	servePretrained(t, func(h *harness, _ *artifacttest.Store) {
		h.create(imageSpec("paper", "conv-autoencoder", 4))
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.save(a, 1)
		w.report(a, 2)
		w.send(&trellisv1.SessionRequest{
			Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
				Checkpoint: &trellisv1.Checkpoint{
					Epoch: 2, BestEpoch: 2, Sha256: artifacttest.DigestOf([]byte("never uploaded")), Size: 14,
				},
			}},
		})
		for acknowledged := uint32(0); acknowledged < 2; {
			acknowledged = max(acknowledged, w.next().GetAcknowledgement().GetCheckpoint())
		}
		w.succeed(a, 2)
		w.acknowledged(a.GetAttempt(), 2, true)
		response, err := h.trials.GetReport(h.Context(), &trellisv1.GetReportRequest{Study: "paper"})
		if err != nil {
			t.Fatal(err)
		}
		report := response.GetReport()
		if reasons := report.GetMissingReasons(); report.GetWeightsMissing() != 1 || len(reasons) != 1 ||
			reasons[0].GetTrials() != 1 || !strings.Contains(reasons[0].GetReason(), "no such artifact") {
			t.Errorf("report %v", report)
		}
	})
}

// What a worker could not save is recorded with the run, acknowledged like a checkpoint, and told to who asks for the weights.
func TestMissingWeightsAreRecorded(t *testing.T) {
	servePretrained(t, func(h *harness, _ *artifacttest.Store) {
		h.create(imageSpec("paper", "conv-autoencoder", 4))
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.save(a, 1)
		w.report(a, 2)
		w.send(&trellisv1.SessionRequest{
			Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
				Checkpoint: &trellisv1.Checkpoint{Epoch: 2, BestEpoch: 2}, Missing: "no room",
			}},
		})
		for acknowledged := uint32(0); acknowledged < 2; {
			acknowledged = max(acknowledged, w.next().GetAcknowledgement().GetCheckpoint())
		}
		w.succeed(a, 2)
		w.acknowledged(a.GetAttempt(), 2, true)
		run, err := h.store.Snapshot().Run(nil, a.GetStudy(), a.GetRun())
		if err != nil {
			t.Fatal(err)
		}
		missing := run.GetMissingWeights()
		if len(run.GetCheckpoints()) != 1 || len(missing) != 1 || missing[0].GetEpoch() != 2 || missing[0].GetReason() != "no room" {
			t.Errorf("recorded are the checkpoints %v, and as missing %v", run.GetCheckpoints(), missing)
		}
		spec := imageSpec("next", "classifier", 4)
		spec.Pretrained = &trellisv1.Pretrained{Study: "paper"}
		if err := h.createError(spec); err == nil || !strings.Contains(err.Error(), "could not be saved: no room") {
			t.Errorf("a study that begins with these weights: %v", err)
		}
	})
}
