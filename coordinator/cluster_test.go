package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestANodeJoinsThroughAnyOther(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		for _, n := range c.nodes {
			answer := n.cluster()
			want := trellisv1.NodeRole_NODE_ROLE_FOLLOWER
			if n == leader {
				want = trellisv1.NodeRole_NODE_ROLE_LEADER
			}
			own := answer.GetStatus()
			if own.GetAddress() != n.address || own.GetRole() != want || own.GetVersion() != "v-"+n.address ||
				own.GetAppliedIndex() == 0 {
				t.Errorf("%s says of itself: %v, want the role %v", n.address, own, want)
			}
			for _, member := range answer.GetNodes() {
				if member.GetLeader() != (member.GetAddress() == leader.address) {
					t.Errorf("%s says: %v", n.address, member)
				}
			}
		}
	})
}

func TestALeaderThatDisappearsLosesNothing(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		a.create(syntheticSpec("survive", []uint32{4}, []uint32{3}))
		old := leader.connect("w", 1)
		lease := old.assignment()
		old.report(lease, 1)
		old.acknowledged(lease.GetAttempt(), 1, false)
		through := a.connect("v", 1)

		c.network.Partition([]string{leader.address}, []string{a.address, b.address})
		began := time.Now()
		next := c.leader(a, b)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a new leader took %v", took)
		}
		// What the old leader takes now is not acknowledged; it notices that it leads no longer, and says so.
		_ = old.stream.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reportsOf(lease, 2,
				lossAt(lease.GetConfig().GetParameters(), 2))}},
		}})
		for {
			message, err := old.stream.Recv()
			if err != nil {
				if status.Code(err) != codes.Unavailable {
					t.Errorf("the old leader's session ended with %v, want Unavailable", err)
				}
				break
			}
			if ack := message.GetAcknowledgement(); ack.GetEpoch() > 1 {
				t.Errorf("acknowledged by a leader without a majority: %v", ack)
			}
		}
		if _, err := through.stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("a session through a follower ended with %v, want Unavailable", err)
		}
		c.await("the old leader knows that it is alone", func() bool {
			return leader.is(readyService) == grpc_health_v1.HealthCheckResponse_NOT_SERVING
		})
		if leader.is("") != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Error("the old leader's process lives, and is not said to serve")
		}
		_, err := leader.studies.PauseStudy(leader.Context(), &trellisv1.PauseStudyRequest{Study: "survive"})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "knows no leader") {
			t.Errorf("a node without a majority was asked to change something: %v", err)
		}

		again := next.connect("w", 1, lease.GetAttempt())
		if standing := again.welcome.GetAttempts(); len(standing) != 1 || standing[0] != lease.GetAttempt() {
			t.Fatalf("the new leader welcomes the worker with attempts %v, want %d", standing, lease.GetAttempt())
		}
		again.report(lease, 2)
		again.report(lease, 3)
		again.succeed(lease, 3)
		again.acknowledged(lease.GetAttempt(), 3, true)
		c.network.Heal()
		c.await("the old leader follows",
			func() bool { return leader.is(readyService) == grpc_health_v1.HealthCheckResponse_SERVING })
		c.await("the old leader has what it missed", func() bool {
			return leader.study("survive").GetState() == trellisv1.StudyState_STUDY_STATE_COMPLETED
		})
	})
}

func TestARollingRestartInterruptsNothing(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		leader.create(syntheticSpec("rolling", []uint32{4, 8, 16}, []uint32{1}))
		for _, address := range []string{"one:1", "two:1", "three:1"} {
			began := time.Now()
			c.nodes[address].stop()
			if took := time.Since(began); took > time.Second {
				t.Errorf("stopping %s took %v", address, took)
			}
			var others []*node
			for _, n := range c.nodes {
				if n.address != address {
					others = append(others, n)
				}
			}
			leader := c.leader(others...)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("after %s was stopped, %v passed until another led", address, took)
			}
			w := leader.connect("w-"+address, 1)
			w.train(w.assignment())
			c.start(address, Config{})
			c.await(address+" is back", func() bool { return c.nodes[address].view.Load().ready })
			w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{Goodbye: &trellisv1.Goodbye{}}})
		}
		c.await("all nodes know that the study has ended", func() bool {
			for _, n := range c.nodes {
				if n.study("rolling").GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
					return false
				}
			}
			return true
		})
	})
}

