package grid

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Expand returns the study's trials and runs, all PENDING, in the order of their indices. Trials that differ only in
// max_epochs share one run, whose milestones are their max_epochs.
//
// dataSet is the data set that spec.data names, or nil for programs and the model "synthetic". numerics is the version of the
// trainer's arithmetic. source is where the weights that spec.pretrained names come from, or nil if there are none. The
// same arguments give the same trials and runs on every machine. Errors are those of New and ResolveSplit, and more than
// MaxTrials points, which only a spec with a budget may have. Everything else ignores the order and the budget: package
// lattice knows them.
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
	if err := g.checkListable(); err != nil {
		return nil, nil, err
	}
	room := g.Size()
	if g.where != nil {
		room = 0 // It may leave out nearly all.
	}
	e := newExpansion(commonConfig(spec, dataSet, numerics, source), spec.GetName(), g.names, room)
	for index, parameters := range g.All() {
		e.add(index, parameters)
	}
	trials, runs := e.done()
	return trials, runs, nil
}

// checkListable refuses a grid of more points than can be listed, which only a budget admits.
func (g *Grid) checkListable() error {
	if g.size <= MaxTrials {
		return nil
	}
	return invalid("grid.size", fmt.Sprintf("the grid has %s points, and at most %s can be listed: values can't be added "+
		"to it", grouped(g.size), grouped(MaxTrials)), "grid")
}

// CheckListed returns an error if a study can't be extended to a larger spec by listing what that adds, as is necessary where
// not all of its runs follow from its own spec.
func CheckListed(spec, own *trellisv1.StudySpec) error {
	const why = "the study has points besides it, or runs that were given up before they began"
	switch {
	case Sampled(spec):
		return Refuse("budget.values", "no values can be added to this grid: the budget leaves out a part of it, and "+why, "budget")
	case !proto.Equal(spec.GetBudget(), own.GetBudget()):
		return Refuse("budget.values", "the budget can't change together with the values of this grid: "+why+
			": change the budget first, and then add the values", "budget")
	}
	return nil
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
		if err := CheckListed(spec, study.GetSpec()); err != nil {
			return nil, nil, 0, err
		}
	}
	g, err := New(spec)
	if err != nil {
		return nil, nil, 0, err
	}
	if _, err := ResolveSplit(spec, study.GetDataSet()); err != nil {
		return nil, nil, 0, err
	}
	if command.GetSpec() != nil {
		if err := g.checkListable(); err != nil {
			return nil, nil, 0, err
		}
	}
	e := newExpansion(commonConfig(spec, study.GetDataSet(), study.GetNumerics(), study.GetPretrained()),
		spec.GetName(), g.names, uint64(len(command.GetPoints())))
	if command.GetSpec() != nil {
		for index, parameters := range g.All() {
			e.add(next+index, parameters)
		}
		next += g.Size()
	}
	seen := map[string]bool{}
	all := append(g.names[:len(g.names):len(g.names)], Seed)
	inSpec := len(e.runs)
	for i, parameters := range command.GetPoints() {
		point := Key(parameters, all)
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
	study  string
	config *trellisv1.RunConfig
	// names are those of the parameters that tell runs apart.
	names        []string
	trials       []*trellisv1.Trial
	runs         []*trellisv1.Run
	byTrajectory map[string]*trellisv1.Run
}

func newExpansion(config *trellisv1.RunConfig, study string, names []string, size uint64) *expansion {
	return &expansion{
		study: study, config: config, names: trajectoryNames(config.GetProgram(), names),
		trials: make([]*trellisv1.Trial, 0, size), byTrajectory: map[string]*trellisv1.Run{},
	}
}

// add adds a point. Indices grow.
func (e *expansion) add(index uint64, parameters *trellisv1.Parameters) {
	run := e.addRun(index, parameters)
	e.trials = append(e.trials, &trellisv1.Trial{
		Study:      e.study,
		Index:      index,
		Parameters: parameters,
		Run:        run.GetId(),
		State:      trellisv1.TrialState_TRIAL_STATE_PENDING,
	})
}

// addRun adds a point to the run that trains it, and returns the run.
func (e *expansion) addRun(index uint64, parameters *trellisv1.Parameters) *trellisv1.Run {
	trajectory := e.trajectoryOf(parameters)
	run, ok := e.byTrajectory[trajectory]
	if !ok {
		e.config.Parameters = parameters
		run = &trellisv1.Run{
			Study:      e.study,
			Id:         RunID(e.config),
			Parameters: WithMaxEpochs(parameters, parameters.GetMaxEpochs()),
			State:      trellisv1.RunState_RUN_STATE_PENDING,
			FirstTrial: index,
		}
		e.byTrajectory[trajectory] = run
		e.runs = append(e.runs, run)
	}
	run.Milestones = append(run.Milestones, parameters.GetMaxEpochs())
	return run
}

// done gives every run its milestones and its end.
func (e *expansion) done() ([]*trellisv1.Trial, []*trellisv1.Run) {
	for _, run := range e.runs {
		slices.Sort(run.Milestones)
		run.Parameters.MaxEpochs = run.Milestones[len(run.Milestones)-1]
	}
	return e.trials, e.runs
}

// trajectoryNames are the names of what tells the runs of a study apart: parameters, without max_epochs unless runs depend
// on it, and the seed.
func trajectoryNames(program *trellisv1.Program, names []string) []string {
	others := make([]string, 0, len(names)+1)
	for _, name := range names {
		if name != MaxEpochs || runsApart(program) {
			others = append(others, name)
		}
	}
	return append(others, Seed)
}

// trajectoryOf is what tells a point's run from the others of the study.
func (e *expansion) trajectoryOf(p *trellisv1.Parameters) string { return Key(p, e.names) }
