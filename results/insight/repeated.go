package insight

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/columns"
	"trellis/results/kept"
	"trellis/results/listing"
	"trellis/results/objective"
	"trellis/results/statistics"
)

// maxRepeated is how many trials a study may have so that the samples of its configurations are kept: 16 bytes a trial.
const maxRepeated = 1 << 22

// repeated has the samples of the configurations of a study that trains each of them with the same seeds. It follows the study:
// what has changed since somebody asked last is read, and nothing else. Configuration n has the trials whose indexes are n times
// the number of seeds, and those that follow.
type repeated struct {
	seeds []uint32
	// places are those of the seeds in the order in which they are looked at, and planned all that are looked at.
	places  []int
	planned []uint32
	plan    statistics.Plan
	// order are the configurations in the order that breaks ties, and positions where each stands there.
	order, positions []uint32
	// space is that of the study, and points are those of the configurations in it.
	space  *space
	points []point

	mu sync.Mutex
	// sections are what the samples were read from.
	sections map[uint32]*columns.Columns
	// samples, and what is known of each, are in the order that breaks ties. They are replaced, and never changed.
	samples []statistics.Sample
	known   []statistics.Known

	// judging is held while memory is used, where positions are those in the order that breaks ties.
	judging sync.Mutex
	memory  statistics.Memory
}

type repeatedKey struct{}

// repeatedOf returns the samples of a study, or nil if its configurations don't all have the same seeds.
func repeatedOf(snapshot *results.Snapshot, study *trellisv1.Study) (*repeated, error) {
	seeds, trials, err := seedsOfAll(snapshot, study)
	if err != nil || seeds == nil || trials > maxRepeated {
		return nil, err
	}
	lasting := snapshot.Lasting(study)
	return kept.Once(lasting, repeatedKey{}, snapshot.Done(), snapshot.Err, func() (*repeated, error) {
		return newRepeated(snapshot, study, seeds, int(trials)/len(seeds))
	})
}

// seedsOfAll returns the seeds of a study all of whose points are trained with each of them, and the number of its trials: see
// lattice.Seeds. There are none if it has other trials too, or fewer.
func seedsOfAll(snapshot *results.Snapshot, study *trellisv1.Study) (seeds []uint32, trials uint64, err error) {
	c, err := snapshot.Catalog(study.GetName())
	if err != nil || c.Base == nil || len(c.Listed()) > 0 {
		return nil, 0, err
	}
	if seeds, ok := c.Base.Seeds(); ok {
		return seeds, c.Trials(), nil
	}
	return nil, 0, nil
}

func newRepeated(
	snapshot *results.Snapshot, study *trellisv1.Study, seeds []uint32, configurations int,
) (*repeated, error) {
	space, err := newSpace(snapshot, study)
	if err != nil {
		return nil, err
	}
	r := &repeated{
		space: space, points: make([]point, configurations), seeds: seeds, order: make([]uint32, configurations), positions: make([]uint32, configurations),
		sections: map[uint32]*columns.Columns{},
		samples:  make([]statistics.Sample, configurations), known: make([]statistics.Known, configurations),
	}
	ties := make([]uint64, configurations)
	for number := range r.order {
		point, err := snapshot.Point(study.GetName(), r.index(uint32(number), 0))
		if err == nil {
			err = snapshot.Err()
		}
		if err != nil {
			return nil, err
		}
		r.points[number] = space.at(space.points(point), point.MaxEpochs)
		r.order[number], ties[number] = uint32(number), listing.Ties(&trellisv1.Trial{Parameters: point})
	}
	slices.SortFunc(r.order, func(a, b uint32) int { return cmp.Or(cmp.Compare(ties[a], ties[b]), cmp.Compare(a, b)) })
	for position, number := range r.order {
		r.positions[number] = uint32(position)
	}
	r.planned, r.plan = planOf(study.GetSpec(), slices.Values(seeds))
	for _, seed := range seeds {
		r.places = append(r.places, slices.Index(r.planned, seed))
	}
	return r, nil
}

// index returns the index of the trial of a configuration with a seed, by the seed's position.
func (r *repeated) index(number uint32, seed int) uint64 {
	return uint64(number)*uint64(len(r.seeds)) + uint64(seed)
}

// follow returns the samples as they are in a snapshot, by the order that breaks ties. Those of other configurations are empty.
func (r *repeated) follow(
	snapshot *results.Snapshot, study *trellisv1.Study,
) ([]statistics.Sample, []statistics.Known, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, err := r.readChanged(snapshot, study)
	if err == nil && seen < len(r.sections) {
		// Somebody has asked about a later state of the study, which had more sections.
		r.sections = map[uint32]*columns.Columns{}
		r.samples, r.known = make([]statistics.Sample, len(r.order)), make([]statistics.Known, len(r.order))
		_, err = r.readChanged(snapshot, study)
	}
	return r.samples, r.known, err
}

// readChanged reads the sections that are not those that the samples were read from, and returns how many there are. mu must be
// held.
func (r *repeated) readChanged(snapshot *results.Snapshot, study *trellisv1.Study) (seen int, err error) {
	sections, err := snapshot.Columns(study)
	if err != nil {
		return 0, err
	}
	u := &update{
		repeated: r, objective: objective.Of(study.GetSpec()), samples: slices.Clone(r.samples),
		known: slices.Clone(r.known), own: make([]bool, len(r.samples)),
	}
	ranking := listing.RankingOf(study.GetSpec())
	for number, its := range sections {
		if seen++; r.sections[number] != its {
			u.replace(ranking, r.sections[number], its)
			r.sections[number] = its
		}
	}
	for at, own := range u.own {
		if own {
			u.known[at] = statistics.Know(u.samples[at])
		}
	}
	r.samples, r.known = u.samples, u.known
	return seen, snapshot.Err()
}

