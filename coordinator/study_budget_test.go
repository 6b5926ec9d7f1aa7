package coordinator

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
)

// refusedToExtend wants a request to be refused with a code and a text.
func (h *harness) refusedToExtend(request *trellisv1.ExtendStudyRequest, code codes.Code, text string) {
	h.Helper()
	_, err := h.studies.ExtendStudy(h.Context(), request)
	if status.Code(err) != code || !strings.Contains(err.Error(), text) {
		h.Errorf("extend by %v: error %v, want %v with %q", request, err, code, text)
	}
}

// listed returns a study's trials.
func (h *harness) listed(study string) []*trellisv1.Trial {
	h.Helper()
	response, err := h.trials.ListTrials(h.Context(), &trellisv1.ListTrialsRequest{Study: study})
	if err != nil {
		h.Fatal(err)
	}
	return response.GetTrials()
}

// TestTheTimeOfABudgetEnds: when it is over, what is under way is trained to its end, and what has not begun is not,
// until there is more time.
func TestTheTimeOfABudgetEnds(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := syntheticSpec("s", []uint32{4, 5, 6, 7}, []uint32{2})
		spec.Budget = &trellisv1.Budget{Time: durationpb.New(5 * time.Second)}
		h.create(spec)
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.acknowledged(a.GetAttempt(), 1, false)
		time.Sleep(4 * time.Second)
		if p := h.study("s").GetProgress(); p.GetTrialsCanceled() > 0 {
			t.Errorf("before the time is over: %v", p)
		}
		time.Sleep(3 * time.Second)
		study := h.study("s")
		if p := study.GetProgress(); study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING ||
			p.GetTrialsCanceled() != 3 || p.GetTrialsRunning() != 1 || p.GetEpochsLeft() != 1 {
			t.Errorf("when the time is over: %v", study)
		}
		w.report(a, 2)
		w.succeed(a, 2)
		w.acknowledged(a.GetAttempt(), 2, true)
		study = h.study("s")
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 1 {
			t.Errorf("in the end: %v", study)
		}
		canceled := 0
		for _, trial := range h.listed("s") {
			if trial.GetState() == trellisv1.TrialState_TRIAL_STATE_CANCELED {
				if canceled++; trial.GetError() != "not trained: the time budget of 5s is over" {
					t.Errorf("trial %v", trial)
				}
			}
		}
		if canceled != 3 {
			t.Errorf("%d trials are canceled, want 3", canceled)
		}
		h.refusedToExtend(&trellisv1.ExtendStudyRequest{Study: "s", Seeds: someIntegers(2)}, codes.FailedPrecondition,
			"the time budget of study \"s\" is over")
		more := func(d time.Duration) *trellisv1.ExtendStudyRequest {
			return &trellisv1.ExtendStudyRequest{Study: "s", Budget: &trellisv1.Budget{Time: durationpb.New(d)}}
		}
		h.refusedToExtend(more(6*time.Second), codes.FailedPrecondition, "is over")
		h.refusedToExtend(more(4*time.Second), codes.InvalidArgument, "the budget is 5s already")
		if study := h.extend(more(time.Minute), 0); study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING ||
			study.GetProgress().GetTrialsCanceled() != 0 {
			t.Errorf("with more time: %v", study)
		}
		for range 3 {
			w.train(w.assignment())
		}
		study = h.study("s")
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 4 || study.GetUntouched() != nil {
			t.Errorf("after more time: %v", study)
		}
	})
}

