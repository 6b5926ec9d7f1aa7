package coordinator

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// A third peer that greets with a worker's name neither ends the worker's session nor its run, and gets none of its
// attempts: not with another key, not as another principal, not with a greeting that it has seen.
func TestNobodyGreetsWithAnothersName(t *testing.T) {
	serve(t, Config{hooks: hooks{authenticate: true}}, func(h *harness) {
		synctest.Wait()
		ann, _, _ := h.withToken(trellisv1.Role_ROLE_ADMIN, "ann", 0)
		farm, _, _ := h.withToken(trellisv1.Role_ROLE_WORKER, "farm", 0)
		sameFarm, _, _ := h.withToken(trellisv1.Role_ROLE_WORKER, "farm", 0)
		other, _, _ := h.withToken(trellisv1.Role_ROLE_WORKER, "other", 0)
		if _, err := h.studies.CreateStudy(ann, &trellisv1.CreateStudyRequest{
			Spec: syntheticSpec("s", []uint32{4}, []uint32{3}),
		}); err != nil {
			t.Fatal(err)
		}
		clients := h.ctx
		defer func() { h.ctx = clients }()
		h.ctx = farm
		owner := h.connect("owner", 1)
		a := owner.assignment()
		owner.report(a, 1)
		owner.acknowledged(a.GetAttempt(), 1, false)

		stranger := helloFrom("owner", 1, a.GetAttempt())
		stranger.Key = keyOf("stranger")
		if _, err := h.hello(stranger); status.Code(err) != codes.PermissionDenied {
			t.Errorf("another process of the same principal: %v", err)
		}
		h.ctx = other
		if _, err := h.hello(helloFrom("owner", 1, a.GetAttempt())); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a replayed greeting of another principal: %v", err)
		}
		short := helloFrom("short", 1)
		short.Key = short.GetKey()[:15]
		if _, err := h.hello(short); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a greeting with a short key: %v", err)
		}
		// The owner goes on in its session, and comes back with another token of the same principal.
		owner.report(a, 2)
		owner.acknowledged(a.GetAttempt(), 2, false)
		h.ctx = sameFarm
		again := h.connect("owner", 1, a.GetAttempt())
		if attempts := again.welcome.GetAttempts(); len(attempts) != 1 {
			t.Errorf("after the token was replaced, it holds %v", attempts)
		}
		again.report(a, 3)
		again.succeed(a, 3)
		again.acknowledged(a.GetAttempt(), 3, true)

		listed, err := h.workers.ListWorkers(ann, &trellisv1.ListWorkersRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, worker := range listed.GetWorkers() {
			if worker.GetKey() != nil || worker.GetPrincipal().GetName() != "farm" {
				t.Errorf("listed %v", worker)
			}
		}
	})
}

// The same without authentication: the key is enough.
func TestNobodyTakesOverASessionWithoutAuthentication(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{3}))
		owner := h.connect("owner", 1)
		a := owner.assignment()
		thief := helloFrom("owner", 1, a.GetAttempt())
		thief.Key = keyOf("thief")
		if _, err := h.hello(thief); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a thief is told %v", err)
		}
		thief.Draining = true
		if _, err := h.hello(thief); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a thief that drains is told %v", err)
		}
		owner.train(a)
	})
}

// A worker of an older data directory has no key: the first that greets with the name sets it.
func TestTheFirstGreetingSetsTheKey(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		synctest.Wait()
		if _, err := h.commands.Propose(h.Context(), &trellisv1.Command{Change: &trellisv1.Command_SetWorker{
			SetWorker: &trellisv1.SetWorkerCommand{Worker: &trellisv1.Worker{
				Name: "old", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1,
			}},
		}}); err != nil {
			t.Fatal(err)
		}
		h.connect("old", 1)
		stranger := helloFrom("old", 1)
		stranger.Key = keyOf("stranger")
		if _, err := h.hello(stranger); status.Code(err) != codes.PermissionDenied {
			t.Errorf("a second process is told %v", err)
		}
	})
}

// A heartbeat advances only what its worker holds: a run that hangs is not kept alive by another's.
func TestHeartbeatsAdvanceOnlyOnesOwnAttempts(t *testing.T) {
	serve(t, Config{Lease: 10 * time.Second, HangTimeout: time.Minute}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{3}))
		hanging := h.connect("hanging", 1)
		a := hanging.assignment()
		other := h.connect("other", 1)
		for steps := range uint64(100) {
			other.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
				Heartbeat: &trellisv1.Heartbeat{Attempts: []*trellisv1.AttemptProgress{
					{Attempt: a.GetAttempt(), Steps: steps + 1},
				}},
			}})
			time.Sleep(time.Second)
		}
		held, err := h.store.Snapshot().RunsHeldBy(nil, "hanging")
		if err != nil || len(held) > 0 && held[0].GetAttempt() == a.GetAttempt() {
			t.Errorf("after 100 s without a step it still holds %v, %v", held, err)
		}
		if stop := hanging.next().GetStop(); stop.GetAttempt() != a.GetAttempt() {
			t.Errorf("told %v, want that the attempt is over", stop)
		}
	})
}
