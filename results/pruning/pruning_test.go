package pruning

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// everyMethod returns the settings of all rules that a spec may name, empty, by the names of their fields.
func everyMethod() map[protoreflect.Name]*trellisv1.Pruning {
	fields := new(trellisv1.Pruning).ProtoReflect().Descriptor().Oneofs().ByName("method").Fields()
	methods := map[protoreflect.Name]*trellisv1.Pruning{}
	for i := range fields.Len() {
		settings := new(trellisv1.Pruning)
		message := settings.ProtoReflect()
		message.Set(fields.Get(i), message.NewField(fields.Get(i)))
		methods[fields.Get(i).Name()] = settings
	}
	return methods
}

// TestEveryRule: what a spec may name is registered, has a name and defaults that make sense, and says what does not.
func TestEveryRule(t *testing.T) {
	names := map[string]bool{}
	for field, settings := range everyMethod() {
		t.Run(string(field), func(t *testing.T) {
			name := Name(settings)
			if name == "" || names[name] {
				t.Fatalf("it is called %q, as none or another: is it registered?", name)
			}
			names[name] = true
			complete := WithDefaults(settings)
			if proto.Equal(complete, settings) || !proto.Equal(WithDefaults(complete), complete) {
				t.Errorf("defaults of %v: %v, and with defaults %v", settings, complete, WithDefaults(complete))
			}
			first := First(complete)
			if first == 0 || first != uint32(Of(&trellisv1.StudySpec{Pruning: complete}).Next(0)) {
				t.Errorf("the first rung is %d", first)
			}
			if problem := Check(complete, first+1); problem != nil {
				t.Errorf("runs of %d epochs: %v", first+1, problem)
			}
			problem := Check(complete, first)
			if problem == nil || !strings.Contains(problem.Text, "none is longer than") {
				t.Fatalf("runs of %d epochs: %v", first, problem)
			}
			message := complete.ProtoReflect().Descriptor()
			for _, step := range problem.Path {
				at := message.Fields().ByName(protoreflect.Name(step))
				if at == nil {
					t.Fatalf("the path %v leads nowhere at %s", problem.Path, step)
				}
				message = at.Message()
			}
		})
	}
}

// TestRules draws settings, valid or not: rungs ascend, results are numbers or rank last, and of more runs no fewer go
// on.
func TestRules(t *testing.T) {
	draw := func(t *rapid.T, of *trellisv1.Pruning) *trellisv1.Pruning {
		drawn := proto.CloneOf(of)
		drawn.ProtoReflect().Range(func(_ protoreflect.FieldDescriptor, settings protoreflect.Value) bool {
			fields := settings.Message().Descriptor().Fields()
			for i := range fields.Len() {
				value := rapid.Uint32Range(0, 20).Draw(t, string(fields.Get(i).Name()))
				settings.Message().Set(fields.Get(i), protoreflect.ValueOfUint32(value))
			}
			return true
		})
		return drawn
	}
	for field, of := range everyMethod() {
		t.Run(string(field), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				rule := Of(&trellisv1.StudySpec{Pruning: draw(t, of)})
				epoch := rapid.Uint32Range(0, 10_000).Draw(t, "epoch")
				if next := rule.Next(epoch); next <= uint64(epoch) || rule.Next(epoch+1) < next {
					t.Fatalf("the rungs above %d and %d are %d and %d", epoch, epoch+1, next, rule.Next(epoch+1))
				}
				losses := rapid.SliceOfN(rapid.SampledFrom([]float64{
					math.NaN(), math.Inf(1), math.Inf(-1), 0.5, 0.25, -1,
				}), 1, 5).Draw(t, "losses")
				if result := rule.Result(At(nil, objective.Values{Numbers: losses}, uint32(len(losses)))); math.IsNaN(result) || math.IsInf(result, -1) {
					t.Fatalf("the result of %v is %v", losses, result)
				}
				n := rapid.IntRange(0, 1000).Draw(t, "n")
				if best := rule.Best(n); best < 0 || best > n || rule.Best(n+1) < best {
					t.Fatalf("of %d and %d go on %d and %d", n, n+1, best, rule.Best(n+1))
				}
			})
		})
	}
}

// TestExact: a study without pruning has no rule.
func TestExact(t *testing.T) {
	if Of(nil) != nil || Name(nil) != "" || WithDefaults(nil) != nil || Check(nil, 0) != nil || First(nil) != 0 {
		t.Error("a study that does not prune has a rule")
	}
	study := &trellisv1.Study{Spec: &trellisv1.StudySpec{}}
	run := &trellisv1.Run{Epochs: 3, Parameters: &trellisv1.Parameters{MaxEpochs: 30}}
	if stage := Stage(study, run); stage != 30 {
		t.Errorf("its stage ends at %d", stage)
	}
	study.Spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
		Asha: &trellisv1.SuccessiveHalving{MinEpochs: 5, ReductionFactor: 3},
	}}
	for epochs, want := range map[uint32]uint32{0: 5, 4: 5, 5: 15, 14: 15, 15: 30, 29: 30} {
		run.Epochs = epochs
		if stage := Stage(study, run); stage != want {
			t.Errorf("after %d epochs, the stage ends at %d, want %d", epochs, stage, want)
		}
	}
	run.Spared = true
	if stage := Stage(study, run); stage != 30 {
		t.Errorf("the stage of a run that is spared ends at %d", stage)
	}
}

// TestNames: what is not exact is called by its name.
func TestNames(t *testing.T) {
	for want, settings := range map[string]*trellisv1.Pruning{
		"successive halving (ASHA)": {Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{}}},
		"median stopping":           {Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{}}},
	} {
		if got := Name(settings); got != want {
			t.Errorf("%v is called %q, want %q", settings, got, want)
		}
	}
}
