package grid

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

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
// shift = 0 has no line, because runs from before that axis have none. All parameters of a program have such lines, also
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
// Strings are quoted as in Go. A message that is not set has zeros. max_epochs, milestones, synthetic.epoch_time and
// pretrained_size have no influence. Any change here gives every run a new identity, so results of older studies would
// no longer be found. The number in the first line counts such changes.
func RunID(config *trellisv1.RunConfig) string {
	p := config.GetParameters()
	old := p // has the parameters that have a line by themselves.
	if config.GetProgram() != nil {
		old = nil
	}
	text := fmt.Appendf(make([]byte, 0, 512), `trellis run 1
model %q
data_set %q
numerics %q
split %d %d
early_stopping %d %x
latent_dim %d
learning_rate %x
weight_decay %x
seed %d
batch_size %d
`,
		config.GetModel(), config.GetDataSet(), config.GetNumerics(),
		config.GetSplit().GetTrain(), config.GetSplit().GetValidation(),
		config.GetEarlyStopping().GetPatience(), config.GetEarlyStopping().GetMinDelta(),
		whole(old, LatentDim), real(old, LearningRate), real(old, WeightDecay), p.GetSeed(), whole(old, BatchSize))
	text = append(text, valueLines(p, old)...)
	if config.GetPretrained() != "" {
		text = fmt.Appendf(text, "pretrained %q\n", config.GetPretrained())
	}
	if stopping := config.GetEarlyStopping(); stopping.GetMetric() != "" || stopping.GetDirection() != 0 {
		text = fmt.Appendf(text, "early_stopping_metric %q %d\n", stopping.GetMetric(), stopping.GetDirection())
	}
	if program := config.GetProgram(); program != nil {
		text = append(text, programLines(program, p.GetMaxEpochs())...)
		text = append(text, resourceLines(program, config.GetResources())...)
	} else if objective := config.GetObjective(); objective != nil {
		text = fmt.Appendf(text, "objective %q %d %d %d\n", objective.GetMetric(), objective.GetDirection(),
			objective.GetOf(), objective.GetEpochs())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// programLines writes what determines a program's reports besides its parameters, as RunID has it. Whether it resumes, and
// how long it may take to end, have no influence.
func programLines(program *trellisv1.Program, maxEpochs uint32) []byte {
	var text []byte
	for _, part := range program.GetCommand() {
		text = fmt.Appendf(text, "command %q\n", part)
	}
	text = fmt.Appendf(text, "files %q\n", program.GetFiles().GetSha256())
	for _, name := range slices.Sorted(maps.Keys(program.GetEnvironment())) {
		text = fmt.Appendf(text, "environment %q %q\n", name, program.GetEnvironment()[name])
	}
	text = fmt.Appendf(text, "reports %q\n", program.GetReports().GetPattern())
	if !program.GetPrefix() {
		text = fmt.Appendf(text, "max_epochs %d\n", maxEpochs)
	}
	return text
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

// later are axes that came after runs without them had been trained, each with the value that is the same as no such
// axis. It belongs to the text above, not to the models: a study's trials must not depend on which models a coordinator
// knows.
var later = map[string]float64{"shift": 0}

// valueLines writes parameters as RunID has them, but for those that old has in lines by themselves.
func valueLines(p, old *trellisv1.Parameters) []byte {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(p.GetValues())) {
		value := p.GetValues()[name]
		x, numeric := value.Numeric()
		alone := old != nil && numeric && place(name) != place("")
		if without, ok := later[name]; alone || ok && old != nil && x == without {
			continue
		}
		switch kind := value.GetKind().(type) {
		case *trellisv1.Value_Text:
			text = fmt.Appendf(text, "value %q %q\n", name, kind.Text)
		case *trellisv1.Value_Boolean:
			text = fmt.Appendf(text, "value %q %t\n", name, kind.Boolean)
		default:
			text = fmt.Appendf(text, "value %q %x\n", name, x+0)
		}
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
	}
	return config
}
