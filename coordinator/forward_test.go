package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/descriptorpb"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

// A method that is served and not in the table is refused, to anybody: this fails then, and names it.
func TestEveryMethodIsInTheTable(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{})
		server, services, err := one.newServer()
		if err != nil {
			t.Fatal(err)
		}
		served := map[string]bool{}
		for service, info := range server.GetServiceInfo() {
			for _, method := range info.Methods {
				name := "/" + service + "/" + method.Name
				served[name] = true
				if routeOf(name) == unrouted {
					t.Errorf("nobody has said which node answers %s, and who may call it", name)
				}
				if _, _, err := messagesOf(name); err != nil && !strings.HasPrefix(name, "/grpc.") {
					t.Error(err)
				}
			}
		}
		for _, method := range methods {
			if !served[method.name] {
				t.Errorf("%s is in the table, but is not served", method.name)
			}
			if method.may == 0 || method.own && !method.may.has(trellisv1.Role_ROLE_SUBMITTER) {
				t.Errorf("%s is for %v", method.name, method.may)
			}
		}
		if len(methods) != len(methodsByName) {
			t.Errorf("%d lines for %d methods", len(methods), len(methodsByName))
		}
		if len(services.names) < 6 {
			t.Errorf("the health service knows %v", services.names)
		}
		server.Stop()
	})
}

// What changes something goes to the leader, and no reader may call it.
func TestChangesGoToTheLeader(t *testing.T) {
	services := trellisv1.File_trellis_v1_service_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			its := services.Get(i).Methods().Get(j)
			method := methodsByName[fmt.Sprintf("/%s/%s", services.Get(i).FullName(), its.Name())]
			if its.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() ==
				descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
				continue
			}
			if method.where != leaderNode || method.may.has(trellisv1.Role_ROLE_VIEWER) {
				t.Errorf("%s has side effects, route %d and the roles %v", its.FullName(), method.where, method.may)
			}
		}
	}
}

func TestAFollowerAnswersReadsAndPassesChangesOn(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		a.create(syntheticSpec("via-a", []uint32{4, 8}, []uint32{2}))
		// A client reads its own writes from the node that took them.
		got, err := a.studies.GetStudy(a.Context(), &trellisv1.GetStudyRequest{Study: "via-a"})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetStudy().GetProgress().GetRuns() != 2 {
			t.Errorf("the follower says %v", got)
		}
		if _, err := a.studies.CreateStudy(a.Context(),
			&trellisv1.CreateStudyRequest{Spec: syntheticSpec("via-a", []uint32{4},
				[]uint32{2})}); status.Code(err) != codes.AlreadyExists {
			t.Errorf("creating it again: %v, want AlreadyExists", err)
		}
		_, err = a.studies.CreateStudy(a.Context(), &trellisv1.CreateStudyRequest{})
		if status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Details()) == 0 {
			t.Errorf("creating nothing: %v, want InvalidArgument with its details", err)
		}
		// Workers of both followers share the study.
		v, w := a.connect("v", 1), b.connect("w", 1)
		v.train(v.assignment())
		w.train(w.assignment())
		if _, err := b.dataSets.GetDataSet(b.Context(),
			&trellisv1.GetDataSetRequest{Digest: tinyDigest}); status.Code(err) != codes.NotFound {
			t.Errorf("a data set that no study uses: %v, want NotFound", err)
		}
		<-time.After(time.Second) // The clock is synctest's.
		for _, n := range c.nodes {
			if study := n.study("via-a"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
				t.Errorf("%s says %v", n.address, study)
			}
		}
		if leader.Coordinator.leader.Connected() != 2 || a.Coordinator.leader.Connected() != 0 {
			t.Errorf("the leader has %d sessions and a follower %d", leader.Coordinator.leader.Connected(),
				a.Coordinator.leader.Connected())
		}
		v.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{Goodbye: &trellisv1.Goodbye{}}})
		if _, err := v.stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after its goodbye a worker of a follower is told %v", err)
		}
	})
}

// Which workers are given no runs for now is in the leader's memory alone, and any node says it.
func TestEveryNodeSaysWhichWorkersAreAvoided(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		a.attempts("bad", func(*trellisv1.Assignment) trellisv1.FailureClass {
			return trellisv1.FailureClass_FAILURE_CLASS_TRAINER
		})
		b.create(syntheticSpec("failing", eight, []uint32{1}))
		c.await("the leader avoids it", func() bool { return len(leader.worker("bad").GetAvoided()) > 0 })
		for _, n := range c.nodes {
			if avoided := n.worker("bad").GetAvoided(); len(avoided) != 1 || avoided[0].GetStudy() != "failing" {
				t.Errorf("%s says that the worker is avoided: %v", n.address, avoided)
			}
		}
	})
}

// A follower that has started again answers no reads before its store has what was recorded meanwhile.
func TestAFollowerThatIsBehindAnswersNoReads(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		a.stop()
		leader.create(syntheticSpec("missed", []uint32{4, 8}, []uint32{2}))
		// It starts, hears of the leader, and can't write what that has recorded.
		stalled, released := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		defer release()
		a.memory.Write = func() error {
			select {
			case <-stalled:
				<-released
			default:
			}
			return nil
		}
		c.network.Partition([]string{a.address}, []string{leader.address, b.address})
		a = c.start(a.address, Config{})
		<-a.opened
		close(stalled)
		c.network.Heal()
		c.await("it follows the leader", func() bool { return a.view.Load().known })
		reads := map[string]func() error{
			"get": func() error {
				_, err := a.studies.GetStudy(a.Context(), &trellisv1.GetStudyRequest{Study: "missed"})
				return err
			},
			"list": func() error {
				_, err := a.studies.ListStudies(a.Context(), &trellisv1.ListStudiesRequest{})
				return err
			},
			"watch": func() error {
				watch, err := a.studies.WatchStudy(a.Context(), &trellisv1.WatchStudyRequest{Study: "missed"})
				if err == nil {
					_, err = watch.Recv()
				}
				return err
			},
		}
		for name, read := range reads {
			began := time.Now()
			err := read()
			if status.Code(err) != codes.Unavailable ||
				!strings.Contains(err.Error(), "is still catching up with the leader, "+leader.address) {
				t.Errorf("%s from a follower that is behind: %v, want Unavailable that says so", name, err)
			}
			if took := time.Since(began); took != leaderPatience {
				t.Errorf("%s was refused after %v, want %v", name, took, leaderPatience)
			}
		}
		if a.is(readyService) != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Error("a follower that is behind is said to serve")
		}
		release()
		for name, read := range reads {
			if err := read(); err != nil {
				t.Errorf("%s from a follower that has caught up: %v", name, err)
			}
		}
	})
}