// update changes samples of a copy.
type update struct {
	*repeated
	objective *trellisv1.Objective
	samples   []statistics.Sample
	known     []statistics.Known
	// own says which samples are the update's own, so that they can be changed.
	own []bool
}

// replace takes the results of a section in the place of earlier ones, which may be nil.
func (u *update) replace(ranking listing.Ranking, before, its *columns.Columns) {
	var earlier map[uint64]float64
	if before != nil {
		earlier = maps.Collect(before.Each(ranking))
	}
	for index, value := range its.Each(ranking) {
		if was, ok := earlier[index]; ok {
			if delete(earlier, index); math.Float64bits(was) == math.Float64bits(value) {
				continue
			}
		}
		u.set(index, objective.Loss(u.objective, value), true)
	}
	for index := range earlier {
		u.set(index, 0, false)
	}
}

// set sets a trial's observation, or removes it.
func (u *update) set(index uint64, loss float64, answered bool) {
	at := u.positions[index/uint64(len(u.seeds))]
	sample := u.samples[at]
	if !u.own[at] {
		sample = append(make(statistics.Sample, 0, min(len(u.seeds), 2*len(sample)+4)), sample...)
		u.own[at] = true
	}
	observation := statistics.Observation{Place: u.places[index%uint64(len(u.seeds))], Objective: loss}
	place, has := slices.BinarySearchFunc(sample, observation.Place, func(o statistics.Observation, place int) int {
		return cmp.Compare(o.Place, place)
	})
	switch {
	case has && answered:
		sample[place] = observation
	case has:
		sample = slices.Delete(sample, place, place+1)
	case answered:
		sample = slices.Insert(sample, place, observation)
	}
	u.samples[at] = sample
}

// finding returns the finding at a configuration, without what was found.
func (r *repeated) finding(axes *space, number uint32) finding {
	its := r.points[number]
	return finding{
		point: its, latentDim: axes.number(its, axes.latentDim), maxEpochs: uint32(axes.number(its, axes.maxEpochs)),
	}
}

// answers returns the results of a configuration by the seeds' positions, nil where there is none.
func (r *repeated) answers(
	snapshot *results.Snapshot, study *trellisv1.Study, number uint32,
) ([]*trellisv1.Trial, error) {
	return snapshot.Answers(study.GetName(), func(yield func(uint64) bool) {
		for seed := range r.seeds {
			if !yield(r.index(number, seed)) {
				return
			}
		}
	})
}

// read returns a configuration with its results.
func (r *repeated) read(
	snapshot *results.Snapshot, study *trellisv1.Study, number uint32,
) (*configuration, error) {
	parameters, err := snapshot.Point(study.GetName(), r.index(number, 0))
	if err != nil {
		return nil, err
	}
	c := &configuration{
		parameters: parameters, first: r.index(number, 0), objective: objective.Of(study.GetSpec()),
		tries: make([]try, len(r.seeds)),
	}
	answers, err := r.answers(snapshot, study, number)
	if err != nil {
		return nil, err
	}
	for i, seed := range r.seeds {
		if c.tries[i] = (try{seed, answers[i]}); answers[i] != nil {
			c.answered++
		}
	}
	slices.SortFunc(c.tries, func(a, b try) int { return cmp.Compare(a.seed, b.seed) })
	return c, nil
}

// judgedKey is under which a judgement is kept.
type judgedKey struct{ confidence float64 }

// judgedNumbers is a judgement of the configurations with these numbers; open are the others.
type judgedNumbers struct {
	judged
	answered, open []uint32
}

// compare is compareConfigurations. It judges once for each version of the study.
func (r *repeated) compare(
	snapshot *results.Snapshot, study *trellisv1.Study, confidence float64,
) (*comparison, error) {
	its, err := kept.Once(snapshot.Kept(study), judgedKey{confidence}, snapshot.Done(), snapshot.Err,
		func() (*judgedNumbers, error) {
			samples, known, err := r.follow(snapshot, study)
			if err != nil {
				return nil, err
			}
			return r.judge(samples, known, confidence), nil
		})
	if err != nil {
		return nil, err
	}
	c := &comparison{
		study: study, objective: objective.Of(study.GetSpec()), confidence: confidence, judged: its.judged,
	}
	read := func(number uint32) *configuration {
		found, err := r.read(snapshot, study, number)
		if err != nil {
			c.err = err
			return &configuration{objective: c.objective}
		}
		return found
	}
	points := func(number uint32) *trellisv1.Parameters {
		point, err := snapshot.Point(study.GetName(), r.index(number, 0))
		if err != nil {
			c.err = err
		}
		return point
	}
	c.answered = configurations{numbers: its.answered, read: read, points: points}
	c.open = configurations{numbers: its.open, read: read, points: points}
	return c, nil
}

func (r *repeated) judge(samples []statistics.Sample, known []statistics.Known, confidence float64) *judgedNumbers {
	j := &judgedNumbers{judged: judged{seeds: r.planned, plan: r.plan}}
	j.plan.Confidence = confidence
	j.samples = make([]statistics.Sample, 0, len(samples))
	known, positions := slices.Clone(known), make([]uint32, 0, len(samples))
	for at, sample := range samples {
		if len(sample) == 0 {
			j.open = append(j.open, r.order[at])
			continue
		}
		known[len(j.samples)] = known[at]
		positions = append(positions, uint32(at))
		j.samples, j.answered = append(j.samples, sample), append(j.answered, r.order[at])
	}
	if len(j.samples) > 0 {
		r.judging.Lock()
		defer r.judging.Unlock()
		j.judgement = statistics.JudgeKnown(j.samples, known[:len(j.samples)], j.plan, &r.memory, positions)
	}
	return j
}
