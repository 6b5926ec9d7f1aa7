package coordinator

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

func TestBadStudiesAreRefusedAndChangeNothing(t *testing.T) {
	good := func() *trellisv1.StudySpec { return syntheticSpec("good", []uint32{4}, []uint32{2}) }
	for name, test := range map[string]struct {
		change func(*trellisv1.StudySpec)
		code   codes.Code
		says   string
	}{
		"a name with capitals": {
			func(s *trellisv1.StudySpec) { s.Name = "Good" }, codes.InvalidArgument,
			"lower-case",
		},
		"no grid": {func(s *trellisv1.StudySpec) { s.Grid = nil }, codes.InvalidArgument, "grid"},
		"latent dimension 0": {
			func(s *trellisv1.StudySpec) { s.Grid[0].Axes["latent_dim"] = trellisv1.AxisOf(0) },
			codes.InvalidArgument, "between 1 and 784",
		},
		"latent dimension 785": {
			func(s *trellisv1.StudySpec) { s.Grid[0].Axes["latent_dim"] = trellisv1.AxisOf(785) },
			codes.InvalidArgument, "between 1 and 784",
		},
		"negative learning rate": {
			func(s *trellisv1.StudySpec) { s.Grid[0].Axes["learning_rate"] = trellisv1.AxisOf(-1) },
			codes.InvalidArgument, "above 0",
		},
		"zero learning rate": {
			func(s *trellisv1.StudySpec) { s.Grid[0].Axes["learning_rate"] = trellisv1.AxisOf(0) },
			codes.InvalidArgument, "above 0",
		},
		"an empty axis": {
			func(s *trellisv1.StudySpec) { s.Grid[0].Axes["max_epochs"] = &trellisv1.Axis{} },
			codes.InvalidArgument, "at least one value",
		},
		"an unknown model": {
			func(s *trellisv1.StudySpec) { s.Model, s.Data = "transformer", "tiny" },
			codes.InvalidArgument, "unknown model",
		},
		"an unknown data set": {
			func(s *trellisv1.StudySpec) { s.Model, s.Data = "conv-autoencoder", "imagenet" },
			codes.InvalidArgument, "there is tiny",
		},
		"a split that is too long": {func(s *trellisv1.StudySpec) {
			s.Model, s.Data, s.Split = "conv-autoencoder", "tiny", &trellisv1.Split{Train: 600, Validation: 1}
		}, codes.InvalidArgument, "600"},
		"a hundred million points": {hundredMillion, codes.InvalidArgument, "100,000"},
		"a name that is taken":     {func(s *trellisv1.StudySpec) { s.Name = "taken" }, codes.AlreadyExists, "taken"},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.create(syntheticSpec("taken", []uint32{4}, []uint32{2}))
				before := h.study("taken")
				spec := good()
				test.change(spec)
				_, err := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
				if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
					t.Errorf("refused with %v, want %v that says %q", err, test.code, test.says)
				}
				listed, err := h.studies.ListStudies(h.Context(), &trellisv1.ListStudiesRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if len(listed.GetStudies()) != 1 || listed.GetStudies()[0].GetModifyIndex() != before.GetModifyIndex() {
					t.Errorf("after the refusal there are %v", listed.GetStudies())
				}
			})
		})
	}
}

// hundredMillion gives the spec 10,000 seeds and 10,000 learning rates.
func hundredMillion(spec *trellisv1.StudySpec) {
	spec.Seeds = &trellisv1.Axis{Linear: &trellisv1.Range{From: 0, To: 9999, Count: 10_000}}
	spec.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Log10: &trellisv1.Range{From: 1e-4, To: 1e-2, Count: 10_000}}
}

