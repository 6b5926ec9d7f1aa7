package grid

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

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
// There is a line for each value on an axis that only the model has, ordered by name. shift = 0 has no line, because
// runs from before that axis have none. A common axis that was added later has a line before these, unless it has its
// default:
//
//	<name> 0x1.ccccccccccccdp-01
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
// Strings are quoted as in Go. A message that is not set has zeros. max_epochs, milestones, synthetic.epoch_time and
// pretrained_size have no influence. Any change here gives every run a new identity, so results of older studies would
// no longer be found. The number in the first line counts such changes.
func RunID(config *trellisv1.RunConfig) string {
	p := config.GetParameters()
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
		p.GetLatentDim(), p.GetLearningRate(), p.GetWeightDecay(), p.GetSeed(), p.GetBatchSize())
	for place := range CommonAxes {
		axis := &CommonAxes[place]
		if axis.Later && axis.Value(p) != axis.GetDefault() {
			text = fmt.Appendf(text, "%s %x\n", axis.GetName(), axis.Value(p))
		}
	}
	text = append(text, ownLines(p.GetValues())...)
	if config.GetPretrained() != "" {
		text = fmt.Appendf(text, "pretrained %q\n", config.GetPretrained())
	}
	if stopping := config.GetEarlyStopping(); stopping.GetMetric() != "" || stopping.GetDirection() != 0 {
		text = fmt.Appendf(text, "early_stopping_metric %q %d\n", stopping.GetMetric(), stopping.GetDirection())
	}
	if program := config.GetProgram(); program != nil {
		text = append(text, programLines(program, p.GetMaxEpochs())...)
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

// later are axes that came after runs without them had been trained, each with the value that is the same as no such
// axis. It belongs to the text above, not to the models: a study's trials must not depend on which models a coordinator
// knows.
var later = map[string]float64{"shift": 0}

// ownLines writes the values on a model's own axes as RunID has them: the same values give the same text.
func ownLines(values map[string]float64) string {
	if len(values) == 0 {
		return ""
	}
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if without, ok := later[name]; ok && values[name] == without {
			continue
		}
		text = fmt.Appendf(text, "value %q %x\n", name, values[name])
	}
	return string(text)
}

// RunConfigFor returns what a worker needs to train a run of the study up to an epoch. Expand must have accepted the
// study. The milestones are those of the run. The result shares its parts with study and run, which nobody changes.
func RunConfigFor(study *trellisv1.Study, run *trellisv1.Run, numerics string, until uint32) *trellisv1.RunConfig {
	config := commonConfig(study.GetSpec(), study.GetDataSet(), numerics, study.GetPretrained())
	config.Parameters, config.Milestones = run.GetParameters(), run.GetMilestones()
	if until < run.GetParameters().GetMaxEpochs() && config.Program != nil {
		config.LastEpoch = until
	} else if until < run.GetParameters().GetMaxEpochs() {
		config.Parameters = proto.CloneOf(config.Parameters)
		config.Parameters.MaxEpochs = until
	}
	config.Synthetic = study.GetSpec().GetSynthetic()
	config.Resources = study.GetSpec().GetResources()
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

		Program: spec.GetProgram(),
	}
	if spec.GetProgram() != nil {
		config.Numerics = "" // The trainer's arithmetic has no part in it.
	}
	if needsData(spec) {
		config.DataSet = dataSet.GetDigest()
	}
	return config
}
