package chart

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
	"trellis/results/objective"
	"trellis/results/spelling"
	"trellis/results/trajectory"
)

const (
	defaultCurves = 900
	defaultOpen   = 100
	// maxValues is how many points all curves of an answer have together if a request does not say how many: two
	// megabytes. Curves have at least minPoints and at most maxPoints points then.
	maxValues = 500_000
	minPoints = 50
	maxPoints = 1000
	// mostValues is how many points all curves have together, whatever a request says.
	mostValues = 4_000_000
)

// curves is an answer that is being made.
type curves struct {
	*source
	metric string
	filter *filter
	// all has one for each run: places are those that it has.
	all    []curve
	places map[uint32]bool
	// metrics are those that the runs have reported.
	metrics map[string]bool
}

// curve is one run, and the trial that it was found by.
type curve struct {
	trial  *trellisv1.Trial
	epochs uint32
	values objective.Values
}

// Curves returns the curves of a metric: see trellisv1.GetCurvesRequest. It fails with results.ErrNotFound if there is
// no such study, and with listing.ErrInvalid if the request names what there is not.
func Curves(snapshot *results.Snapshot, request *trellisv1.GetCurvesRequest) (*trellisv1.GetCurvesResponse, error) {
	s, err := newSource(snapshot, request.GetStudy())
	if err != nil {
		return nil, err
	}
	ranked := objective.Of(s.study.GetSpec())
	c := &curves{
		source: s, metric: cmp.Or(request.GetMetric(), objective.Metric(ranked)), places: map[uint32]bool{},
		metrics: map[string]bool{},
	}
	if c.filter, err = s.newFilter(request.GetFilter()); err != nil {
		return nil, err
	}
	wanted := func(asked *uint32, otherwise int) int {
		if asked == nil {
			return otherwise
		}
		return int(*asked)
	}
	best, others := wanted(request.Best, defaultBest), wanted(request.Sample, defaultCurves)
	open := wanted(request.Open, defaultOpen)
	// Defaults come on top of what was asked for.
	best = min(best, maxRead)
	others = min(others, maxRead-best)
	open = min(open, maxRead-best-others)
	basis, err := c.addRanked(best, others)
	if err != nil {
		return nil, err
	}
	openTotal, err := c.addOpen(open)
	if err != nil {
		return nil, err
	}
	if err := c.checkMetric(); err != nil {
		return nil, err
	}
	keep := request.GetKeep()
	if keep == trellisv1.Keep_KEEP_UNSPECIFIED {
		keep = trellisv1.Keep_KEEP_LOWEST
		if c.metric == objective.Metric(ranked) && objective.Maximizes(ranked) {
			keep = trellisv1.Keep_KEEP_HIGHEST
		}
	}
	response := &trellisv1.GetCurvesResponse{
		Basis: basis, Metric: c.metric, Keep: keep, Metrics: slices.Sorted(maps.Keys(c.metrics)), OpenTotal: openTotal,
	}
	c.write(response, request)
	return response, snapshot.Err()
}

// addRanked adds the runs of the best trials that meet the filter, and of so many others.
func (c *curves) addRanked(best, others int) (*trellisv1.Basis, error) {
	found, basis, err := c.pick(c.filter, best, others)
	if err != nil {
		return nil, err
	}
	var wanted []rankedRun
	for _, its := range found {
		place, milestone, ok := c.catalog.Trial(its.key.Index())
		if !ok {
			return nil, fmt.Errorf("trial %d of study %q: %w", its.key.Index(), c.study.GetName(), results.ErrNotFound)
		}
		if !c.places[place] { // Otherwise a better trial of the run is there.
			c.places[place] = true
			wanted = append(wanted, rankedRun{place: place, milestone: milestone, index: its.key.Index()})
		}
	}
	if err := c.read(wanted); err != nil {
		return nil, err
	}
	for _, its := range wanted {
		c.add(its.place, its.run, its.run.Trial(its.milestone, its.index))
	}
	return basis, nil
}

// rankedRun is a run, and which of its trials it was found by.
type rankedRun struct {
	place, milestone uint32
	index            uint64
	run              *trajectory.Trajectory
}

// read reads runs on all cores: most are sealed, and most of the time of an answer goes into that.
func (c *curves) read(runs []rankedRun) error {
	const atOnce = 64
	var readers errgroup.Group
	readers.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(runs, atOnce) {
		readers.Go(func() (err error) {
			for i := range part {
				if part[i].run, err = c.snapshot.TrajectoryAt(c.catalog, part[i].place); err != nil {
					return err
				}
			}
			return c.snapshot.Err()
		})
	}
	return readers.Wait()
}

// addOpen adds so many runs that are not done, evenly over their places, and returns how many there are.
func (c *curves) addOpen(most int) (total uint64, err error) {
	type open struct {
		section results.Section
		slots   uint64
	}
	var all []open
	sections, err := c.snapshot.Sections(c.catalog)
	if err != nil {
		return 0, err
	}
	count := 0
	for section := range sections {
		if slots := section.Begun(); slots != 0 {
			all = append(all, open{section, slots})
			count += bits.OnesCount64(slots)
		}
	}
	wanted := even(0, count, most)
	if !c.filter.empty {
		wanted = even(0, count, min(count, maxFiltered))
	}
	number, added := 0, 0
	for _, its := range all {
		for slots := its.slots; slots != 0; slots &= slots - 1 {
			if number++; len(wanted) == 0 || wanted[0] != number-1 {
				continue
			}
			wanted = wanted[1:]
			slot := bits.TrailingZeros64(slots)
			met, err := c.addOpenRun(its.section, slot)
			if err != nil {
				return 0, err
			}
			if added += met; added == most {
				wanted = nil
			}
		}
	}
	return uint64(count), c.snapshot.Err()
}

