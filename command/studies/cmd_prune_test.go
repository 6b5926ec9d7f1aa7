package studies

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

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