// TestARaisedBudgetGoesOn: a larger budget adds trials, nothing else can be added, and without one the whole grid is
// trained.
func TestARaisedBudgetGoesOn(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := syntheticSpec("s", []uint32{4, 5, 6, 7, 8}, []uint32{1})
		spec.Budget = &trellisv1.Budget{Trials: 2}
		h.create(spec)
		w := h.connect("w", 1)
		for range 2 {
			w.train(w.assignment())
		}
		study := h.study("s")
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED || study.GetGridTrials() != 5 {
			t.Errorf("the study is %v", study)
		}
		raise := func(budget *trellisv1.Budget) *trellisv1.ExtendStudyRequest {
			return &trellisv1.ExtendStudyRequest{Study: "s", Budget: budget}
		}
		drop := &trellisv1.ExtendStudyRequest{Study: "s", DropBudget: true}
		h.refusedToExtend(raise(&trellisv1.Budget{Trials: 1}), codes.InvalidArgument, "the budget is 2 trials already")
		h.refusedToExtend(raise(&trellisv1.Budget{Trials: 2}), codes.InvalidArgument, "already has this budget")
		h.refusedToExtend(raise(&trellisv1.Budget{Epochs: 9}), codes.InvalidArgument, "does not limit epochs so far")
		h.refusedToExtend(&trellisv1.ExtendStudyRequest{Study: "s", Seeds: someIntegers(2)}, codes.InvalidArgument,
			"the budget of 2 trials is used up")
		if study = h.extend(raise(&trellisv1.Budget{Trials: 3}), 1); len(study.GetEarlierSpecs()) != 1 ||
			study.GetEarlierSpecs()[0].GetBudget().GetTrials() != 2 {
			t.Errorf("the raised study is %v", study)
		}
		w.train(w.assignment())
		if study = h.extend(drop, 2); study.GetGridTrials() != 0 || study.GetSpec().GetBudget() != nil {
			t.Errorf("without a budget, the study is %v", study)
		}
		for range 2 {
			w.train(w.assignment())
		}
		h.refusedToExtend(drop, codes.InvalidArgument, "no budget that could be raised")
		h.extend(&trellisv1.ExtendStudyRequest{Study: "s", Seeds: someIntegers(2)}, 5)
		for range 5 {
			w.train(w.assignment())
		}
		if study = h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 10 {
			t.Errorf("in the end: %v", study)
		}
	})
}

// TestASampleGetsALargerGrid: values that are added to a grid of which a budget allows a part make room for other points,
// and the order goes on there.
func TestASampleGetsALargerGrid(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := syntheticSpec("s", []uint32{4, 5, 6, 7, 8}, []uint32{1})
		spec.Order = trellisv1.Order_ORDER_RANDOM
		spec.Budget = &trellisv1.Budget{Trials: 3}
		h.create(spec)
		w := h.connect("w", 1)
		for range 3 {
			w.train(w.assignment())
		}
		study := h.extend(&trellisv1.ExtendStudyRequest{
			Study: "s", Seeds: someIntegers(2, 3), Budget: &trellisv1.Budget{Trials: 8},
		}, 5)
		if study.GetGridTrials() != 15 || study.GetProgress().GetTrials() != 8 ||
			study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			t.Errorf("the extended study is %v", study)
		}
		for range 5 {
			w.train(w.assignment())
		}
		h.refusedToExtend(&trellisv1.ExtendStudyRequest{
			Study: "s", Axes: map[string]*trellisv1.Axis{"max_epochs": someIntegers(9)}, Budget: &trellisv1.Budget{Trials: 10},
		}, codes.InvalidArgument, "would have 16 trials, and the budget allows 10: raise it too, with --budget trials=16")
		h.extend(&trellisv1.ExtendStudyRequest{Study: "s", DropBudget: true}, 7)
		for range 7 {
			w.train(w.assignment())
		}
		points := map[string]bool{}
		for _, trial := range h.listed("s") {
			points[trial.GetParameters().String()] = trial.GetState() == trellisv1.TrialState_TRIAL_STATE_SUCCEEDED
		}
		if study = h.study("s"); len(points) != 15 || study.GetProgress().GetTrialsSucceeded() != 15 || study.GetGridTrials() != 0 {
			t.Errorf("in the end, %d points: %v", len(points), study)
		}
	})
}

// TestASampleIsSettledOutsideOfItsGrid: seeds of the grid that the budget leaves out are not added, so that a larger
// budget finds them where they belong.
func TestASampleIsSettledOutsideOfItsGrid(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := settleSpec("s", 4)
		spec.Seeds = someIntegers(1, 2)
		spec.Budget = &trellisv1.Budget{Trials: 3}
		h.create(spec)
		w := h.connect("w", 1)
		w.trainNoisy("s", never)
		before := h.study("s").GetProgress().GetTrials()
		h.extend(&trellisv1.ExtendStudyRequest{Study: "s", DropBudget: true}, 3)
		w.trainNoisy("s", never)
		points := map[string]bool{}
		for _, trial := range h.listed("s") {
			points[trial.GetParameters().String()] = true
		}
		if n := len(h.listed("s")); before < 3 || len(points) != n || n < 6 {
			t.Errorf("%d trials of %d points, %d before the budget was dropped", n, len(points), before)
		}
	})
}
