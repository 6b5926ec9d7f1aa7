package grid

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// RunID identifies a run by everything that determines its results bit for bit. The id is 32 lower-case hexadecimal
// digits: the first half of the SHA-256 of a text like the one below. Every line ends with a newline, and real numbers
// are written exactly, in hexadecimal (as by %x, or C's %a):
//
//	trellis run 1
//	model "conv-autoencoder"
//	data_set "<digest>"
//	numerics "1"
//	split 50000 10000
//	early_stopping 10 0x1.4f8b588e368f1p-17
//	latent_dim 16
//	learning_rate 0x1.0624dd2f1a9fcp-10
//	weight_decay 0x0p+00
//	seed 1
//	batch_size 256
//	value "noise" 0x1p-01
//
// There is a line for each other parameter, ordered by name: numbers, whole or not, as above, and of another kind
//
//	value "optimizer" "adam"
//	value "amp" true
//
// Axes that came after runs without them had been trained have no line where they have the value that these had, as
// shift = 0 of a classifier, or the paper's filters: see later. All parameters of a program have such lines, also
// those of the names above, which are 0 there: what a program is not given is not 0.
//
// A run that starts from pretrained weights has another line, with the digest of their checkpoint:
//
//	pretrained "<sha256>"
//
// Early stopping by another metric than the lowest validation loss has a line, and so has another objective of a model,
// by which the weights are chosen that are kept and tested:
//
//	early_stopping_metric "validation_accuracy" 2
//	objective "validation_accuracy" 2 1 0
//
// A program has these lines, with one for each part of its command and each variable of its environment, the latter
// ordered by name:
//
//	command "python"
//	command "train.py"
//	files "<sha256>"
//	environment "OMP_NUM_THREADS" "1"
//	reports "<pattern>"
//
// and, if what it reports depends on max_epochs:
//
//	max_epochs 30
//
// A program that is declared deterministic may depend on what it sees of its resources, as they are by default: one
// thread (OMP_NUM_THREADS and the like) and no GPU (CUDA_VISIBLE_DEVICES). What is otherwise has a line:
//
//	threads 4
//	gpus 1
//
// Strings are quoted as in Go. A message that is not set has zeros. max_epochs, milestones, synthetic.epoch_time,
// pretrained_size and input, which follows from the data set, have no influence. Any change here gives every run a new
// identity, so results of older studies would no longer be found. The number in the first line counts such changes.
func RunID(config *trellisv1.RunConfig) string { return NewIdentity(config).ID(config.GetParameters()) }

// Identity has what the ids of runs that differ in their parameters alone have in common.
type Identity struct {
	// head and tail are the text before and after the lines of parameters, and end that after the line of max_epochs.
	head, tail, end []byte
	// model is its name; "" for a program.
	model string
	// program says that there is one, and apart that max_epochs has a line.
	program, apart bool
}

// NewIdentity returns the identity of the runs of a config, whatever its parameters are.
func NewIdentity(config *trellisv1.RunConfig) *Identity {
	i := &Identity{
		model: config.GetModel(), program: config.GetProgram() != nil, apart: runsApart(config.GetProgram()),
	}
	i.head = fmt.Appendf(nil, `trellis run 1
model %q
data_set %q
numerics %q
split %d %d
early_stopping %d %x
`,
		config.GetModel(), config.GetDataSet(), config.GetNumerics(),
		config.GetSplit().GetTrain(), config.GetSplit().GetValidation(),
		config.GetEarlyStopping().GetPatience(), config.GetEarlyStopping().GetMinDelta())
	if config.GetPretrained() != "" {
		i.tail = fmt.Appendf(i.tail, "pretrained %q\n", config.GetPretrained())
	}
	if stopping := config.GetEarlyStopping(); stopping.GetMetric() != "" || stopping.GetDirection() != 0 {
		i.tail = fmt.Appendf(i.tail, "early_stopping_metric %q %d\n", stopping.GetMetric(), stopping.GetDirection())
	}
	if i.program {
		i.tail = append(i.tail, programLines(config.GetProgram())...)
		i.end = resourceLines(config.GetProgram(), config.GetResources())
	} else if objective := config.GetObjective(); objective != nil {
		i.tail = fmt.Appendf(i.tail, "objective %q %d %d %d\n", objective.GetMetric(), objective.GetDirection(),
			objective.GetOf(), objective.GetEpochs())
	}
	return i
}

// ID returns the id of the run with these parameters, as RunID does. It is made for a million runs.
func (i *Identity) ID(p *trellisv1.Parameters) string {
	var room [1024]byte
	text := append(room[:0], i.head...)
	old := p // has the parameters that have a line by themselves.
	if i.program {
		old = nil
	}
	text = wholeLine(text, "latent_dim ", whole(old, LatentDim))
	text = realLine(text, "learning_rate ", real(old, LearningRate))
	text = realLine(text, "weight_decay ", real(old, WeightDecay))
	text = wholeLine(text, "seed ", p.GetSeed())
	text = wholeLine(text, "batch_size ", whole(old, BatchSize))
	text = append(valueLines(text, i.model, p, old), i.tail...)
	if i.apart {
		text = wholeLine(text, "max_epochs ", p.GetMaxEpochs())
	}
	sum := sha256.Sum256(append(text, i.end...))
	return hex.EncodeToString(sum[:16])
}

func wholeLine(text []byte, start string, n uint32) []byte {
	return append(strconv.AppendUint(append(text, start...), uint64(n), 10), '\n')
}

// realLine writes a number exactly, as %x does.
func realLine(text []byte, start string, x float64) []byte {
	return append(strconv.AppendFloat(append(text, start...), x, 'x', -1, 64), '\n')
}