func TestUnknownStudiesAreNotFound(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		ctx := h.Context()
		calls := map[string]func() error{
			"get": func() error {
				_,
					err := h.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: "none"})
				return err
			},
			"pause": func() error {
				_, err := h.studies.PauseStudy(ctx, &trellisv1.PauseStudyRequest{Study: "none"})
				return err
			},
			"resume": func() error {
				_, err := h.studies.ResumeStudy(ctx, &trellisv1.ResumeStudyRequest{Study: "none"})
				return err
			},
			"cancel": func() error {
				_, err := h.studies.CancelStudy(ctx, &trellisv1.CancelStudyRequest{Study: "none"})
				return err
			},
			"delete": func() error {
				_, err := h.studies.DeleteStudy(ctx, &trellisv1.DeleteStudyRequest{Study: "none"})
				return err
			},
			"trials": func() error {
				_, err := h.trials.ListTrials(ctx, &trellisv1.ListTrialsRequest{Study: "none"})
				return err
			},
			"best": func() error {
				_, err := h.trials.GetBestTrial(ctx, &trellisv1.GetBestTrialRequest{Study: "none"})
				return err
			},
			"watch": func() error {
				watch, err := h.studies.WatchStudy(ctx, &trellisv1.WatchStudyRequest{Study: "none"})
				if err != nil {
					return err
				}
				_, err = watch.Recv()
				return err
			},
		}
		for name, call := range calls {
			if err := call(); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "none") {
				t.Errorf("%s of a study that does not exist: %v, want NotFound with its name", name, err)
			}
		}
	})
}

func TestAWatchSendsChangesAndGoesOnWhereItWas(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("watch", []uint32{4, 8}, []uint32{2}))
		watch := h.watch("watch", 0)
		first := h.receive(watch)
		if len(first.GetRuns()) != 0 || first.GetStudy().GetProgress().GetRuns() != 2 {
			t.Errorf("a study that nothing has happened to is sent as %v", first)
		}
		w := h.connect("w", 1)
		a := w.assignment()
		w.train(a)
		b := w.assignment()
		w.report(b, 1)
		w.acknowledged(b.GetAttempt(), 1, false)

		// Two watchers that know different amounts come to know the same.
		seen := map[string]*trellisv1.Run{}
		for seen[b.GetRun()].GetEpochs() != 1 {
			first = h.receive(watch)
			for _, run := range first.GetRuns() {
				seen[run.GetId()] = run
			}
		}
		if seen[a.GetRun()].GetState() != trellisv1.RunState_RUN_STATE_SUCCEEDED {
			t.Errorf("run %s is seen as %v", a.GetRun(), seen[a.GetRun()])
		}
		if first.GetBest().GetRun() != a.GetRun() {
			t.Errorf("best so far is %v", first.GetBest())
		}
		late := h.watch("watch", first.GetIndex())
		if response := h.receive(late); len(response.GetRuns()) != 0 {
			t.Errorf("a watch that goes on at index %d was sent %v again", first.GetIndex(), response.GetRuns())
		}
		// An index that the study has not come to is of another study, or of another life of the coordinator.
		strange := h.receive(h.watch("watch", first.GetIndex()+1000))
		if len(strange.GetRuns()) != 2 || strange.GetIndex() != first.GetIndex() {
			t.Errorf("a watch from an index beyond the study's was sent %d runs at index %d, want 2 at %d",
				len(strange.GetRuns()), strange.GetIndex(), first.GetIndex())
		}
		w.report(b, 2)
		w.succeed(b, 2)
		for {
			response, err := watch.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			first = response
		}
		if first.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
			t.Errorf("the watch ended with the study %v", first.GetStudy().GetState())
		}
	})
}

