package worker

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A worker for one study leaves when that has ended, not while it holds a run, and says once that there is none of that name.
func TestOwnStudy(t *testing.T) {
	const (
		absent    = trellisv1.StudyState_STUDY_STATE_UNSPECIFIED
		running   = trellisv1.StudyState_STUDY_STATE_RUNNING
		paused    = trellisv1.StudyState_STUDY_STATE_PAUSED
		completed = trellisv1.StudyState_STUDY_STATE_COMPLETED
		canceled  = trellisv1.StudyState_STUDY_STATE_CANCELED

		unknown = "the coordinator has no study of that name"
	)
	leaves := func(p *peer) { p.drain(); p.goodbye() }
	for _, test := range []struct {
		name string
		idle time.Duration
		work func(p *peer)
		want error
		// warned is how often the worker says that the study is unknown.
		warned int
	}{
		{name: "completed", work: func(p *peer) { p.ownStudy(completed); leaves(p) }},
		{name: "canceled later", work: func(p *peer) {
			p.ownStudy(running)
			p.ownStudy(paused)
			p.quiet(time.Minute)
			p.ownStudy(canceled)
			leaves(p)
		}},
		{name: "deleted", work: func(p *peer) { p.ownStudy(running); p.ownStudy(absent); leaves(p) }},
		{name: "not there yet", warned: 1, work: func(p *peer) {
			p.ownStudy(absent)
			p.quiet(time.Minute)
			p.ownStudy(absent)
			p.quiet(time.Minute)
			p.ownStudy(running)
			p.quiet(time.Minute)
			p.ownStudy(completed)
			leaves(p)
		}},
		{name: "holds a run", work: func(p *peer) {
			p.ownStudy(running)
			p.assign(synthetic(1, "a", 2))
			p.reports(1, 1, 2)
			p.outcome(1)
			p.ownStudy(completed)
			p.quiet(time.Minute)
			p.acknowledge(1, 2)
			p.acknowledgeOutcome(1)
			leaves(p)
		}},
		{name: "extended before it has left", work: func(p *peer) {
			p.ownStudy(running)
			p.assign(synthetic(1, "a", 2))
			p.reports(1, 1, 2)
			p.outcome(1)
			p.ownStudy(completed)
			p.quiet(time.Minute)
			p.ownStudy(running)
			p.acknowledge(1, 2)
			p.acknowledgeOutcome(1)
			p.quiet(time.Minute)
			p.ownStudy(completed)
			leaves(p)
		}},
		{name: "extended as it leaves", want: ErrHandedBack, work: func(p *peer) {
			p.ownStudy(completed)
			p.drain()
			synctest.Wait() // The goodbye is under way.
			p.assign(synthetic(1, "a", 2))
			synctest.Wait()
			p.goodbye()
		}},
		{name: "idle and never there", idle: 10 * time.Minute, want: ErrNoStudy, warned: 1, work: func(p *peer) {
			p.ownStudy(absent)
			time.Sleep(10 * time.Minute)
			leaves(p)
		}},
		{name: "idle and there", idle: 10 * time.Minute, work: func(p *peer) {
			p.ownStudy(running)
			time.Sleep(10 * time.Minute)
			leaves(p)
		}},
		{name: "idle at a coordinator of old", idle: 10 * time.Minute, work: func(p *peer) {
			time.Sleep(10 * time.Minute)
			leaves(p)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(_ *harness, c *Config) { c.Study, c.ExitWhenIdle = "mine", test.idle }, func(h *harness) {
				test.work(h.connect())
				if err := h.returned(); !errors.Is(err, test.want) {
					t.Errorf("Run returned %v, want %v", err, test.want)
				}
				if warned := strings.Count(h.logs.String(), unknown); warned != test.warned {
					t.Errorf("it warned %d times, want %d; log:\n%s", warned, test.warned, h.logs)
				}
			})
		})
	}
}

// What an earlier session has said no longer counts: the study may have been extended, or deleted, while the worker was away.
func TestOwnStudyOfEarlierSession(t *testing.T) {
	for _, state := range []trellisv1.StudyState{
		trellisv1.StudyState_STUDY_STATE_RUNNING, trellisv1.StudyState_STUDY_STATE_COMPLETED,
		trellisv1.StudyState_STUDY_STATE_UNSPECIFIED,
	} {
		inBubble(t, func(_ *harness, c *Config) { c.Study = "mine" }, func(h *harness) {
			p := h.connect()
			p.assign(synthetic(1, "a", 2))
			p.reports(1, 1, 2)
			p.outcome(1)
			p.ownStudy(trellisv1.StudyState_STUDY_STATE_COMPLETED)
			p.quiet(time.Minute)
			h.leave()
			time.Sleep(testLease / 2)
			h.comeBack()
			// The attempt has ended: the worker holds nothing.
			p = h.connect()
			p.quiet(time.Minute)
			if p.ownStudy(state); state == trellisv1.StudyState_STUDY_STATE_RUNNING {
				p.quiet(time.Minute)
				p.ownStudy(trellisv1.StudyState_STUDY_STATE_COMPLETED)
			}
			p.drain()
			p.goodbye()
			if err := h.returned(); err != nil {
				t.Errorf("%v: Run returned %v", state, err)
			}
		})
	}
}

func (p *peer) ownStudy(state trellisv1.StudyState) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_OwnStudy{
		OwnStudy: &trellisv1.OwnStudy{State: state},
	}})
}

// A worker says how much memory the runs take that it can't have.
func TestUnservedForMemory(t *testing.T) {
	inBubble(t, func(_ *harness, c *Config) { c.Memory = 1 << 30 }, func(h *harness) {
		p := h.connect()
		unserved := func(memory uint64) {
			p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Unserved{
				Unserved: &trellisv1.Unserved{Memory: memory, Study: "large"},
			}})
		}
		unserved(3<<30 + 1)
		unserved(0)
		p.assign(synthetic(1, "a", 2))
		p.reports(1, 1, 2)
		p.outcome(1)
		const want = `study=large "memory of a run"=3073MiB "its memory"=1024MiB`
		if said := h.logs.String(); strings.Count(said, "more memory than this worker has") != 1 || !strings.Contains(said, want) {
			t.Errorf("it does not say once %s:\n%s", want, said)
		}
	})
}

// A worker says which labels the studies ask for whose runs it can't have, each time that it is told, and goes on.
func TestUnserved(t *testing.T) {
	inBubble(t, func(_ *harness, c *Config) {
		c.Labels = map[string]string{"zone": "a", "gpu": "h100"}
	}, func(h *harness) {
		p := h.connect()
		unserved := func(asked ...*trellisv1.Labels) {
			p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Unserved{
				Unserved: &trellisv1.Unserved{Asked: asked},
			}})
		}
		a100 := &trellisv1.Labels{Labels: map[string]string{"zone": "b", "gpu": "a100"}}
		unserved(a100, &trellisv1.Labels{Labels: map[string]string{"gpu": "tpu"}})
		unserved()
		p.assign(synthetic(1, "a", 2))
		p.reports(1, 1, 2)
		p.outcome(1)
		const want = `"asked for"="gpu=a100,zone=b; gpu=tpu" "its labels"="gpu=h100,zone=a"`
		if said := h.logs.String(); strings.Count(said, "with other labels") != 1 || !strings.Contains(said, want) {
			t.Errorf("it does not say once %s:\n%s", want, said)
		}
	})
}
