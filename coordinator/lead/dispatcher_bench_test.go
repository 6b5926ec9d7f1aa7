package lead

import (
	"fmt"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// BenchmarkPlan measures one look of the dispatcher at 10,000 idle workers and 1,000 studies that wait. The recorder does the same
// for each batch with a run that has ended. With "other", no worker has what the studies ask for; with "asked", each study asks
// for a label of one worker.
func BenchmarkPlan(b *testing.B) {
	const workers, studies = 10_000, 1_000
	node := func(i int) map[string]string { return map[string]string{"node": fmt.Sprint("n", i)} }
	for _, bench := range []struct {
		name           string
		labels, asked  func(int) map[string]string
		workers, chose int
	}{
		{"labels=none", nil, nil, workers, studies},
		{"labels=own", node, nil, workers, studies},
		{"labels=asked", node, node, workers, studies},
		{"labels=other", node, func(int) map[string]string { return map[string]string{"gpu": "a100"} }, workers, 0},
		{"labels=none/free=1", nil, nil, 1, 2},
		{"labels=own/free=1", node, nil, 1, 2},
	} {
		b.Run(bench.name, func(b *testing.B) {
			snapshot := manyWorkers(b, bench.workers, studies, bench.labels, bench.asked)
			d := &dispatcher{
				chosen: newChosen(), sessions: everybody{}, leases: everybody{}, data: noAbsences{},
				failing: newFailing(slog.New(slog.DiscardHandler)),
			}
			for b.Loop() {
				runs, _, err := d.plan(snapshot, nil, func(p *pairing) results.Choice { return p })
				if err != nil || len(runs) != bench.chose {
					b.Fatalf("%d runs and error %v, want %d", len(runs), err, bench.chose)
				}
			}
		})
	}
}

// BenchmarkAwaitedWorker measures what a list of studies asks for each that has not ended.
func BenchmarkAwaitedWorker(b *testing.B) {
	node := func(i int) map[string]string { return map[string]string{"node": fmt.Sprint("n", i)} }
	for name, asked := range map[string]map[string]string{"labels=none": nil, "labels=own": node(1), "labels=other": {"a": "b"}} {
		b.Run(name, func(b *testing.B) {
			snapshot := manyWorkers(b, 10_000, 1, node, nil)
			for b.Loop() {
				if _, err := snapshot.AwaitedWorker(&trellisv1.Study{Spec: &trellisv1.StudySpec{Name: "s", Workers: asked}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// manyWorkers has READY workers of two slots each, and studies of one run each.
func manyWorkers(tb testing.TB, workers, studies int, labels, asked func(int) map[string]string) *results.Snapshot {
	tb.Helper()
	store, err := results.New()
	if err != nil {
		tb.Fatal(err)
	}
	index := uint64(0)
	for i := range workers {
		index++
		worker := &trellisv1.Worker{
			Name: fmt.Sprint("w", i), State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 2,
		}
		if labels != nil {
			worker.Labels = labels(i)
		}
		if err := store.SetWorker(index, timestamppb.Now(), trajectory.LatestRules, worker); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range studies {
		index++
		spec := &trellisv1.StudySpec{
			Name: fmt.Sprint("s", i), Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(uint32(i + 1)), "max_epochs": trellisv1.AxisOf[uint32](1),
			}}},
		}
		if asked != nil {
			spec.Workers = asked(i)
		}
		err := store.CreateStudy(index, timestamppb.Now(),
			&trellisv1.Study{Name: spec.GetName(), Spec: grid.WithDefaults(spec), Numerics: "test"})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return store.Snapshot()
}
