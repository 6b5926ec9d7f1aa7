package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// What the simulation has found, each by itself.

func TestALeaderWithoutAMajorityWelcomesNobody(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		w := leader.connect("w", 1)
		leader.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		attempt := w.assignment().GetAttempt()
		// An answer of a follower that is still on its way would prove, rightly, that there was a majority a moment
		// ago.
		synctest.Wait()
		c.network.Partition([]string{leader.address}, []string{a.address, b.address})
		// Whether the attempt stands is for the others to say by now.
		if _, err := leader.hello(helloFrom("w", 1, attempt)); status.Code(err) != codes.Unavailable {
			t.Errorf("a leader without a majority answered a worker's hello with %v, want Unavailable", err)
		}
	})
}

func TestAChangeWhoseLeaderIsLostMayBeTriedAgain(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		leader.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		c.network.Partition([]string{leader.address}, []string{a.address, b.address})
		ctx, cancel := context.WithTimeout(leader.Context(), 10*time.Second)
		defer cancel()
		if _, err := leader.studies.PauseStudy(ctx,
			&trellisv1.PauseStudyRequest{Study: "s"}); status.Code(err) != codes.Unavailable {
			t.Errorf("a leader that lost its majority answered with %v, want Unavailable", err)
		}
	})
}

// A study that is admitted may wait for the log. The next one waits for it no longer than its client does.
func TestAStudyWaitsForAnotherNoLongerThanItsClient(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		c.network.Partition([]string{leader.address}, []string{a.address, b.address})
		began := time.Now()
		answers := make(chan error, 2)
		for name, patience := range map[string]time.Duration{
			"patient": 10 * time.Second,
			"hasty":   10 * time.Millisecond,
		} {
			go func() {
				ctx, cancel := context.WithTimeout(leader.Context(), patience)
				defer cancel()
				_, err := leader.studies.CreateStudy(ctx,
					&trellisv1.CreateStudyRequest{Spec: syntheticSpec(name, []uint32{4}, []uint32{2})})
				answers <- err
			}()
		}
		if err := <-answers; err == nil || time.Since(began) > time.Second {
			t.Errorf("the hasty client got %v after %v", err, time.Since(began))
		}
		if err := <-answers; err == nil {
			t.Error("a leader without a majority has admitted a study")
		}
	})
}

func TestANodeStopsThoughItCantReachTheOthers(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		c.network.Partition([]string{a.address}, []string{leader.address, b.address})
		<-time.After(5 * time.Second) // The clock is synctest's. By now the node has asked the others to elect it.
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}
