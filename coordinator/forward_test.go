package coordinator

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
)

func TestEveryMethodHasARoute(t *testing.T) {
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
					t.Errorf("nobody has said which node answers %s", name)
				}
				if _, _, err := messagesOf(name); err != nil && !strings.HasPrefix(name, "/grpc.") {
					t.Error(err)
				}
			}
		}
		for method := range routes {
			if !served[method] && !strings.Contains(method, "ArtifactService") {
				t.Errorf("%s is in the table, but is not served", method)
			}
		}
		if len(services.names) < 6 {
			t.Errorf("the health service knows %v", services.names)
		}
		server.Stop()
	})
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
