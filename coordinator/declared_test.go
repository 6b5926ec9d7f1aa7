package coordinator

import (
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// programSpec has 8 runs of a program that is ranked by "acc", each with trials of 2 and 4 epochs. A quarter is audited.
func programSpec(name string) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: name, Audit: 0.25,
		Program: &trellisv1.Program{Command: []string{"train"}, Deterministic: true, Prefix: true},
		Objective: &trellisv1.Objective{
			Metric: "acc", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE,
		},
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[uint32](eight...),
			"learning_rate": trellisv1.AxisOf[float64](1e-3),
			"max_epochs":    trellisv1.AxisOf[int](2, 4),
		}}},
	}
}

// runs has a worker on a machine run programs, whose accuracy in an epoch is what a function makes of it.
func (h *harness) runs(name, machine string, slots uint32, accuracy func(p *trellisv1.Parameters, epoch uint32) float64) {
	h.Helper()
	hello := helloFrom(name, slots)
	hello.Machine, hello.Capacity = machine, &trellisv1.Capacity{Programs: true}
	w, err := h.hello(hello)
	if err != nil {
		h.Fatal(err)
	}
	go func() {
		for {
			message, err := w.stream.Recv()
			if err != nil {
				return
			}
			a := message.GetAssignment()
			if a == nil {
				continue
			}
			// The clock is synctest's. The study may end meanwhile, with the audits of others.
			select {
			case <-time.After(time.Second):
			case <-h.Context().Done():
				return
			}
			epochs := a.GetConfig().GetParameters().GetMaxEpochs()
			values := make([]float64, epochs)
			for i := range values {
				values[i] = accuracy(a.GetConfig().GetParameters(), uint32(i+1))
			}
			w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
				Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), FirstEpoch: 1, Epochs: epochs,
					Metrics: map[string]*trellisv1.Series{"acc": {Values: values}}, Seconds: make([]float64, epochs),
				}}},
			}})
			w.succeed(a, epochs)
		}
	}()
}

// What a spec declares of its program wrongly is found, wherever its runs are trained, and nobody is blamed.
func TestAnAuditRefutesDeclarations(t *testing.T) {
	exact := func(p *trellisv1.Parameters, epoch uint32) float64 {
		return p.Numeric("latent_dim")*100 + float64(epoch)
	}
	random := func() func(*trellisv1.Parameters, uint32) float64 {
		var trained atomic.Int64
		return func(*trellisv1.Parameters, uint32) float64 { return float64(trained.Add(1)) }
	}
	byMaxEpochs := func(p *trellisv1.Parameters, epoch uint32) float64 {
		return exact(p, epoch) / float64(p.GetMaxEpochs())
	}
	// rounded differs rarely.
	rounded := func() func(*trellisv1.Parameters, uint32) float64 {
		var trained atomic.Int64
		return func(p *trellisv1.Parameters, epoch uint32) float64 {
			if n := trained.Add(1); n%7 == 0 {
				return float64(n)
			}
			return exact(p, epoch)
		}
	}
	for name, test := range map[string]struct {
		accuracy func(*trellisv1.Parameters, uint32) float64
		// refuted may be either of them.
		refuted []trellisv1.Declaration
	}{
		"as declared":   {exact, nil},
		"random":        {random(), []trellisv1.Declaration{trellisv1.Declaration_DECLARATION_DETERMINISTIC}},
		"seldom other":  {rounded(), []trellisv1.Declaration{trellisv1.Declaration_DECLARATION_DETERMINISTIC}},
		"by max_epochs": {byMaxEpochs, []trellisv1.Declaration{trellisv1.Declaration_DECLARATION_PREFIX}},
	} {
		for _, machines := range []int{1, 2, 3, 4} {
			if name == "seldom other" && machines > 1 {
				continue // Two of three may agree by chance.
			}
			t.Run(name, func(t *testing.T) {
				serve(t, Config{}, func(h *harness) {
					workers := []string{"a", "b", "c", "d"}[:max(2, machines)]
					for i, worker := range workers {
						h.runs(worker, "host of "+workers[i%machines], 2, test.accuracy)
					}
					h.create(programSpec("s"))
					study := h.completed("s", 10*time.Minute)
					var refuted []trellisv1.Declaration
					for _, its := range study.GetRefuted() {
						refuted = append(refuted, its.GetDeclaration())
						values := map[float64]bool{}
						for _, training := range its.GetTrainings() {
							for value := range maps.Values(training.GetValues()) {
								values[value] = true
							}
						}
						if len(values) < 2 {
							t.Errorf("no values differ: %v", its)
						}
					}
					if !slices.Equal(refuted, test.refuted) {
						t.Errorf("with %d machines: %v, want %v", machines, study.GetRefuted(), test.refuted)
					}
					if p := study.GetProgress(); p.GetTrialsSucceeded() != 16 || p.GetRunsDisputed() > 0 || p.GetAuditsDue() > 0 {
						t.Errorf("progress %v", p)
					}
					audits := h.report("s").GetAudits()
					if len(audits.GetWrongWorkers())+len(study.GetSuspects()) > 0 || audits.GetGivenUp() > 0 {
						t.Errorf("audits: %v, suspects %v", audits, study.GetSuspects())
					}
					for _, worker := range workers {
						if avoided := h.worker(worker).GetAvoided(); avoided != nil {
							t.Errorf("worker %s is avoided: %v", worker, avoided)
						}
					}
				})
			})
		}
	}
}

// A worker that alone reports other values than two others is named, as for a model.
func TestAnAuditOfAProgramNamesABadWorker(t *testing.T) {
	exact := func(p *trellisv1.Parameters, epoch uint32) float64 {
		return p.Numeric("latent_dim")*100 + float64(epoch)
	}
	serve(t, Config{}, func(h *harness) {
		h.runs("a", "host of a", 2, exact)
		h.runs("b", "host of b", 2, exact)
		h.runs("bad", "host of bad", 2, func(p *trellisv1.Parameters, epoch uint32) float64 { return 1 + exact(p, epoch) })
		spec := programSpec("s")
		spec.Audit = 1
		h.create(spec)
		study := h.completed("s", 10*time.Minute)
		wrong := h.report("s").GetAudits().GetWrongWorkers()
		if len(study.GetRefuted()) > 0 || len(wrong) != 1 || wrong[0].GetWorker() != "bad" {
			t.Errorf("refuted %v, wrong %v", study.GetRefuted(), wrong)
		}
		if best := h.best("s"); best.GetObjective() != 804 {
			t.Errorf("the best: %v", best)
		}
	})
}