// A watch tells what the model has reported beside its losses, of the runs that it sends.
func TestAWatchTellsMetrics(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("digits", []uint32{4}, []uint32{1}))
		watch := h.watch("digits", 0)
		h.receive(watch)
		w := h.connect("w", 1)
		a := w.assignment()
		reports := reportsOf(a, 1, lossAt(a.GetConfig().GetParameters(), 1))
		reports.Metrics = map[string]*trellisv1.Series{
			"train_accuracy":      {Values: []float64{0.5}},
			"validation_accuracy": {Values: []float64{0.25}},
		}
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
		}})
		for {
			response := h.receive(watch)
			if len(response.GetRuns()) == 0 || response.GetRuns()[0].GetEpochs() == 0 {
				if len(response.GetMetrics()) > 0 {
					t.Errorf("metrics before the first epoch: %v", response.GetMetrics())
				}
				continue
			}
			values := response.GetMetrics()[a.GetRun()].GetValues()
			if len(values) != 1 || values["accuracy"] != 0.25 {
				t.Errorf("metrics are %v", response.GetMetrics())
			}
			break
		}
		w.succeed(a, 1)
	})
}

func (h *harness) watch(study string, since uint64) trellisv1.StudyService_WatchStudyClient {
	h.Helper()
	watch, err := h.studies.WatchStudy(h.Context(), &trellisv1.WatchStudyRequest{Study: study, SinceIndex: since})
	if err != nil {
		h.Fatal(err)
	}
	return watch
}

func (h *harness) receive(watch trellisv1.StudyService_WatchStudyClient) *trellisv1.WatchStudyResponse {
	h.Helper()
	response, err := watch.Recv()
	if err != nil {
		h.Fatalf("receive from a watch: %v", err)
	}
	return response
}

// Clients take messages of 4 MiB unless they are told to take more.
func TestAWatchSplitsWhatIsTooLargeForAMessage(t *testing.T) {
	const runs = 400
	serve(t, Config{}, func(h *harness) {
		latent := make([]uint32, runs)
		for i := range latent {
			latent[i] = uint32(i + 1)
		}
		h.create(syntheticSpec("verbose", latent, []uint32{1}))
		w := h.connect("w", runs)
		for failed := 0; failed < trajectory.TrainerBudget*runs; {
			a := w.next().GetAssignment()
			if a == nil {
				continue
			}
			failed++
			w.outcome(&trellisv1.Outcome{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
				Result: &trellisv1.Outcome_Failure{
					Failure: &trellisv1.Failure{
						Class: trellisv1.FailureClass_FAILURE_CLASS_TRAINER, Message: strings.Repeat("x", 4096),
					},
				},
			})
		}
		study := h.study("verbose")
		// A client that goes on at an index that it was sent before the last part would miss the rest.
		since := study.GetCreateIndex()
		watch := h.watch("verbose", since)
		seen := 0
		var indexes []uint64
		for {
			response, err := watch.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seen += len(response.GetRuns())
			indexes = append(indexes, response.GetIndex())
		}
		if seen != runs {
			t.Errorf("%d runs were sent, want %d", seen, runs)
		}
		want := slices.Repeat([]uint64{since}, len(indexes))
		want[len(want)-1] = study.GetModifyIndex()
		if len(indexes) < 2 || !slices.Equal(indexes, want) {
			t.Errorf("the parts have the indexes %d, want %d", indexes, want)
		}
	})
}

func TestADeletedStudyIsForgottenAndItsWorkersStop(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("gone", []uint32{4}, []uint32{2}))
		w := h.connect("w", 1)
		a := w.assignment()
		if _, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "gone"}); err != nil {
			t.Fatal(err)
		}
		if stop := w.next().GetStop(); stop.GetAttempt() != a.GetAttempt() {
			t.Errorf("after the deletion the worker was sent %v", stop)
		}
		// The name is free again, and late reports of the old study do not reach the new one.
		h.create(syntheticSpec("gone", []uint32{4}, []uint32{2}))
		b := w.assignment()
		w.reportLoss(a, 1, 1e-9)
		w.train(b)
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "gone"})
		if err != nil {
			t.Fatal(err)
		}
		if want := lossAt(b.GetConfig().GetParameters(), 2); best.GetTrial().GetObjective() != want {
			t.Errorf("objective %v, want %v", best.GetTrial().GetObjective(), want)
		}
	})
}

