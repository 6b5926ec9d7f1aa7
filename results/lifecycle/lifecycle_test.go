package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestTransitions spells out every move that there is: whatever a machine allows beyond these is a mistake.
func TestTransitions(t *testing.T) {
	checkMachine(t, Study, trellisv1.StudyState_name, []string{
		"running pause paused", "paused resume running", "running cancel canceled", "paused cancel canceled",
		"running complete completed", "completed reopen running", "running reopen running", "paused reopen paused",
	})
	checkMachine(t, Run, trellisv1.RunState_name, []string{
		"pending grant leased", "leased release pending", "leased succeed succeeded", "leased fail failed", "pending learn succeeded",
		"pending cancel canceled", "leased cancel canceled", "pending hold pruned", "pruned promote pending", "succeeded lengthen pending", "failed retry pending",
		"canceled reopen pending",
		"pruned retry pending", "succeeded audit succeeded", "succeeded release succeeded", "succeeded overturn leased",
		"leased overturn leased", "succeeded take back pending", "pruned take back pending",
	})
	checkMachine(t, Worker, trellisv1.WorkerState_name, []string{
		"unspecified register ready", "ready register ready", "lost register ready",
		"unspecified drain draining", "ready drain draining", "draining drain draining", "lost drain draining",
		"ready lose lost", "draining lose lost", "ready dismiss gone", "draining dismiss gone",
	})
}

// events are all, and one that is none.
var events = []string{
	Pause, Resume, Cancel, Complete, Reopen, Grant, Release, Succeed, Fail, Learn, Lengthen, Retry, Hold, Promote, Register,
	Drain, Lose, Dismiss, Audit, Overturn, TakeBack, "",
}

func checkMachine[State interface {
	~int32
	fmt.Stringer
}](t *testing.T, m Machine[State], states map[int32]string, want []string) {
	t.Run(m.noun, func(t *testing.T) {
		var got []string
		for number := range states {
			for _, event := range events {
				from := State(number)
				to, err := m.Next(from, event)
				if err == nil {
					got = append(got, strings.Join([]string{Name(from), event, Name(to)}, " "))
				} else if !errors.Is(err, ErrIllegalMove) || to != from {
					t.Errorf("%s from %v: %v and %v", event, from, to, err)
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("moves:\n got %q\nwant %q", got, want)
		}
	})
}
