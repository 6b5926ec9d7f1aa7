package insight

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/listing"
	"trellis/results/objective"
	"trellis/results/statistics"
)

// DefaultConfidence is the default confidence of a verdict.
const DefaultConfidence = 0.95

// configuration is a point of a study's grid without its seed.
type configuration struct {
	// parameters are the parameters of one of its trials. first is the lowest index of its trials.
	parameters *trellisv1.Parameters
	latentDim  float64
	first      uint64
	// tries are its trials, by seed.
	tries []try
	// answered is how many of them have results.
	answered int
	// objective is the study's. Nil: the lowest validation loss.
	objective *trellisv1.Objective
}

// try is one seed of a configuration. answer is nil until its trial has a result.
type try struct {
	seed   uint32
	answer *trellisv1.Trial
}

// configurationsOf returns a study's configurations in the order that breaks ties in a listing.Ranking. It reads all
// trials of the study: a million take about a second.
func configurationsOf(snapshot *results.Snapshot, study *trellisv1.Study) ([]*configuration, error) {
	runs, err := snapshot.Served(study.GetName())
	if err != nil {
		return nil, err
	}
	ranked := objective.Of(study.GetSpec())
	space, err := newSpace(snapshot, study)
	if err != nil {
		return nil, err
	}
	byPoint := map[point]*configuration{}
	var all []*configuration
	for its := range runs {
		p := its.Run.Parameters
		points := space.points(p)
		latentDim := space.number(point(points), space.latentDim)
		for milestone, epochs := range its.Run.Milestones {
			at, index := space.at(points, epochs), its.Indexes[milestone]
			found, known := byPoint[at]
			if !known {
				found = &configuration{
					parameters: its.Parameters(milestone), latentDim: latentDim, first: index, objective: ranked,
				}
				byPoint[at] = found
				all = append(all, found)
			}
			found.first = min(found.first, index)
			tried := try{seed: p.GetSeed()}
			if milestone < len(its.Answers) {
				tried.answer = its.Answers[milestone]
				found.answered++
			}
			found.tries = append(found.tries, tried)
		}
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	for _, configuration := range all {
		slices.SortFunc(configuration.tries, func(a, b try) int { return cmp.Compare(a.seed, b.seed) })
	}
	slices.SortFunc(all, func(a, b *configuration) int {
		return cmp.Or(
			cmp.Compare(a.latentDim, b.latentDim),
			cmp.Compare(a.parameters.GetMaxEpochs(), b.parameters.GetMaxEpochs()),
			cmp.Compare(a.first, b.first),
		)
	})
	return all, nil
}

// hasTried says whether the configuration has a trial with a seed, whatever its outcome.
func (c *configuration) hasTried(seed uint32) bool {
	_, tried := slices.BinarySearchFunc(
		c.tries,
		seed,
		func(t try, seed uint32) int { return cmp.Compare(t.seed, seed) },
	)
	return tried
}

// bestTrial returns the configuration's trial that ranks first, or nil if none has a result.
func (c *configuration) bestTrial() *trellisv1.Trial {
	var best *trellisv1.Trial
	ranking := listing.Ranking{Maximize: objective.Maximizes(c.objective)}
	for _, try := range c.tries {
		if try.answer != nil && (best == nil || ranking.Compare(try.answer, best) < 0) {
			best = try.answer
		}
	}
	return best
}

// sample returns the objectives of the configuration's trials, ordered by the seeds' places. Lower ones are better: where
// higher ones are, it has their negatives.
func (c *configuration) sample(places map[uint32]int) statistics.Sample {
	sample := make(statistics.Sample, 0, c.answered)
	for _, try := range c.tries {
		if try.answer != nil {
			sample = append(sample, statistics.Observation{
				Place: places[try.seed], Objective: objective.Loss(c.objective, objectiveOf(try.answer)),
			})
		}
	}
	slices.SortFunc(sample, func(a, b statistics.Observation) int { return cmp.Compare(a.Place, b.Place) })
	return sample
}

func objectiveOf(answer *trellisv1.Trial) float64 {
	if answer.Objective == nil {
		return math.NaN()
	}
	return *answer.Objective
}

// configurations are some of a study's, listed, or read when they are looked at.
type configurations struct {
	listed  []*configuration
	numbers []uint32
	read    func(number uint32) *configuration
	// points returns the parameters of one that is not listed.
	points func(number uint32) *trellisv1.Parameters
}

func (c *configurations) len() int { return max(len(c.listed), len(c.numbers)) }

func (c *configurations) at(i int) *configuration {
	if c.listed != nil {
		return c.listed[i]
	}
	return c.read(c.numbers[i])
}

func (c *configurations) parameters(i int) *trellisv1.Parameters {
	if c.listed != nil {
		return c.listed[i].parameters
	}
	return c.points(c.numbers[i])
}

// comparison is the comparison of a study's configurations.
type comparison struct {
	study      *trellisv1.Study
	objective  *trellisv1.Objective
	confidence float64
	// answered are the configurations with at least one result, and open are the others.
	answered, open configurations
	// err is why a configuration could not be read.
	err error
	judged
}

// judged is what follows from the samples of the configurations with results.
type judged struct {
	// samples, and judgement of them, are indexed like comparison.answered.
	samples   []statistics.Sample
	judgement statistics.Judgement
	// seeds are the seeds that the study has, or will have by its settle, in the order in which they are looked at.
	seeds []uint32
	plan  statistics.Plan
}

// compareConfigurations compares a study's configurations. Confidence 0 is the default.
func compareConfigurations(
	snapshot *results.Snapshot,
	study *trellisv1.Study,
	confidence float64,
) (*comparison, error) {
	confidence = confidenceOf(study.Spec, confidence)
	table, err := repeatedOf(snapshot, study)
	if err != nil {
		return nil, err
	}
	if table != nil {
		return table.compare(snapshot, study, confidence)
	}
	all, err := configurationsOf(snapshot, study)
	if err != nil {
		return nil, err
	}
	result := &comparison{study: study, objective: objective.Of(study.Spec), confidence: confidence}
	for _, configuration := range all {
		if configuration.answered > 0 {
			result.answered.listed = append(result.answered.listed, configuration)
		} else {
			result.open.listed = append(result.open.listed, configuration)
		}
	}
	result.seeds, result.plan = planOf(study.Spec, func(yield func(uint32) bool) {
		for _, configuration := range all {
			for _, try := range configuration.tries {
				if !yield(try.seed) {
					return
				}
			}
		}
	})
	result.plan.Confidence = result.confidence
	places := make(map[uint32]int, len(result.seeds))
	for place, seed := range result.seeds {
		places[seed] = place
	}
	for _, configuration := range result.answered.listed {
		result.samples = append(result.samples, configuration.sample(places))
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	if len(result.samples) > 0 {
		result.judgement = statistics.Judge(result.samples, result.plan)
	}
	return result, nil
}

// confidenceOf returns the requested confidence or, if that is 0, the confidence of the spec's settle, or the default.
func confidenceOf(spec *trellisv1.StudySpec, asked float64) float64 {
	return cmp.Or(asked, spec.GetSettle().GetConfidence(), DefaultConfidence)
}

// planOf returns the order in which a study's seeds are looked at, and when. Without settle there is one look. With
// settle, the first look is at the spec's seeds. Then settle adds seeds one by one: the smallest numbers from 1 on that
// are not among them. Seeds that were added otherwise come last.
func planOf(spec *trellisv1.StudySpec, tried iter.Seq[uint32]) ([]uint32, statistics.Plan) {
	var seeds []uint32
	var plan statistics.Plan
	known := map[uint32]bool{}
	add := func(seed uint32) {
		if !known[seed] {
			known[seed] = true
			seeds = append(seeds, seed)
		}
	}
	if settle := spec.GetSettle(); settle != nil {
		for _, seed := range grid.SeedsOf(spec) {
			add(seed)
		}
		plan.First, plan.Last = len(seeds), int(settle.GetMaxSeeds())
		for seed := uint32(1); len(seeds) < plan.Last; seed++ {
			add(seed)
		}
	}
	planned := len(seeds)
	for seed := range tried {
		add(seed)
	}
	slices.Sort(seeds[planned:])
	return seeds, plan
}

// hasSeveralSeeds says whether configurations of the study may have several trials each.
func hasSeveralSeeds(study *trellisv1.Study) bool {
	return study.Spec.GetSettle() != nil || len(grid.SeedsOf(study.Spec)) > 1
}

// bestSeeds returns how many seeds the best configuration has results for. With one, nothing is known about the others.
func (c *comparison) bestSeeds() int { return len(c.samples[c.judgement.Order[0]]) }

// message returns the configuration at a place of the order, counted from 0, as users see it. One that has diverged
// stands behind the others and has no rank.
func (c *comparison) message(rank int) *trellisv1.Configuration {
	if rank >= c.answered.len() {
		return c.open.at(rank - c.answered.len()).message()
	}
	at := c.judgement.Order[rank]
	message := c.answered.at(at).message()
	sample := c.samples[at]
	if sample.Finite() {
		message.Rank = proto.Uint64(uint64(rank + 1))
	}
	message.Mean = proto.Float64(objective.Loss(c.objective, sample.Mean()))
	versus := c.judgement.Comparisons[at]
	message.Contender = sample.Finite() && (rank == 0 || versus.Contender && c.bestSeeds() > 1)
	if len(sample) < 2 || !sample.Finite() {
		return message
	}
	message.Deviation = proto.Float64(sample.Deviation())
	message.Interval = intervalMessage(intervalOf(c.objective, sample.Interval(c.confidence)))
	if rank > 0 && versus.Seeds >= 2 {
		message.Difference = proto.Float64(versus.Difference)
		message.DifferenceInterval = intervalMessage(versus.Interval)
	}
	return message
}

// message returns the configuration's own fields, without the comparison.
func (c *configuration) message() *trellisv1.Configuration {
	parameters := grid.WithMaxEpochs(c.parameters, c.parameters.GetMaxEpochs())
	parameters.Seed = 0
	message := &trellisv1.Configuration{Parameters: parameters}
	tests := statistics.Sample{}
	var metrics, testMetrics []map[string]float64
	for place, try := range c.tries {
		if try.answer == nil {
			continue
		}
		message.Repetitions = append(message.Repetitions, &trellisv1.Repetition{
			Seed: try.seed, Trial: try.answer.Index, Objective: objectiveOf(try.answer),
		})
		metrics, testMetrics = append(metrics, try.answer.Metrics), append(testMetrics, try.answer.TestMetrics)
		if try.answer.TestLoss != nil {
			tests = append(tests, statistics.Observation{Place: place, Objective: try.answer.GetTestLoss()})
		}
	}
	if len(tests) > 0 && len(tests) == c.answered {
		message.TestMean = proto.Float64(tests.Mean())
	}
	message.Metrics, message.TestMetrics = meanMetrics(metrics), meanMetrics(testMetrics)
	return message
}

// intervalOf returns an interval of an objective, given that of its losses.
func intervalOf(o *trellisv1.Objective, losses statistics.Interval) statistics.Interval {
	low, high := objective.Loss(o, losses.Low), objective.Loss(o, losses.High)
	if objective.Maximizes(o) {
		low, high = high, low
	}
	return statistics.Interval{Low: low, High: high}
}

func intervalMessage(interval statistics.Interval) *trellisv1.Interval {
	return &trellisv1.Interval{Low: interval.Low, High: interval.High}
}

// ListConfigurations returns a page of a study's configurations: see ListConfigurationsRequest. A page starts at the
// rank where the previous page ended. A configuration whose rank changes in the meantime may appear twice or not at
// all. It fails with results.ErrNotFound if there is no such study, with results.ErrInvalid if the token is invalid, and
// with results.ErrReplaced if it is of another study of that name.
//
// Every page ranks all configurations again if the study has changed. Unless all have the same seeds, that reads all trials.
func ListConfigurations(
	snapshot *results.Snapshot, request *trellisv1.ListConfigurationsRequest,
) (*trellisv1.ListConfigurationsResponse, error) {
	study, err := snapshot.Study(nil, request.GetStudy())
	if err != nil {
		return nil, fmt.Errorf("list configurations: %w", err)
	}
	compared, err := compareConfigurations(snapshot, study, request.GetConfidence())
	if err != nil {
		return nil, fmt.Errorf("list configurations: %w", err)
	}
	response := &trellisv1.ListConfigurationsResponse{
		Total: uint64(compared.answered.len() + compared.open.len()), Objective: objective.Of(study.Spec),
	}
	response.Configurations, response.NextPageToken, err = listing.PageByRank(
		study, fmt.Sprintf("configurations %q %v", study.Name, request.GetConfidence()),
		request.GetPageSize(), request.GetPageToken(), response.Total,
		func(rank uint64) *trellisv1.Configuration { return compared.message(int(rank)) })
	if err = cmp.Or(compared.err, err); err != nil {
		return nil, fmt.Errorf("list configurations: %w", err)
	}
	return response, nil
}