// programLines writes what determines a program's reports besides its parameters and max_epochs, as RunID has it.
// Whether it resumes, and how long it may take to end, have no influence.
func programLines(program *trellisv1.Program) []byte {
	var text []byte
	for _, part := range program.GetCommand() {
		text = fmt.Appendf(text, "command %q\n", part)
	}
	text = fmt.Appendf(text, "files %q\n", program.GetFiles().GetSha256())
	for _, name := range slices.Sorted(maps.Keys(program.GetEnvironment())) {
		text = fmt.Appendf(text, "environment %q %q\n", name, program.GetEnvironment()[name])
	}
	return fmt.Appendf(text, "reports %q\n", program.GetReports().GetPattern())
}

// resourceLines writes what a deterministic program sees of its resources, as RunID has it.
func resourceLines(program *trellisv1.Program, resources *trellisv1.Resources) []byte {
	var text []byte
	if !program.GetDeterministic() {
		return nil
	}
	if threads := resources.Threads(); threads != 1 {
		text = fmt.Appendf(text, "threads %d\n", threads)
	}
	if gpus := resources.GetGpus(); gpus != 0 {
		text = fmt.Appendf(text, "gpus %d\n", gpus)
	}
	return text
}

// later are axes that came after runs without them had been trained, by model, each with the value that is the same
// as no such axis. It belongs to the text above, not to the models: a study's trials must not depend on which models
// a coordinator knows. It also holds for other models if it is under "".
var later = map[string]map[string]ValueKey{
	"":                        {"shift": numberKey(0)},
	"conv-autoencoder":        laterShape(map[string]ValueKey{"loss": textKey("mse")}),
	"denoising-autoencoder":   laterShape(map[string]ValueKey{"loss": textKey("mse")}),
	"variational-autoencoder": {"filters": numberKey(64), "depth": numberKey(2), "kernel": numberKey(4)},
	"classifier":              laterShape(nil),
}

// laterShape adds the axes of the autoencoder's shape to others.
func laterShape(others map[string]ValueKey) map[string]ValueKey {
	all := map[string]ValueKey{
		"filters": numberKey(8), "depth": numberKey(3), "kernel": numberKey(3), "hidden": numberKey(64),
	}
	maps.Copy(all, others)
	return all
}

func numberKey(x float64) ValueKey { return KeyOf(trellisv1.NumberValue(x)) }

func textKey(text string) ValueKey { return KeyOf(trellisv1.TextValue(text)) }

// unsaidIn returns the key of the value of a model's parameter that has no line, if there is one.
func unsaidIn(model, name string) (ValueKey, bool) {
	if key, ok := later[model][name]; ok {
		return key, true
	}
	key, ok := later[""][name]
	return key, ok
}

// valueLines appends parameters as RunID has them, but for those that old has in lines by themselves.
func valueLines(text []byte, model string, p, old *trellisv1.Parameters) []byte {
	var room [16]string
	names := slices.AppendSeq(room[:0], maps.Keys(p.GetValues()))
	slices.Sort(names)
	for _, name := range names {
		value := p.GetValues()[name]
		x, numeric := value.Numeric()
		alone := old != nil && numeric && place(name) != place("")
		if without, ok := unsaidIn(model, name); alone || ok && old != nil && KeyOf(value) == without {
			continue
		}
		text = strconv.AppendQuote(append(text, "value "...), name)
		text = append(text, ' ')
		switch kind := value.GetKind().(type) {
		case *trellisv1.Value_Text:
			text = strconv.AppendQuote(text, kind.Text)
		case *trellisv1.Value_Boolean:
			text = strconv.AppendBool(text, kind.Boolean)
		default:
			text = strconv.AppendFloat(text, x+0, 'x', -1, 64)
		}
		text = append(text, '\n')
	}
	return text
}

// real returns a parameter as a number, 0 if there is none.
func real(p *trellisv1.Parameters, name string) float64 {
	x, _ := p.GetValues()[name].Numeric()
	if math.IsNaN(x) {
		return 0
	}
	return x
}

// whole returns a parameter as a whole number.
func whole(p *trellisv1.Parameters, name string) uint32 { return uint32(real(p, name)) }

// RunConfigFor returns what a worker needs to train a run of the study up to an epoch. Expand must have accepted the
// study. The milestones are those of the run. The result shares its parts with study and run, which nobody changes.
func RunConfigFor(study *trellisv1.Study, run *trellisv1.Run, numerics string, until uint32) *trellisv1.RunConfig {
	config := commonConfig(study.GetSpec(), study.GetDataSet(), numerics, study.GetPretrained())
	config.Parameters, config.Milestones = run.GetParameters(), run.GetMilestones()
	if until < run.GetParameters().GetMaxEpochs() && config.Program != nil {
		config.LastEpoch = until
	} else if until < run.GetParameters().GetMaxEpochs() {
		config.Parameters = WithMaxEpochs(config.Parameters, until)
	}
	config.Synthetic = study.GetSpec().GetSynthetic()
	return config
}

// commonConfig is what has an influence on all runs of a study.
func commonConfig(
	spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet, numerics string, source *trellisv1.Source,
) *trellisv1.RunConfig {
	config := &trellisv1.RunConfig{
		Model:         spec.GetModel(),
		Split:         splitOf(spec, dataSet),
		EarlyStopping: objective.Stopping(spec),
		Objective:     objective.Of(spec),
		Numerics:      numerics,

		Pretrained:     source.GetSha256(),
		PretrainedSize: source.GetSize(),

		Program: spec.GetProgram(), Resources: spec.GetResources(),
	}
	if spec.GetProgram() != nil {
		config.Numerics = "" // The trainer's arithmetic has no part in it.
	}
	if needsData(spec) {
		config.DataSet = dataSet.GetDigest()
		config.Input = InputOf(spec, dataSet)
	}
	return config
}