// Whoever has looked at a study can delete that one, and neither one that has changed nor another with its name.
func TestDeleteAStudyThatHasNotChanged(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		before := h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		if _, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "s"}); err != nil {
			t.Fatal(err)
		}
		_, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "s", ModifyIndex: before.GetModifyIndex()})
		if status.Code(err) != codes.Aborted {
			t.Errorf("deleted a study that has changed: %v, want Aborted", err)
		}
		now := h.study("s").GetModifyIndex()
		if _, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "s", ModifyIndex: now}); err != nil {
			t.Errorf("deleted a study that has not changed: %v", err)
		}
		after := h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		first := &trellisv1.DeleteStudyRequest{Study: "s", CreateIndex: before.GetCreateIndex()}
		if _, err := h.studies.DeleteStudy(h.Context(), first); status.Code(err) != codes.Aborted {
			t.Errorf("deleted another study of that name: %v, want Aborted", err)
		}
		if _, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "s"}); err != nil {
			t.Fatal(err)
		}
		second := &trellisv1.DeleteStudyRequest{Study: "s", CreateIndex: after.GetCreateIndex()}
		if _, err := h.studies.DeleteStudy(h.Context(), second); err != nil {
			t.Errorf("deleted the study that was created then, whatever has changed in it: %v", err)
		}
	})
}

func TestBestOfAStudyWithoutAnswersSaysSo(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("young", []uint32{4}, []uint32{2}))
		_, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "young"})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("best of a study without answers: %v, want FailedPrecondition", err)
		}
	})
}

func TestDataSetsOfStudiesAreServedInChunks(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		_, err := h.dataSets.GetDataSet(h.Context(), &trellisv1.GetDataSetRequest{Digest: tinyDigest})
		if status.Code(err) != codes.NotFound {
			t.Errorf("a data set that no study uses: %v, want NotFound", err)
		}
		spec := syntheticSpec("data", []uint32{4}, []uint32{2})
		spec.Model, spec.Data = "conv-autoencoder", "tiny"
		study := h.create(spec)
		if split := study.GetSpec().GetSplit(); split.GetTrain() != 500 || split.GetValidation() != 100 {
			t.Errorf("600 images are split by default into %v", split)
		}
		found, err := h.dataSets.GetDataSet(h.Context(), &trellisv1.GetDataSetRequest{Digest: tinyDigest})
		if err != nil {
			t.Fatal(err)
		}
		file := found.GetDataSet().GetFiles()[0]
		stream, err := h.dataSets.DownloadDataFile(h.Context(), &trellisv1.DownloadDataFileRequest{
			Digest: tinyDigest,
			Sha256: file.GetSha256(),
		})
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(chunk.GetData()) > 1<<20 {
				t.Errorf("a chunk of %d bytes", len(chunk.GetData()))
			}
			content.Write(chunk.GetData())
		}
		if !bytes.Equal(content.Bytes(), tinyFile) {
			t.Errorf("received %d bytes that differ from the %d sent", content.Len(), len(tinyFile))
		}
		unknown, err := h.dataSets.DownloadDataFile(h.Context(), &trellisv1.DownloadDataFileRequest{
			Digest: tinyDigest,
			Sha256: strings.Repeat("c", 64),
		})
		if err == nil {
			_, err = unknown.Recv()
		}
		if status.Code(err) != codes.NotFound {
			t.Errorf("a file that the data set does not have: %v, want NotFound", err)
		}
	})
}

func TestConfigsThatCanNotWorkAreRefused(t *testing.T) {
	for name, config := range map[string]Config{
		"no numerics":      {Models: testModels},
		"no models":        {Numerics: "1"},
		"unnamed models":   {Numerics: "1", Models: []*trellisv1.Model{{}}},
		"a tiny lease":     {Numerics: "1", Models: testModels, Lease: time.Millisecond},
		"a negative lease": {Numerics: "1", Models: testModels, Lease: -time.Second},
		"negative hanging": {Numerics: "1", Models: testModels, HangTimeout: -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(config, nil, memoryDataSets{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