func TestAForwardedCallIsNotForwardedAgain(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		ctx := metadata.AppendToOutgoingContext(a.Context(), api.ForwardedBy, "somebody:1")
		_, err := a.studies.CreateStudy(ctx,
			&trellisv1.CreateStudyRequest{Spec: syntheticSpec("loop", []uint32{4}, []uint32{2})})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "somebody:1") ||
			!strings.Contains(err.Error(), leader.address) {
			t.Errorf("a forwarded call to a follower: %v, want Unavailable that names who took it for the leader, "+
				"and the leader", err)
		}
	})
}

// A node that has just been elected does not pass calls on to the leader before it.
func TestACallToANewLeaderWaitsForItsTerm(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		begin, waits := make(chan struct{}), make(chan struct{})
		paused := make(chan error, 1)
		go func() {
			paused <- b.whilePaused(b.Context(), errLeaderChanged, func() error {
				close(waits)
				<-begin
				return nil
			})
		}()
		<-waits
		b.hasLooked()
		if _, err := leader.manager.TransferLeadership(leader.Context(),
			&trellisv1.TransferLeadershipRequest{Node: b.address}); err != nil {
			t.Fatal(err)
		}
		c.await("b is elected", func() bool {
			return b.cluster().GetStatus().GetRole() == trellisv1.NodeRole_NODE_ROLE_LEADER
		})
		if view := b.view.Load(); view.leader != leader.address || b.Coordinator.leader.Leads() {
			t.Fatalf("b's view of %s and its term have begun already: this shows nothing", view.leader)
		}
		backup := make(chan error, 1)
		go func() {
			stream, err := b.manager.Backup(b.Context(), &trellisv1.BackupRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			backup <- err
		}()
		time.AfterFunc(leaderPatience/2, func() { close(begin) })
		if _, err := b.manager.RemoveNode(b.Context(),
			&trellisv1.RemoveNodeRequest{Node: leader.address}); err != nil {
			t.Errorf("a call to a node that has just been elected: %v", err)
		}
		if err := <-backup; err != nil {
			t.Errorf("a stream from a node that has just been elected: %v", err)
		}
		if err := <-paused; err != nil {
			t.Error(err)
		}
	})
}

// A node that takes another one for the leader, which has not executed the call, passes it on to the leader once it
// hears of that.
func TestACallThatNobodyHasExecutedIsPassedOnToTheNextLeader(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		create := func(name string) error {
			_, err := a.studies.CreateStudy(a.Context(),
				&trellisv1.CreateStudyRequest{Spec: syntheticSpec(name, []uint32{4}, []uint32{2})})
			return err
		}
		a.log.hook(func(l *hookedLog) { l.leading = func() (string, bool) { return leader.address, true } })
		if _, err := leader.manager.TransferLeadership(leader.Context(),
			&trellisv1.TransferLeadershipRequest{Node: b.address}); err != nil {
			t.Fatal(err)
		}
		c.await("b leads, and the old leader knows", func() bool {
			return b.Coordinator.leader.Leads() && leader.view.Load().leader == b.address
		})
		began := time.Now()
		err := create("early")
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), b.address) {
			t.Errorf("a node that never hears of the new leader: %v, want Unavailable that names %s", err, b.address)
		}
		if took := time.Since(began); took != leaderPatience {
			t.Errorf("it gave up after %v, want %v", took, leaderPatience)
		}
		time.AfterFunc(leaderPatience/2, func() { a.log.hook(func(l *hookedLog) { l.leading = nil }) })
		if err := create("late"); err != nil {
			t.Errorf("a node that hears of the new leader: %v", err)
		}
		if runs := b.study("late").GetProgress().GetRuns(); runs != 1 {
			t.Errorf("the study has %d runs, want 1", runs)
		}
	})
}

// hasLooked waits until the node has just looked who leads: it looks again after followInterval.
func (n *node) hasLooked() {
	looked := make(chan struct{}, 1)
	n.log.hook(func(l *hookedLog) {
		l.leading = func() (string, bool) {
			select {
			case looked <- struct{}{}:
			default:
			}
			return l.Log.Leader()
		}
	})
	<-looked
	n.log.hook(func(l *hookedLog) { l.leading = nil })
	synctest.Wait()
}

func TestDeadlinesAreKeptOnTheWayToTheLeader(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		leader.log.hook(func(l *hookedLog) { l.proposing = func(*trellisv1.Command) { <-time.After(time.Minute) } })
		ctx, cancel := context.WithTimeout(a.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := a.studies.CreateStudy(ctx,
			&trellisv1.CreateStudyRequest{Spec: syntheticSpec("late", []uint32{4}, []uint32{2})})
		if status.Code(err) != codes.DeadlineExceeded || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		<-time.After(time.Minute)
	})
}
