package grid

//lint:file-ignore SA1019 This is the one place that reads the deprecated fields.

import (
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Upgrade converts what an older version wrote: a command of the log, a row of a snapshot, or a request. In these, some
// parameters and axes were fields, and the others numbers beside them. It changes the message in place, which nobody else may
// have yet, and leaves messages of today's form as they are. Indices of points, ids of runs and digests stay the same.
func Upgrade(message proto.Message) {
	switch m := message.(type) {
	case *trellisv1.Command:
		upgradeSpec(m.GetCreateStudy().GetSpec())
		upgradePoint(m.GetCreateStudy().GetPretrained().GetParameters())
		upgradeSpec(m.GetExtendStudy().GetSpec())
		for _, point := range m.GetExtendStudy().GetPoints() {
			upgradePoint(point)
		}
	case *trellisv1.Study:
		old := isOldSpec(m.GetSpec())
		for _, difference := range m.GetSpecHistory().GetDifferences() {
			if upgradeSpec(difference.GetWhole()); old {
				upgradeDifference(difference, len(m.GetSpec().GetGrid()))
			}
		}
		upgradeSpec(m.GetSpec())
		for _, earlier := range m.GetEarlierSpecs() {
			upgradeSpec(earlier)
		}
		upgradePoint(m.GetPretrained().GetParameters())
	case *trellisv1.Run:
		upgradePoint(m.GetParameters())
	case *trellisv1.Trial:
		upgradePoint(m.GetParameters())
	case *trellisv1.StudySpec:
		upgradeSpec(m)
	case *trellisv1.ExtendStudyRequest:
		upgradeRequest(m)
	}
}

// upgradePoint converts a point, which had all of the four parameters that were fields.
func upgradePoint(p *trellisv1.Parameters) {
	if p == nil || p.OldLatentDim == 0 && p.OldLearningRate == 0 && p.OldWeightDecay == 0 && p.OldBatchSize == 0 &&
		len(p.OldValues) == 0 {
		return
	}
	p.Values = map[string]*trellisv1.Value{
		LatentDim:    trellisv1.IntegerValue(int64(p.OldLatentDim)),
		LearningRate: trellisv1.NumberValue(p.OldLearningRate),
		WeightDecay:  trellisv1.NumberValue(p.OldWeightDecay),
		BatchSize:    trellisv1.IntegerValue(int64(p.OldBatchSize)),
	}
	for name, value := range p.OldValues {
		p.Values[name] = trellisv1.NumberValue(value)
	}
	p.OldLatentDim, p.OldLearningRate, p.OldWeightDecay, p.OldBatchSize, p.OldValues = 0, 0, 0, 0, nil
}

// upgradeSpec converts a spec, whose grids had one axis of batch sizes together.
func upgradeSpec(spec *trellisv1.StudySpec) {
	if !isOldSpec(spec) {
		return
	}
	batchSize := oldDefault(BatchSize)
	if spec.OldBatchSize != nil {
		batchSize = upgradedIntegers(spec.OldBatchSize)
	}
	for _, grid := range spec.GetGrid() {
		if grid == nil {
			continue
		}
		upgradeAxes(&grid.Axes, grid.OldLatentDim, grid.OldLearningRate, grid.OldWeightDecay, grid.OldMaxEpochs, grid.OldAxes)
		grid.OldLatentDim, grid.OldLearningRate, grid.OldWeightDecay, grid.OldMaxEpochs = nil, nil, nil, nil
		grid.OldAxes = nil
		if grid.Axes[WeightDecay] == nil {
			grid.Axes[WeightDecay] = oldDefault(WeightDecay)
		}
		if grid.Axes[BatchSize] == nil {
			grid.Axes[BatchSize] = proto.CloneOf(batchSize)
		}
	}
	if spec.OldSeeds != nil {
		spec.Seeds = upgradedIntegers(spec.OldSeeds)
	}
	spec.OldSeeds, spec.OldBatchSize = nil, nil
}

// oldDefault is the axis that a grid had without naming it, or nil.
func oldDefault(name string) *trellisv1.Axis {
	switch name {
	case BatchSize:
		return trellisv1.AxisOf(256)
	case WeightDecay:
		return trellisv1.AxisOf(0.0)
	}
	return nil
}

func isOldSpec(spec *trellisv1.StudySpec) bool {
	return spec.GetOldBatchSize() != nil || spec.GetOldSeeds() != nil || slices.ContainsFunc(spec.GetGrid(), isOld)
}

func isOld(grid *trellisv1.Grid) bool {
	return grid.GetOldLatentDim() != nil || grid.GetOldLearningRate() != nil || grid.GetOldWeightDecay() != nil ||
		grid.GetOldMaxEpochs() != nil || len(grid.GetOldAxes()) > 0
}

// upgradeAxes puts axes that were fields among the others.
func upgradeAxes(
	axes *map[string]*trellisv1.Axis, latentDim *trellisv1.IntegerAxis, learningRate, weightDecay *trellisv1.NumberAxis,
	maxEpochs *trellisv1.IntegerAxis, others map[string]*trellisv1.NumberAxis,
) {
	if *axes == nil {
		*axes = map[string]*trellisv1.Axis{}
	}
	for name, axis := range map[string]*trellisv1.IntegerAxis{LatentDim: latentDim, MaxEpochs: maxEpochs} {
		if axis != nil {
			(*axes)[name] = upgradedIntegers(axis)
		}
	}
	for name, axis := range map[string]*trellisv1.NumberAxis{LearningRate: learningRate, WeightDecay: weightDecay} {
		if axis != nil {
			(*axes)[name] = upgradedNumbers(axis)
		}
	}
	for name, axis := range others {
		(*axes)[name] = upgradedNumbers(axis)
	}
}

func upgradedIntegers(old *trellisv1.IntegerAxis) *trellisv1.Axis {
	axis := &trellisv1.Axis{Linear: old.GetLinear(), Log2: old.GetLog2(), Log10: old.GetLog10()}
	for _, value := range old.GetValues() {
		axis.Integers = append(axis.Integers, int64(value))
	}
	return axis
}

func upgradedNumbers(old *trellisv1.NumberAxis) *trellisv1.Axis {
	return &trellisv1.Axis{
		Numbers: old.GetValues(), Linear: old.GetLinear(), Log2: old.GetLog2(), Log10: old.GetLog10(),
	}
}

// upgradeDifference converts the difference of an old spec with so many grids, of which each has an axis of batch sizes now.
// One of today's form must not come here: its count of batch sizes may be that of one grid alone.
func upgradeDifference(difference *trellisv1.SpecDifference, grids int) {
	var axes []*trellisv1.AxisDifference
	for _, axis := range difference.GetAxes() {
		switch {
		case axis.OldIntegers != nil:
			axis.Whole = upgradedIntegers(axis.OldIntegers)
		case axis.OldNumbers != nil:
			axis.Whole = upgradedNumbers(axis.OldNumbers)
		case axis.Count == 0:
			// The axis was absent, and every point had the default, which upgradeSpec writes down.
			axis.Whole = oldDefault(axis.GetAxis())
		}
		axis.OldIntegers, axis.OldNumbers = nil, nil
		axes = append(axes, axis)
		for i := 1; i < grids && axis.GetAxis() == BatchSize; i++ {
			another := proto.CloneOf(axis)
			another.Grid = uint32(i)
			axes = append(axes, another)
		}
	}
	difference.Axes = axes
}

// upgradeRequest converts the request of an old client.
func upgradeRequest(r *trellisv1.ExtendStudyRequest) {
	old := &trellisv1.Grid{
		OldLatentDim: r.OldLatentDim, OldLearningRate: r.OldLearningRate, OldWeightDecay: r.OldWeightDecay,
		OldMaxEpochs: r.OldMaxEpochs, OldAxes: r.OldAxes,
	}
	if isOld(old) {
		upgradeAxes(&r.Axes, old.OldLatentDim, old.OldLearningRate, old.OldWeightDecay, old.OldMaxEpochs, old.OldAxes)
	}
	if r.OldBatchSize != nil {
		upgradeAxes(&r.Axes, nil, nil, nil, nil, nil)
		r.Axes[BatchSize] = upgradedIntegers(r.OldBatchSize)
	}
	if r.OldSeeds != nil {
		r.Seeds = upgradedIntegers(r.OldSeeds)
	}
	r.OldLatentDim, r.OldLearningRate, r.OldWeightDecay, r.OldMaxEpochs, r.OldAxes = nil, nil, nil, nil, nil
	r.OldBatchSize, r.OldSeeds = nil, nil
}
