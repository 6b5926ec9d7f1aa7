package chart

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/trajectory"
)

// newLarge has the study s of a grid over three axes, of which a part has been trained, for so many epochs each.
func newLarge(b *testing.B, trials, epochs int, part float64) *results.Store {
	b.Helper()
	store, err := results.New()
	ok(b, err)
	numbers := func(n int) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: float64(n), Count: uint32(n)}}
	}
	study := &trellisv1.Study{Name: "s", Numerics: "1", Spec: &trellisv1.StudySpec{
		Name: "s", Model: "synthetic", Seeds: trellisv1.AxisOf(1), Grid: []*trellisv1.Grid{{
			Axes: map[string]*trellisv1.Axis{
				"latent_dim": numbers(100), "learning_rate": numbers(trials / 1000), "weight_decay": numbers(10),
				"max_epochs": trellisv1.AxisOf(epochs), "batch_size": trellisv1.AxisOf(256),
			},
		}},
	}}
	index := uint64(1)
	ok(b, store.CreateStudy(index, timeOf(index), study))
	index++
	ok(b, store.SetWorker(index, timeOf(index), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1024,
	}))
	noise := rand.New(rand.NewPCG(1, 2))
	for trained := 0; trained < int(float64(trials)*part); {
		runs, err := store.Snapshot().NextRuns(nil, 1000)
		ok(b, err)
		grants := make([]*trellisv1.Grant, len(runs))
		for i, run := range runs {
			grants[i] = &trellisv1.Grant{Study: "s", Run: run.Id, Worker: "w", Place: proto.Uint32(run.Place)}
		}
		index++
		granted := index
		for _, err := range store.Grant(granted, timeOf(granted), grants) {
			ok(b, err)
		}
		var entries []*trellisv1.RecordCommand_Entry
		for i, run := range runs {
			losses := make([]float64, epochs)
			for epoch := range losses {
				losses[epoch] = noise.Float64() + 1/float64(epoch+1)
			}
			attempt := results.AttemptNumber(granted, i)
			entries = append(entries, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
				Reports: &trellisv1.Reports{
					Study: "s", Run: run.Id, Attempt: attempt, FirstEpoch: 1, TrainLoss: losses, ValidationLoss: losses,
					TestLoss: map[uint32]float64{uint32(epochs): losses[epochs-1]},
					Seconds:  slices.Repeat([]float64{0.01}, epochs),
				},
			}}, &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{
				Outcome: &trellisv1.Outcome{Study: "s", Run: run.Id, Attempt: attempt, Result: &trellisv1.Outcome_Success_{
					Success: &trellisv1.Outcome_Success{
						Epochs: uint32(epochs), StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
					},
				}},
			}})
		}
		index++
		for _, err := range store.Record(index, timeOf(index), trajectory.LatestRules, entries) {
			ok(b, err)
		}
		trained += len(runs)
	}
	return store
}

// BenchmarkCharts measures every chart of studies of which nine tenths have been trained.

func BenchmarkCharts(b *testing.B) {
	for _, size := range []struct{ trials, epochs int }{{10_000, 100}, {1_000_000, 10}} {
		store := newLarge(b, size.trials, size.epochs, 0.9)
		ask := map[string]func() (proto.Message, error){
			"curves": func() (proto.Message, error) {
				return Curves(store.Snapshot(), &trellisv1.GetCurvesRequest{Study: "s"})
			},
			"curves=10000": func() (proto.Message, error) {
				return Curves(store.Snapshot(), &trellisv1.GetCurvesRequest{Study: "s", Sample: proto.Uint32(9900), Open: proto.Uint32(0)})
			},
			"points": func() (proto.Message, error) {
				return Points(store.Snapshot(), &trellisv1.GetPointsRequest{Study: "s"})
			},
			"points/fields": func() (proto.Message, error) {
				return Points(store.Snapshot(), &trellisv1.GetPointsRequest{Study: "s", Fields: []string{"test_loss", "epochs"}})
			},
			"heat map": func() (proto.Message, error) {
				return HeatMap(store.Snapshot(), &trellisv1.GetHeatMapRequest{Study: "s", X: "latent_dim", Y: "learning_rate"})
			},
			"heat map/slider": func() (proto.Message, error) {
				return HeatMap(store.Snapshot(), &trellisv1.GetHeatMapRequest{
					Study: "s", X: "latent_dim", Y: "learning_rate", Filter: "weight_decay == 3.0 && seed == 1",
				})
			},
			"heat map/filter": func() (proto.Message, error) {
				return HeatMap(store.Snapshot(), &trellisv1.GetHeatMapRequest{
					Study: "s", X: "latent_dim", Y: "learning_rate", Filter: "objective < 0.5 && best_epoch > 2",
				})
			},
			"history": func() (proto.Message, error) {
				return History(store.Snapshot(), &trellisv1.GetHistoryRequest{Study: "s"})
			},
			"distribution": func() (proto.Message, error) {
				return Distribution(store.Snapshot(), &trellisv1.GetDistributionRequest{Study: "s"})
			},
			"coverage": func() (proto.Message, error) {
				return Coverage(store.Snapshot(), &trellisv1.GetCoverageRequest{Study: "s"})
			},
			"coverage/axes": func() (proto.Message, error) {
				return Coverage(store.Snapshot(), &trellisv1.GetCoverageRequest{Study: "s", X: "latent_dim", Y: "learning_rate"})
			},
			"time line": func() (proto.Message, error) {
				return TimeLine(store.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s"})
			},
		}
		names := make([]string, 0, len(ask))
		for name := range ask {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			b.Run(fmt.Sprintf("%s/trials=%d", name, size.trials), func(b *testing.B) {
				bytes, before := 0, processorTime()
				for b.Loop() {
					answer, err := ask[name]()
					ok(b, err)
					bytes = proto.Size(answer)
				}
				b.ReportMetric(float64(bytes), "bytes")
				b.ReportMetric(float64((processorTime()-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// processorTime is what the process has had of all processors: on a machine that does other things too, it says more
// than the time on the wall.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
