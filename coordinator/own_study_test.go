package coordinator

import (
	"maps"
	"slices"
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

// A worker that no study whose runs wait can have, for want of labels, is told what they ask for: once, and when that
// has changed. Others are not told.
func TestUnservedWorkersAreTold(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		hello := helloFrom("h100", 1)
		hello.Labels = map[string]string{"gpu": "h100"}
		worker, err := h.hello(hello)
		if err != nil {
			t.Fatal(err)
		}
		// Under a fake clock heartbeats go on forever: what never comes is to be missed.
		defer time.AfterFunc(time.Hour, h.disconnects[len(h.disconnects)-1]).Stop()
		asks := func(name string, latent uint32, labels map[string]string) {
			spec := syntheticSpec(name, []uint32{latent}, []uint32{1})
			spec.Workers = labels
			h.create(spec)
			time.Sleep(time.Minute) // The clock is synctest's.
		}
		told := func(want ...map[string]string) {
			t.Helper()
			message := worker.next()
			unserved := message.GetUnserved()
			if unserved == nil || len(unserved.GetAsked()) != len(want) {
				t.Fatalf("the worker is told %v, want of %v", message, want)
			}
			for _, labels := range want {
				if !slices.ContainsFunc(unserved.GetAsked(), func(got *trellisv1.Labels) bool {
					return maps.Equal(got.GetLabels(), labels)
				}) {
					t.Errorf("the worker is told %v, want of %v", message, want)
				}
			}
		}
		a100, zone := map[string]string{"gpu": "a100"}, map[string]string{"gpu": "h100", "zone": "b"}
		asks("one", 4, a100)
		asks("again", 5, a100)
		told(a100)
		asks("two", 6, zone)
		told(a100, zone)
		asks("plain", 7, nil)
		worker.train(worker.assignment())
		time.Sleep(time.Minute)
		// All is as it was told, also when another study is the first that asks for it. Only what is left in the end is
		// news.
		asks("late", 8, a100)
		for _, name := range []string{"one", "again", "late"} {
			if _, err := h.studies.CancelStudy(h.Context(), &trellisv1.CancelStudyRequest{Study: name}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		told(zone)
		if _, err := h.studies.CancelStudy(h.Context(), &trellisv1.CancelStudyRequest{Study: "two"}); err != nil {
			t.Fatal(err)
		}
		told()
	})
}