func TestANodeThatWaitsIsAddedByHand(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{})
		two := c.start("two:1", Config{Wait: true})
		c.await("one leads", func() bool { return one.leader.Leads() })
		_, err := two.studies.ListStudies(two.Context(), &trellisv1.ListStudiesRequest{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cluster add") {
			t.Errorf("a node that waits was asked for studies: %v", err)
		}
		if two.is(readyService) != grpc_health_v1.HealthCheckResponse_NOT_SERVING ||
			two.is("trellis.v1.StudyService") != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Error("a node that waits is said to serve")
		}
		id := two.cluster().GetStatus().GetId()
		for what, request := range map[string]*trellisv1.AddNodeRequest{
			"has the id":  {Id: "somebody", Address: "two:1"},
			"can't reach": {Id: id, Address: "nobody:1"},
		} {
			_, err := one.manager.AddNode(one.Context(), request)
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), what) {
				t.Errorf("adding %v: %v, want FailedPrecondition that says %q", request, err, what)
			}
		}
		if _, err := one.manager.AddNode(one.Context(),
			&trellisv1.AddNodeRequest{Id: id, Address: "two:1"}); err != nil {
			t.Fatal(err)
		}
		serving := grpc_health_v1.HealthCheckResponse_SERVING
		c.await("it is ready", func() bool { return two.is(readyService) == serving })

		// A node that has a cluster of its own would lose it.
		three := c.start("three:1", Config{})
		c.await("three leads a cluster of its own", func() bool { return three.leader.Leads() })
		_, err = one.manager.AddNode(one.Context(), &trellisv1.AddNodeRequest{
			Id:      three.cluster().GetStatus().GetId(),
			Address: "three:1",
		})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "another cluster") {
			t.Errorf("adding the leader of another cluster: %v", err)
		}
	})
}

func TestLeadershipIsTransferredAndNodesAreRemoved(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		if _, err := a.manager.TransferLeadership(a.Context(),
			&trellisv1.TransferLeadershipRequest{Node: b.address}); err != nil {
			t.Fatal(err)
		}
		if next := c.leader(a, b); next != b {
			t.Errorf("%s leads, want %s", next.address, b.address)
		}
		c.await("all follow", func() bool {
			return a.view.Load().leader == b.address &&
				leader.view.Load().leader == b.address
		})
		if _, err := a.manager.RemoveNode(a.Context(),
			&trellisv1.RemoveNodeRequest{Node: "nobody:1"}); status.Code(err) != codes.NotFound {
			t.Errorf("removing nobody: %v, want NotFound", err)
		}
		if _, err := a.manager.RemoveNode(a.Context(), &trellisv1.RemoveNodeRequest{Node: leader.address}); err != nil {
			t.Fatal(err)
		}
		if left := b.cluster().GetNodes(); len(left) != 2 {
			t.Errorf("the nodes left are %v", left)
		}
	})
}

func TestARestoredBackupReplacesEverything(t *testing.T) {
	simulateThree(t, func(c *cluster, leader, a, b *node) {
		a.create(syntheticSpec("kept", []uint32{4}, []uint32{2}))
		w := a.connect("w", 1)
		kept := w.assignment()
		backup, err := a.manager.Backup(a.Context(), &trellisv1.BackupRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		for {
			chunk, err := backup.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content.Write(chunk.GetData())
		}
		leader.create(syntheticSpec("lost", []uint32{4}, []uint32{2}))

		restore := func(data []byte) error {
			stream, err := a.manager.Restore(a.Context())
			if err != nil {
				return err
			}
			for chunk := range slices.Chunk(data, 100) {
				if err := stream.Send(&trellisv1.RestoreRequest{Data: chunk}); err != nil {
					break
				}
			}
			_, err = stream.CloseAndRecv()
			return err
		}
		damaged := bytes.Clone(content.Bytes())
		damaged[len(damaged)/2] ^= 1
		if err := restore(damaged); status.Code(err) != codes.InvalidArgument {
			t.Errorf("restoring a damaged backup: %v, want InvalidArgument", err)
		}
		if err := restore([]byte("a picture of a cat, say, or a spec")); status.Code(err) != codes.InvalidArgument {
			t.Errorf("restoring something else: %v, want InvalidArgument", err)
		}
		leader.study("lost")
		if err := restore(content.Bytes()); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = w.stream.Recv()
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("the worker's session ended with %v, want Unavailable", err)
		}
		for _, n := range c.nodes {
			c.await(n.address+" has what was restored", func() bool {
				_, lost := n.studies.GetStudy(n.Context(), &trellisv1.GetStudyRequest{Study: "lost"})
				_, kept := n.studies.GetStudy(n.Context(), &trellisv1.GetStudyRequest{Study: "kept"})
				return status.Code(lost) == codes.NotFound && kept == nil
			})
		}
		w = leader.connect("w", 1, kept.GetAttempt())
		if fmt.Sprint(w.welcome.GetAttempts()) != fmt.Sprint([]uint64{kept.GetAttempt()}) {
			t.Errorf("the worker is welcomed with attempts %v", w.welcome.GetAttempts())
		}
		w.train(kept)
	})
}

func TestANodeWhoseLogFailsEnds(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{})
		c.await("one leads", func() bool { return one.leader.Leads() })
		began := time.Now()
		if _, _, err := one.replicated.Propose(one.Context(), []byte{0xff}); err == nil {
			t.Error("a command that nobody understands was accepted")
		}
		err := <-one.served
		one.served <- nil
		if err == nil || !strings.Contains(err.Error(), "decode the command") {
			t.Errorf("the node ended with %v", err)
		}
		if took := time.Since(began); took > 2*shutdownGrace {
			t.Errorf("that took %v", took)
		}
	})
}
