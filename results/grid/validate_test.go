//go:build !race

package grid

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"buf.build/go/protoyaml"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestValidateMessages(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(spec *trellisv1.StudySpec)
		// want are the violations, as "path: message". None: the spec is valid.
		want []string
	}{
		{"valid", func(*trellisv1.StudySpec) {}, nil},
		{"largest study", func(spec *trellisv1.StudySpec) { proto.Reset(spec); proto.Merge(spec, largeSpec()) }, nil},
		{"largest grid", func(spec *trellisv1.StudySpec) {
			proto.Reset(spec)
			proto.Merge(spec, largeSpec())
			spec.Grid = spec.Grid[:1]
			spec.Grid[0].Axes["learning_rate"].Log10.Count = 100
		}, nil},
		{"empty axis", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["latent_dim"] = integers() }, []string{
			`grid[0].axes["latent_dim"]: an axis needs at least one value: a list such as [4, 8], or one range such as ` +
				"{log2: {from: 4, to: 32, count: 4}}",
		}},
		{"missing axis", func(spec *trellisv1.StudySpec) { delete(spec.Grid[0].Axes, "max_epochs") }, []string{
			`grid[0].axes["max_epochs"]: value is required`,
		}},
		{"no grid", func(spec *trellisv1.StudySpec) { spec.Grid = nil }, []string{"grid: value is required"}},
		{"learning rate 0", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["learning_rate"] = numbers(0.1, 0) }, []string{
			`grid[0].axes["learning_rate"].numbers[1]: learning_rate takes numbers above 0 and at most 1000, not 0`,
		}},
		{"negative learning rate", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Linear: newRange(-1, 1, 3)}
		}, []string{`grid[0].axes["learning_rate"].linear: learning_rate takes numbers above 0 and at most 1000, not -1`}},
		{"latent dimension 0", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["latent_dim"] = integers(0) }, []string{
			`grid[0].axes["latent_dim"].integers[0]: latent_dim takes whole numbers between 1 and 784, not 0`,
		}},
		{"latent dimension 785", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["latent_dim"] = integers(785) }, []string{
			`grid[0].axes["latent_dim"].integers[0]: latent_dim takes whole numbers between 1 and 784, not 785`,
		}},
		{"range runs down", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["weight_decay"] = &trellisv1.Axis{Log10: newRange(1e-2, 1e-4, 3)}
		}, []string{`grid[0].axes["weight_decay"].log10: from must be smaller than to in a range`}},
		{
			"value twice in a list", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["latent_dim"] = integers(8, 4, 8) },
			[]string{
				`grid[0].axes["latent_dim"].integers: 8 stands twice in the list, as value 1 and as value 3: leave one of them out`,
			},
		},
		{"number twice in a list", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["learning_rate"] = numbers(1e-3, 2e-3, 0.002)
		}, []string{`grid[0].axes["learning_rate"].numbers: 0.002 stands twice in the list, as value 2 and as value 3: ` +
			"leave one of them out"}},
		{"seed twice", func(spec *trellisv1.StudySpec) { spec.Seeds = integers(0, 0) }, []string{
			"seeds.integers: 0 stands twice in the list, as value 1 and as value 2: leave one of them out",
		}},
		{"zero and minus zero", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["weight_decay"] = numbers(0, math.Copysign(0, -1))
		}, []string{`grid[0].axes["weight_decay"].numbers: 0 stands twice in the list, as value 1 and as value 2: ` +
			"leave one of them out"}},
		{"fractions on a linear range", func(spec *trellisv1.StudySpec) {
			spec.Grid = append(spec.Grid, proto.CloneOf(spec.Grid[0]))
			spec.Grid[1].Axes["latent_dim"] = &trellisv1.Axis{Linear: newRange(4, 32, 4)}
		}, []string{`grid[1].axes["latent_dim"].linear: point 2 of 4 is 13.3333333333, and this parameter takes whole numbers: ` +
			"count: 5 gives 4, 11, 18, 25, 32, or write a list"}},
		{"fractions on a logarithmic range", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["batch_size"] = &trellisv1.Axis{Log10: newRange(64, 1024, 4)}
		}, []string{`grid[0].axes["batch_size"].log10: point 2 of 4 is 161.269894387, and this parameter takes whole numbers: ` +
			"count: 5 gives 64, 128, 256, 512, 1024, or write a list"}},
		{"more points than whole numbers", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["max_epochs"] = &trellisv1.Axis{Linear: newRange(10, 40, 100)}
		}, []string{`grid[0].axes["max_epochs"].linear: point 2 of 100 is 10.303030303, and this parameter takes whole numbers: ` +
			"count: 31 gives 10, 11, 12, ..., 40, or write a list"}},
		{"far from any count that fits", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["max_epochs"] = integers(1)
			spec.Grid[0].Axes["latent_dim"], spec.Grid[0].Axes["weight_decay"] = integers(1), integers(0)
			spec.Seeds = &trellisv1.Axis{Linear: newRange(0, 4294967290, 10000)}
		}, []string{"seeds.linear: point 2 of 10000 is 429539.682968, and this parameter takes whole numbers: " +
			"count: 191 gives 0, 22605091, 45210182, ..., 4294967290, or write a list"}},
		{"range from a fraction", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Linear: newRange(1.5, 4, 2)}
		}, []string{`grid[0].axes["latent_dim"].linear: from: 1.5 is not a whole number, which this parameter takes`}},
		{"range to a fraction", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Log2: newRange(1, 4.25, 2)}
		}, []string{`grid[0].axes["latent_dim"].log2: to: 4.25 is not a whole number, which this parameter takes`}},
		{"range that collapses", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Linear: newRange(1, 1.000000000001, 5)}
		}, []string{`grid[0].axes["learning_rate"].linear: points 1 and 2 of this range are no longer distinct when they are ` +
			"rounded to 12 significant digits: choose a smaller count"}},
		{"everything that can be found at once", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Linear: newRange(4, 32, 4)}
			spec.Seeds = &trellisv1.Axis{Linear: newRange(0, 3, 3)}
		}, []string{
			"seeds.linear: point 2 of 3 is 1.5, and this parameter takes whole numbers: count: 4 gives 0, 1, 2, 3, " +
				"or write a list",
			`grid[0].axes["latent_dim"].linear: point 2 of 4 is 13.3333333333, and this parameter takes whole numbers: ` +
				"count: 5 gives 4, 11, 18, 25, 32, or write a list",
		}},
		{
			"a grid of 10^12 points", func(spec *trellisv1.StudySpec) {
				proto.Reset(spec)
				proto.Merge(spec,
					hugeSpec())
			},
			[]string{"grid[0]: this grid has 1,000,000,000,000 points (500 latent_dim x 10,000 learning_rate x " +
				"10,000 weight_decay x 20 max_epochs); a study has at most 1,000,000 without a budget such as {trials: 500}"},
		},
		{"a grid of 10^12 points with other errors", func(spec *trellisv1.StudySpec) {
			proto.Reset(spec)
			proto.Merge(spec, hugeSpec())
			spec.Grid[0].Axes["weight_decay"].Linear.To = 2000
		}, []string{
			`grid[0].axes["weight_decay"].linear: weight_decay takes numbers between 0 and 1000, not 2000`,
			"grid[0]: this grid has 1,000,000,000,000 points (500 latent_dim x 10,000 learning_rate x " +
				"10,000 weight_decay x 20 max_epochs); a study has at most 1,000,000 without a budget such as {trials: 500}",
		}},
		{"a product that overflows", func(spec *trellisv1.StudySpec) {
			spec.Grid[0] = &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
				"latent_dim":    {Linear: newRange(1, 784, math.MaxUint32)},
				"learning_rate": {Linear: newRange(1, 784, math.MaxUint32)},
				"weight_decay":  {Linear: newRange(1, 784, math.MaxUint32)},
				"max_epochs":    integers(1),
			}}
		}, []string{
			`grid[0].axes["latent_dim"].linear.count: a range must have between 2 and 10000 points`,
			`grid[0].axes["learning_rate"].linear.count: a range must have between 2 and 10000 points`,
			`grid[0].axes["weight_decay"].linear.count: a range must have between 2 and 10000 points`,
			"grid[0]: this grid has more than 18,446,744,073,709,551,614 points (4,294,967,295 latent_dim x " +
				"4,294,967,295 learning_rate x 4,294,967,295 weight_decay); a study has at most 1,000,000 without a budget such as {trials: 500}",
		}},
		{"too many grids' points", func(spec *trellisv1.StudySpec) {
			proto.Reset(spec)
			proto.Merge(spec, largeSpec())
			spec.Grid = append(spec.Grid, newSpec().Grid...)
		}, []string{"grid: the study has 1,000,108 trials (1,000,108 points of its grids x 1 seeds); " +
			"a study has at most 1,000,000 without a budget such as {trials: 500}"}},
		{"too many seeds", func(spec *trellisv1.StudySpec) {
			spec.Seeds = &trellisv1.Axis{Linear: newRange(0, 9999, 10_000)}
		}, []string{"grid: the study has 1,080,000 trials (108 points of its grids x 10,000 seeds); " +
			"a study has at most 1,000,000 without a budget such as {trials: 500}"}},
		{"pruning that would never look", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["max_epochs"] = integers(20, 30)
			spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{MinEpochs: 30}}}
		}, []string{"pruning.asha.min_epochs: runs would be judged from epoch 30 on, but none is longer than 30: " +
			"lower min_epochs, train longer, or leave pruning out"}},
		{"median pruning by default, too late", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["max_epochs"] = integers(10)
			spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{}}}
		}, []string{"pruning.median.min_epochs: runs would be judged from epoch 10 on, but none is longer than 10: " +
			"lower min_epochs, train longer, or leave pruning out"}},
		{"pruning at the last moment", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["max_epochs"] = integers(20, 31)
			spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{MinEpochs: 30}}}
		}, nil},
		{"settle with just the seeds that there are", func(spec *trellisv1.StudySpec) {
			spec.Seeds, spec.Settle = integers(1, 2, 3), &trellisv1.Settle{MaxSeeds: 3}
		}, nil},
		{"settle within less than the seeds that there are", func(spec *trellisv1.StudySpec) {
			spec.Seeds, spec.Settle = integers(1, 2, 3), &trellisv1.Settle{MaxSeeds: 2}
		}, []string{"settle.max_seeds: every configuration has 3 seeds to begin with, more than the 2 that it may have at most: " +
			"raise max_seeds, or give fewer seeds"}},
		{"settle by chance", func(spec *trellisv1.StudySpec) {
			spec.Settle = &trellisv1.Settle{
				MaxSeeds:   3,
				Confidence: 0.4,
			}
		}, []string{
			"settle.confidence: confidence must be between 0.5 and 0.9999, for example 0.95",
		}},
		{"pruning by no method", func(spec *trellisv1.StudySpec) { spec.Pruning = &trellisv1.Pruning{} }, []string{
			"pruning.method: exactly one field is required in oneof",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := newSpec()
			test.spoil(spec)
			before := proto.CloneOf(spec)
			err := testModels.Validate(spec)
			if !proto.Equal(spec, before) {
				t.Error("validation changed the spec")
			}
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, v := range invalid.Violations {
				got = append(got, v.String())
				if v.Proto.GetRuleId() == "" {
					t.Errorf("%s: it names no rule", v)
				}
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestHugeGridTakesNoMemory: what a refusal costs does not depend on how large the grid is.
func TestHugeGridTakesNoMemory(t *testing.T) {
	spec := hugeSpec()
	if testModels.Validate(spec) == nil { // Once, since the rules are compiled when they are first used.
		t.Fatal("10^12 points were accepted")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := testModels.Validate(spec)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 256<<10 {
		t.Errorf("refusing 10^12 points (%v) took %d bytes", err, used)
	}
}

// TestNewRefuses what would otherwise end in a panic, without relying on the messages' rules.
func TestNewRefuses(t *testing.T) {
	nan, infinity := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		name  string
		spoil func(spec *trellisv1.StudySpec)
		want  string
	}{
		{"nothing", func(spec *trellisv1.StudySpec) { proto.Reset(spec) }, "grid: a study needs at least one grid"},
		{
			"empty grid", func(spec *trellisv1.StudySpec) { spec.Grid[0] = &trellisv1.Grid{} },
			`grid[0].axes["max_epochs"]: value is required`,
		},
		{"empty seeds", func(spec *trellisv1.StudySpec) { spec.Seeds = integers() }, "seeds: an axis needs"},
		{
			"NaN", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["weight_decay"] = numbers(0, nan) },
			`grid[0].axes["weight_decay"].numbers[1]: NaN is not a number`,
		},
		{"range from NaN", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["weight_decay"] = &trellisv1.Axis{Linear: newRange(nan, 1, 3)}
		}, `grid[0].axes["weight_decay"].linear: a range must have at least 2 points`},
		{"range to infinity", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Log2: newRange(1, infinity, 3)}
		}, `grid[0].axes["learning_rate"].log2: a range must have at least 2 points`},
		{"logarithm of 0", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["learning_rate"] = &trellisv1.Axis{Log2: newRange(0, 1, 3)}
		}, `grid[0].axes["learning_rate"].log2: a range must have at least 2 points`},
		{"one point", func(spec *trellisv1.StudySpec) {
			spec.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Linear: newRange(1, 2, 1)}
		}, `grid[0].axes["latent_dim"].linear: a range must have at least 2 points`},
		{
			"value twice", func(spec *trellisv1.StudySpec) { spec.Grid[0].Axes["latent_dim"] = integers(1, 2, 1) },
			`grid[0].axes["latent_dim"].integers: 1 stands twice`,
		},
		{
			"10^12 points", func(spec *trellisv1.StudySpec) { proto.Reset(spec); proto.Merge(spec, hugeSpec()) },
			"grid[0]: this grid has 1,000,000,000,000 points",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := newSpec()
			test.spoil(spec)
			_, err := New(spec)
			if _, ok := errors.AsType[*protovalidate.ValidationError](err); !ok ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
			if _, _, err := Expand(spec, newDataSet(), "1", nil); err == nil {
				t.Error("Expand accepted it")
			}
		})
	}
}