// addOpenRun adds a run if its last trial meets the filter, and returns how many it has added.
func (c *curves) addOpenRun(section results.Section, slot int) (added int, err error) {
	place := section.First() + uint32(slot)
	run := section.Trajectory(slot)
	if run == nil || c.places[place] {
		return 0, nil
	}
	indexes := c.catalog.IndexesAt(place)
	last := len(run.Run.Milestones) - 1
	trial := run.Trial(uint32(last), indexes[last])
	if !c.filter.empty {
		if met, err := c.filter.meets(trial); err != nil || !met {
			return 0, err
		}
	}
	c.add(place, run, trial)
	return 1, nil
}

func (c *curves) add(place uint32, run *trajectory.Trajectory, trial *trellisv1.Trial) {
	c.places[place] = true
	if len(run.Losses.GetTrainLoss()) > 0 {
		c.metrics[objective.TrainLoss] = true
	}
	if len(run.Losses.GetValidationLoss()) > 0 {
		c.metrics[objective.ValidationLoss] = true
	}
	for name := range run.Losses.GetMetrics() {
		c.metrics[name] = true
	}
	c.all = append(c.all, curve{trajectory.Presented(trial), run.Run.Epochs, objective.In(run.Losses, c.metric)})
}

// checkMetric refuses a metric that none of the runs has reported.
func (c *curves) checkMetric() error {
	if len(c.all) == 0 || c.metrics[c.metric] || c.metric == objective.Metric(objective.Of(c.study.GetSpec())) {
		return nil
	}
	names := slices.Sorted(maps.Keys(c.metrics))
	return fmt.Errorf("metric: %s: %w", spelling.Unknown("metric", c.metric, names), listing.ErrInvalid)
}

// write fills in the columns.
func (c *curves) write(response *trellisv1.GetCurvesResponse, request *trellisv1.GetCurvesRequest) {
	longest := uint32(1)
	for i := range c.all {
		longest = max(longest, c.all[i].epochs)
	}
	points := int(request.GetPoints())
	if points == 0 {
		points = min(maxPoints, max(minPoints, maxValues/max(1, len(c.all))))
	}
	points = max(1, min(points, mostValues/max(1, len(c.all))))
	each := (longest + uint32(points) - 1) / uint32(points)
	response.EpochsPerPoint = each
	objectives := make([]float64, len(c.all))
	thinned := make([][]float64, len(c.all))
	better := betterOf(response.Keep)
	for i := range c.all {
		its := &c.all[i]
		if objectives[i] = math.NaN(); its.trial.Objective != nil {
			objectives[i] = *its.trial.Objective
		}
		response.Trials = append(response.Trials, its.trial.Index)
		response.Epochs = append(response.Epochs, its.epochs)
		response.States = append(response.States, byte(its.trial.State))
		response.BestEpochs = append(response.BestEpochs, its.trial.BestEpoch)
		thinned[i] = thin(its.values, its.epochs, each, better)
	}
	response.Objectives = float64s(objectives)
	if n := request.GetLevels(); n > 0 {
		l := newLevels(n, request.GetLogarithmic(), response.Keep, thinned)
		response.Low, response.High = l.low, l.high
		for _, curve := range thinned {
			response.Levels = l.appendCurve(response.Levels, curve)
		}
		return
	}
	for _, curve := range thinned {
		for _, value := range curve {
			response.Values = appendFloat32(response.Values, value)
		}
	}
}

// betterOf says which of two finite values is kept.
func betterOf(keep trellisv1.Keep) func(a, b float64) bool {
	switch keep {
	case trellisv1.Keep_KEEP_HIGHEST:
		return func(a, b float64) bool { return a > b }
	case trellisv1.Keep_KEEP_LAST:
		return func(_, _ float64) bool { return true }
	}
	return func(a, b float64) bool { return a < b }
}

// thin returns the values of the first epochs, one for so many epochs each: the one that is better than the others. It is
// NaN if none is a finite number.
func thin(values objective.Values, epochs, each uint32, better func(a, b float64) bool) []float64 {
	thinned := make([]float64, 0, (epochs+each-1)/each)
	if each == 1 && len(values.Missing) == 0 && int(epochs) == len(values.Numbers) {
		for _, value := range values.Numbers {
			if math.IsInf(value, 0) {
				value = math.NaN()
			}
			thinned = append(thinned, value)
		}
		return thinned
	}
	for first := uint32(1); first <= epochs; first += each {
		kept := math.NaN()
		for epoch := first; epoch < first+each && epoch <= epochs; epoch++ {
			value, known := values.At(epoch)
			if known && !math.IsNaN(value) && !math.IsInf(value, 0) && (math.IsNaN(kept) || better(value, kept)) {
				kept = value
			}
		}
		thinned = append(thinned, kept)
	}
	return thinned
}
