package planning

import (
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// million are specs of 1,000,000 runs, or of more with a budget for as many.
func million() map[string]*trellisv1.StudySpec {
	numbers := func(n int) *trellisv1.Axis {
		values := make([]float64, n)
		for i := range values {
			values[i] = 1e-4 * (1 + float64(i)/100)
		}
		return trellisv1.AxisOf(values...)
	}
	integers := func(n uint32) *trellisv1.Axis {
		values := make([]uint32, n)
		for i := range values {
			values[i] = uint32(i) + 1
		}
		return trellisv1.AxisOf(values...)
	}
	spec := func(order trellisv1.Order, learningRates, weightDecays int, latentDims, seeds uint32) *trellisv1.StudySpec {
		return grid.WithDefaults(&trellisv1.StudySpec{
			Name: "a", Model: "synthetic", Order: order, Seeds: integers(seeds),
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"learning_rate": numbers(learningRates), "weight_decay": numbers(weightDecays), "latent_dim": integers(latentDims),
				"batch_size": trellisv1.AxisOf[uint32](256), "max_epochs": trellisv1.AxisOf[uint32](10),
			}}},
		})
	}
	longest, random := trellisv1.Order_ORDER_LONGEST, trellisv1.Order_ORDER_RANDOM
	budget := spec(random, 1000, 1000, 1000, 1000)
	budget.Budget = &trellisv1.Budget{Trials: 1_000_000}
	where := spec(longest, 1000, 10, 10, 11)
	where.Where = "learning_rate < 0.00105 || latent_dim != 3"
	where.Seeds = integers(10)
	union := spec(longest, 1000, 10, 10, 5)
	union.Grid = append(union.Grid, proto.CloneOf(union.Grid[0]))
	union.Grid[1].Axes["weight_decay"] = trellisv1.AxisOf(0, 1e-4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 2, 3)
	return map[string]*trellisv1.StudySpec{
		"seeds": spec(longest, 100, 10, 10, 100), "values": spec(longest, 1000, 1000, 1, 1), "random": spec(random, 100, 100, 100, 1),
		"10^12 points": budget, "where": where, "union": union,
	}
}

func BenchmarkStudy(b *testing.B) {
	for name, spec := range million() {
		b.Run(name, func(b *testing.B) {
			store, err := results.New()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				plan, _, err := Study(store.Snapshot(), &trellisv1.Study{Name: "a", Spec: spec, Numerics: "1"})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(plan.Runs), "runs")
			}
		})
	}
}

func BenchmarkExtension(b *testing.B) {
	for name, spec := range million() {
		for _, axis := range []string{"max_epochs", "latent_dim", "budget"} {
			if (axis == "budget") != (spec.Budget != nil) || axis == "max_epochs" && len(spec.Seeds.GetValues()) == 1 {
				continue
			}
			b.Run(name+"/"+axis, func(b *testing.B) {
				store, err := results.New()
				if err != nil {
					b.Fatal(err)
				}
				own, more := proto.CloneOf(spec), proto.CloneOf(spec)
				switch axis {
				case "budget":
					own.Budget.Trials = 1000
				case "max_epochs":
					own.Seeds = trellisv1.ListOf(own.Seeds.GetValues()[:(len(own.Seeds.GetValues())+1)/2]...)
					more.Seeds = own.Seeds
					for i := range own.Grid {
						more.Grid[i].Axes[axis] = trellisv1.AxisOf[uint32](10, 20)
					}
				default:
					for i := range own.Grid {
						values := more.Grid[i].Axes[axis].GetValues()
						own.Grid[i].Axes[axis] = trellisv1.ListOf(values[:(len(values)+1)/2]...)
					}
				}
				now := timestamppb.New(time.Unix(1e9, 0))
				if err := store.CreateStudy(1, now, &trellisv1.Study{Name: "a", Spec: own, Numerics: "1"}); err != nil {
					b.Fatal(err)
				}
				study, err := store.Snapshot().Study(nil, "a")
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					plan, _, err := Extension(store.Snapshot(), study, more, now.AsTime())
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(plan.Runs+plan.RunsLengthened), "runs")
				}
			})
		}
	}
}

// A plan of a million runs takes no memory for each of them.
func TestAPlanOfAMillionRunsIsSmall(t *testing.T) {
	for name, spec := range million() {
		store, err := results.New()
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		plan, _, err := Study(store.Snapshot(), &trellisv1.Study{Name: "a", Spec: spec, Numerics: "1"})
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		most := uint64(20 << 20)
		if name == "union" {
			most *= 3 // The grids overlap, so that runs are found by looking at all points.
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > most {
			t.Errorf("%s: %d runs took %d bytes", name, plan.Runs, took)
		}
	}
}
