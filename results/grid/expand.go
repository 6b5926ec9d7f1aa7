package grid

import (
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Expand returns the study's trials and runs, all PENDING, in the order of their indices. Trials that differ only in
// max_epochs share one run, whose milestones are their max_epochs.
//
// dataSet is the data set that spec.data names, or nil for the model "synthetic". numerics is the version of the
// trainer's arithmetic. source is where the weights that spec.pretrained names come from, or nil if there are none. The
// same arguments give the same trials and runs on every machine. Errors are those of New and ResolveSplit.
func Expand(
	spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet, numerics string, source *trellisv1.Source,
) ([]*trellisv1.Trial, []*trellisv1.Run, error) {
	g, err := New(spec)
	if err != nil {
		return nil, nil, err
	}
	if _, err := ResolveSplit(spec, dataSet); err != nil {
		return nil, nil, err
	}
	e := newExpansion(commonConfig(spec, dataSet, numerics, source), spec.GetName(), g.Size())
	for index, parameters := range g.All() {
		e.add(index, parameters)
	}
	trials, runs := e.done()
	return trials, runs, nil
}

// ExpandExtension returns the trials and runs that a study has after the command extends it, as Expand does: the points
// of the command's spec, which includes every point of the study's own spec, and the command's single points. Their
// indices are those of Expand, counted from the study's indices. next is the first index after them. Points that the
// study already has are among them, with a new index.
//
// If the study prunes, the runs of single points are spared: they repeat runs that have already ended.
//
// Errors are those of New and ResolveSplit.
func ExpandExtension(study *trellisv1.Study, command *trellisv1.ExtendStudyCommand) (
	trials []*trellisv1.Trial, runs []*trellisv1.Run, next uint64, err error,
) {
	spec, next := study.GetSpec(), study.GetIndices()
	if command.GetSpec() != nil {
		spec = command.GetSpec()
	}
	g, err := New(spec)
	if err != nil {
		return nil, nil, 0, err
	}
	if _, err := ResolveSplit(spec, study.GetDataSet()); err != nil {
		return nil, nil, 0, err
	}
	e := newExpansion(commonConfig(spec, study.GetDataSet(), study.GetNumerics(), study.GetPretrained()),
		spec.GetName(),
		uint64(len(command.GetPoints())))
	if command.GetSpec() != nil {
		for index, parameters := range g.All() {
			e.add(next+index, parameters)
		}
		next += g.Size()
	}
	type point struct {
		trajectory
		maxEpochs uint32
	}
	seen := map[point]bool{}
	inSpec := len(e.runs)
	for i, parameters := range command.GetPoints() {
		point := point{trajectoryOf(parameters), parameters.GetMaxEpochs()}
		if _, inGrid := g.Index(parameters); inGrid || seen[point] {
			continue
		}
		seen[point] = true
		e.add(next+uint64(i), parameters)
	}
	for _, run := range e.runs[inSpec:] {
		run.Spared = spec.GetPruning() != nil
	}
	next += uint64(len(command.GetPoints()))
	trials, runs = e.done()
	return trials, runs, next, nil
}

// expansion collects trials and the runs that they share.
type expansion struct {
	study        string
	config       *trellisv1.RunConfig
	trials       []*trellisv1.Trial
	runs         []*trellisv1.Run
	byTrajectory map[trajectory]*trellisv1.Run
}

func newExpansion(config *trellisv1.RunConfig, study string, size uint64) *expansion {
	return &expansion{
		study: study, config: config,
		trials: make([]*trellisv1.Trial, 0, size), byTrajectory: map[trajectory]*trellisv1.Run{},
	}
}

// add adds a point. Indices grow.
func (e *expansion) add(index uint64, parameters *trellisv1.Parameters) {
	run, ok := e.byTrajectory[trajectoryOf(parameters)]
	if !ok {
		e.config.Parameters = parameters
		run = &trellisv1.Run{
			Study:      e.study,
			Id:         RunID(e.config),
			Parameters: proto.CloneOf(parameters),
			State:      trellisv1.RunState_RUN_STATE_PENDING,
			FirstTrial: index,
		}
		e.byTrajectory[trajectoryOf(parameters)] = run
		e.runs = append(e.runs, run)
	}
	run.Milestones = append(run.Milestones, parameters.GetMaxEpochs())
	e.trials = append(e.trials, &trellisv1.Trial{
		Study:      e.study,
		Index:      index,
		Parameters: parameters,
		Run:        run.GetId(),
		State:      trellisv1.TrialState_TRIAL_STATE_PENDING,
	})
}

// done gives every run its milestones and its end.
func (e *expansion) done() ([]*trellisv1.Trial, []*trellisv1.Run) {
	for _, run := range e.runs {
		slices.Sort(run.Milestones)
		run.Parameters.MaxEpochs = run.Milestones[len(run.Milestones)-1]
	}
	return e.trials, e.runs
}

// trajectory is what tells the runs of a study apart: parameters without max_epochs.
type trajectory struct {
	common Key
	// own has the values on the model's own axes.
	own string
}

func trajectoryOf(p *trellisv1.Parameters) trajectory {
	t := trajectory{common: KeyOf(p), own: ownLines(p.GetValues())}
	t.common.Set(MaxEpochs, 0)
	return t
}

// Summary is the maximum cost of a study.
type Summary struct {
	// Trials is the number of distinct points of the grid, and Runs the number of runs that they need.
	Trials, Runs uint64
	// Epochs is the number of epochs of all runs, if none of them stops early.
	Epochs uint64
	// EpochsAlone is the number of epochs if every trial were trained separately.
	EpochsAlone uint64
}

// Summarize counts a study's trials, runs and epochs without creating them. Errors are those of New.
func Summarize(spec *trellisv1.StudySpec) (Summary, error) {
	g, err := New(spec)
	if err != nil {
		return Summary{}, err
	}
	var s Summary
	longest := map[trajectory]uint32{}
	for _, parameters := range g.All() {
		s.Trials++
		s.EpochsAlone += uint64(parameters.GetMaxEpochs())
		t := trajectoryOf(parameters)
		longest[t] = max(longest[t], parameters.GetMaxEpochs())
	}
	s.Runs = uint64(len(longest))
	for _, epochs := range longest {
		s.Epochs += uint64(epochs)
	}
	return s, nil
}
