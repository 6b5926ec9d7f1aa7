package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"trellis/coordinator/replication"
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

// Raft does not look whether a majority still listens while it waits for the disk. A leader that may have been replaced
// meanwhile does not answer as if it led.
func TestALeaderWhoseDiskDoesNotAnswer(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		leader.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		leader.slow.Store(int64(8 * time.Second))
		written := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(leader.Context(), time.Minute)
			defer cancel()
			_, err := leader.studies.CreateStudy(ctx,
				&trellisv1.CreateStudyRequest{Spec: syntheticSpec("other", []uint32{4}, []uint32{2})})
			written <- err
		}()
		synctest.Wait()
		c.network.Partition([]string{leader.address}, []string{a.address, b.address})
		next := c.leader(a, b)
		<-time.After(replication.DefaultHeartbeatTimeout + followInterval) // The clock is synctest's.
		if _, err := next.studies.PauseStudy(next.Context(), &trellisv1.PauseStudyRequest{Study: "s"}); err != nil {
			t.Fatal(err)
		}
		if !leader.leader.Leads() {
			t.Fatal("the leader noticed: the test shows nothing")
		}
		if response, err := leader.studies.GetStudy(leader.Context(),
			&trellisv1.GetStudyRequest{Study: "s"}); status.Code(err) != codes.Unavailable {
			t.Errorf("a leader that was replaced while its disk did not answer said %v, %v", response.GetStudy(), err)
		}
		if ready := leader.is(readyService); ready != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("its health is %v", ready)
		}
		leader.slow.Store(0)
		// It hears of the next leader, whose term it can write, while it still waits for what it appends.
		c.network.Heal()
		for range 50 {
			<-time.After(followInterval) // The clock is synctest's.
			response, err := leader.studies.GetStudy(leader.Context(), &trellisv1.GetStudyRequest{Study: "s"})
			if err == nil && response.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_PAUSED {
				t.Fatalf("a leader that has heard of its successor while its disk did not answer said %v", response.GetStudy().GetState())
			}
		}
		if err := <-written; status.Code(err) != codes.Unavailable {
			t.Errorf("what it could not give the others ended with %v", err)
		}
		c.await("it follows", func() bool { return leader.view.Load().ready && !leader.leader.Leads() })
		c.await("it has what happened meanwhile", func() bool {
			response, err := leader.studies.GetStudy(leader.Context(), &trellisv1.GetStudyRequest{Study: "s"})
			return err == nil && response.GetStudy().GetState() == trellisv1.StudyState_STUDY_STATE_PAUSED
		})
	})
}

// A leader hears of its successor when it has waited for its disk for less time than an election takes.
func TestALeaderThatHearsOfItsSuccessorWhileItWrites(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		leader.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		c.network.Partition([]string{leader.address}, []string{a.address, b.address})
		<-time.After(430 * time.Millisecond) // The clock is synctest's. The others have no leader soon, and it has not looked yet.
		leader.slow.Store(int64(8 * time.Second))
		began := time.Now()
		written := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(leader.Context(), time.Minute)
			defer cancel()
			_, err := leader.studies.CreateStudy(ctx,
				&trellisv1.CreateStudyRequest{Spec: syntheticSpec("other", []uint32{4}, []uint32{2})})
			written <- err
		}()
		synctest.Wait()
		leader.slow.Store(0)
		next := c.leader(a, b)
		next.connect("w", 1)
		c.await("a worker is there", func() bool { return next.worker("w") != nil })
		if _, err := next.studies.PauseStudy(next.Context(), &trellisv1.PauseStudyRequest{Study: "s"}); err != nil {
			t.Fatal(err)
		}
		c.network.Heal()
		c.await("it hears of its successor", func() bool {
			return leader.replicated.Status().Role != trellisv1.NodeRole_NODE_ROLE_LEADER
		})
		<-time.After(followInterval)
		waited := time.Since(began)
		response, err := leader.studies.GetStudy(leader.Context(), &trellisv1.GetStudyRequest{Study: "s"})
		if err == nil && response.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_PAUSED {
			t.Errorf("it said %v after %v of writing", response.GetStudy().GetState(), waited)
		}
		workers, err := leader.workers.ListWorkers(leader.Context(), &trellisv1.ListWorkersRequest{})
		if err == nil && len(workers.GetWorkers()) != 1 {
			t.Errorf("it listed %d workers after %v of writing", len(workers.GetWorkers()), waited)
		}
		if err := <-written; status.Code(err) != codes.Unavailable {
			t.Errorf("what it could not give the others ended with %v", err)
		}
	})
}

// Nobody replaces a coordinator that is alone: it answers while its disk does not.
func TestACoordinatorAloneWhoseDiskDoesNotAnswer(t *testing.T) {
	simulate(t, func(c *cluster) {
		alone := c.start("one:1", Config{})
		c.await("it leads", func() bool { return alone.leader.Leads() })
		alone.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		alone.slow.Store(int64(8 * time.Second))
		paused := make(chan error, 1)
		go func() {
			_, err := alone.studies.PauseStudy(alone.Context(), &trellisv1.PauseStudyRequest{Study: "s"})
			paused <- err
		}()
		<-time.After(5 * time.Second) // The clock is synctest's.
		if _, err := alone.studies.GetStudy(alone.Context(), &trellisv1.GetStudyRequest{Study: "s"}); err != nil {
			t.Errorf("asked while the disk does not answer: %v", err)
		}
		alone.slow.Store(0)
		if err := <-paused; err != nil {
			t.Error(err)
		}
	})
}
