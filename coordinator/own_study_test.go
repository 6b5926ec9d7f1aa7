package coordinator

import (
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A worker that takes runs of one study alone is told how that stands, once for each state; others are not.
func TestOwnStudy(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		hello := helloFrom("own", 1)
		hello.Study = "mine"
		own, err := h.hello(hello)
		if err != nil {
			t.Fatal(err)
		}
		// Under a fake clock heartbeats go on forever: what never comes is to be missed.
		defer time.AfterFunc(time.Hour, h.disconnects[len(h.disconnects)-1]).Stop()
		other := h.connect("other", 1)
		want := func(state trellisv1.StudyState) {
			t.Helper()
			if got := own.next(); got.GetOwnStudy() == nil || got.GetOwnStudy().GetState() != state {
				t.Fatalf("the worker is told %v, want that its study is %v", got, state)
			}
		}
		want(trellisv1.StudyState_STUDY_STATE_UNSPECIFIED)
		time.Sleep(10 * ownStudyPatience)
		h.create(syntheticSpec("its", []uint32{4}, []uint32{1}))
		other.train(other.assignment())
		h.create(syntheticSpec("mine", []uint32{8}, []uint32{1}))
		// The assignment may come before the news.
		a, news := own.next(), own.next()
		if a.GetAssignment() == nil {
			a, news = news, a
		}
		if a.GetAssignment() == nil || news.GetOwnStudy().GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
			t.Fatalf("the worker is told %v and %v, want an assignment and that its study is running", a, news)
		}
		own.train(a.GetAssignment())
		want(trellisv1.StudyState_STUDY_STATE_COMPLETED)
		if _, err := h.studies.DeleteStudy(h.Context(), &trellisv1.DeleteStudyRequest{Study: "mine"}); err != nil {
			t.Fatal(err)
		}
		want(trellisv1.StudyState_STUDY_STATE_UNSPECIFIED)
	})
}

// ownStudyPatience is more than the time after which a worker hears of a change.
const ownStudyPatience = 2 * time.Second