// yamlValidator is how the command line uses Validate.
type yamlValidator struct{}

func (yamlValidator) Validate(message proto.Message) error {
	return testModels.Validate(message.(*trellisv1.StudySpec))
}

// TestViolationsInYAML: our own violations print with line, column and snippet, as those of the rules do.
func TestViolationsInYAML(t *testing.T) {
	const text = `name: paper
data: mnist
model: conv-autoencoder
grid:
  - axes:
      latent_dim: {linear: {from: 4, to: 32, count: 4}}
      learning_rate: {numbers: [1e-3, 1e-3]}
      max_epochs: {integers: [50]}
`
	for _, test := range []struct{ name, text, want string }{
		{
			"a range", strings.Replace(text, ", 1e-3", "", 1),
			`grid.yaml:6:28 grid[0].axes["latent_dim"].linear: point 2 of 4 is 13.3333333333, and this parameter takes whole ` +
				`numbers: count: 5 gives 4, 11, 18, 25, 32, or write a list (axis.whole)
   6 |       latent_dim: {linear: {from: 4, to: 32, count: 4}}
   6 | ...........................^
`,
		},
		{"a list", text, `grid.yaml:7:32 grid[0].axes["learning_rate"].numbers: 0.001 stands twice in the list, as value 1 and as ` +
			`value 2: leave one of them out (axis.distinct)
   7 |       learning_rate: {numbers: [1e-3, 1e-3]}
   7 | ...............................^
`},
		{
			"a grid", strings.NewReplacer(", 1e-3", "", "32, count: 4", "403, count: 400", "50]}",
				"50]}\n      weight_decay: {linear: {from: 0, to: 1, count: 10000}}").Replace(text),
			`grid.yaml:5:5 grid[0]: this grid has 4,000,000 points (400 latent_dim x 10,000 weight_decay` +
				`); a study has at most 1,000,000 without a budget such as {trials: 500} (grid.size)
   5 |   - axes:
   5 | ....^
`,
		},
	} {
		options := protoyaml.UnmarshalOptions{Path: "grid.yaml", Validator: yamlValidator{}}
		err := options.Unmarshal([]byte(test.text), &trellisv1.StudySpec{})
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: got\n%v\nwant\n%s", test.name, err, test.want)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, spec := range []struct {
		name string
		spec *trellisv1.StudySpec
	}{{"paper", newSpec()}, {"points=1M", largeSpec()}, {"points=1e12", hugeSpec()}} {
		b.Run(spec.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = testModels.Validate(spec.spec)
			}
		})
	}
}
