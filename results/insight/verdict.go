package insight

import (
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/listing"
	"trellis/results/statistics"
)

// maxContenders is how many contenders a verdict lists.
const maxContenders = 100

// Verdict returns which of a study's configurations is best, and how certain that is. Confidence 0 stands for the
// default: the confidence of the study's settle, or DefaultConfidence. It fails with ErrNotFound if there is no such
// study, and with ErrNoAnswer if no trial has succeeded.
//
// For a study with one seed, or with the same seeds for all configurations, this is fast, no matter how large the study is. With
// others it reads all trials: see configurationsOf.
func Verdict(snapshot *results.Snapshot, study string, confidence float64) (*trellisv1.Verdict, error) {
	response, err := bestWithVerdict(snapshot, study, confidence)
	return response.GetVerdict(), err
}

// BestTrial returns the best trial and the next trial in rank that differs in more than max_epochs, with their losses,
// the study, and the verdict. If the study has several seeds, these are the best trials of such configurations. It
// fails when Verdict fails.
func BestTrial(
	snapshot *results.Snapshot, request *trellisv1.GetBestTrialRequest,
) (*trellisv1.GetBestTrialResponse, error) {
	response, err := bestWithVerdict(snapshot, request.GetStudy(), request.GetConfidence())
	if err != nil {
		return nil, err
	}
	if response.Study, err = snapshot.Presented(response.Study); err != nil {
		return nil, err
	}
	if response.Trial, err = snapshot.WithLosses(response.Trial); err != nil {
		return nil, err
	}
	if response.RunnerUp != nil {
		if response.RunnerUp, err = snapshot.WithLosses(response.RunnerUp); err != nil {
			return nil, err
		}
	}
	return response, nil
}

func bestWithVerdict(
	snapshot *results.Snapshot, name string, confidence float64,
) (*trellisv1.GetBestTrialResponse, error) {
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return nil, err
	}
	if !hasSeveralSeeds(study) {
		return bestOfOneSeed(snapshot, study, confidence)
	}
	compared, err := compareConfigurations(snapshot, study, confidence)
	if err != nil {
		return nil, err
	}
	if compared.answered.len() == 0 {
		return nil, noAnswer(snapshot, study)
	}
	order := compared.judgement.Order
	response := &trellisv1.GetBestTrialResponse{
		Study: study, Trial: compared.answered.at(order[0]).bestTrial(), Verdict: compared.verdict(),
	}
	best := compared.answered.parameters(order[0])
	for _, at := range order[1:] {
		if !compared.samples[at].Finite() {
			// What follows has diverged too.
			break
		}
		if areRivals(best, compared.answered.parameters(at)) {
			response.RunnerUp = compared.answered.at(at).bestTrial()
			break
		}
	}
	return response, compared.err
}

// noAnswer returns why a study without results has no best trial. It is an ErrNoAnswer.
func noAnswer(snapshot *results.Snapshot, study *trellisv1.Study) error {
	why := results.ErrNoAnswer
	if unreported, err := unreportedMetric(snapshot, study); err != nil {
		return err
	} else if unreported != nil {
		why = unreported
	}
	return fmt.Errorf("study %q has no best trial: %w", study.GetName(), why)
}

// areRivals says whether configurations differ in more than max_epochs: with fewer epochs, the same training is only
// cut short.
func areRivals(a, b *trellisv1.Parameters) bool {
	return !maps.EqualFunc(a.GetValues(), b.GetValues(),
		func(v, w *trellisv1.Value) bool { return grid.KeyOf(v) == grid.KeyOf(w) })
}

// bestOfOneSeed answers from the ranking of trials, each of which is a configuration.
func bestOfOneSeed(
	snapshot *results.Snapshot, study *trellisv1.Study, confidence float64,
) (*trellisv1.GetBestTrialResponse, error) {
	ranked, err := snapshot.Ranked(study.Name)
	if err != nil {
		return nil, err
	}
	var best, runnerUp *trellisv1.Trial
	for trial := range ranked {
		if best == nil {
			best = trial
		} else if !listing.Finite(trial.Objective) {
			// What follows has diverged too.
			break
		} else if areRivals(best.Parameters, trial.Parameters) {
			runnerUp = trial
			break
		}
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	if best == nil {
		return nil, noAnswer(snapshot, study)
	}
	configuration := configuration{
		parameters: best.Parameters, tries: []try{{best.Parameters.GetSeed(), best}}, answered: 1,
	}
	verdict := &trellisv1.Verdict{
		Confidence:     confidenceOf(study.Spec, confidence),
		Configurations: study.Progress.TrialsSucceeded,
		Seeds:          1,
		Settled:        study.Progress.TrialsSucceeded < 2,
	}
	if listing.Finite(best.Objective) {
		message := configuration.message()
		message.Rank, message.Mean, message.Contender = proto.Uint64(1), proto.Float64(objectiveOf(best)), true
		verdict.Best = message
		if !verdict.Settled {
			verdict.Advice = adviceForOneSeed(study)
		}
	}
	return &trellisv1.GetBestTrialResponse{Trial: best, RunnerUp: runnerUp, Study: study, Verdict: verdict}, nil
}

// verdict returns the verdict. At least one configuration must have a result.
func (c *comparison) verdict() *trellisv1.Verdict {
	verdict := &trellisv1.Verdict{
		Confidence:     c.confidence,
		Configurations: uint64(c.answered.len()),
		Seeds:          uint32(c.bestSeeds()),
		Settled:        c.judgement.Settled,
	}
	if c.samples[c.judgement.Order[0]].Finite() {
		verdict.Best = c.message(0)
	}
	if c.bestSeeds() > 1 {
		for rank, at := range c.judgement.Order {
			if rank == 0 || !c.judgement.Comparisons[at].Contender {
				continue
			}
			if verdict.ContendersTotal++; verdict.ContendersTotal <= maxContenders {
				verdict.Contenders = append(verdict.Contenders, c.message(rank))
			}
		}
	}
	if !verdict.Settled {
		verdict.Advice = c.advice()
	}
	return verdict
}

// NextSeed returns the trials that a study's settle needs next: its contenders, with the seed that the next look adds.
// There are none if the study has no settle, if it is settled, or if its budget is used up. They follow from the
// results of the study's trials. The study never has them already, so adding them ends eventually, whatever fails.
//
// Call it only when all runs of the study have ended.
func NextSeed(snapshot *results.Snapshot, study *trellisv1.Study) ([]*trellisv1.Parameters, error) {
	if study.GetSpec().GetSettle() == nil {
		return nil, nil
	}
	compared, err := compareConfigurations(snapshot, study, 0)
	if err != nil {
		return nil, fmt.Errorf("find the next seed of study %q: %w", study.GetName(), err)
	}
	meets := func(*trellisv1.Parameters) bool { return true }
	if study.GetSpec().GetWhere() != "" {
		points, err := grid.New(study.GetSpec())
		if err != nil {
			return nil, fmt.Errorf("find the next seed of study %q: %w", study.GetName(), err)
		}
		meets = points.Meets
	}
	if grid.Sampled(study.GetSpec()) {
		points, err := grid.New(study.GetSpec())
		if err != nil {
			return nil, fmt.Errorf("find the next seed of study %q: %w", study.GetName(), err)
		}
		// A point of the grid that the budget leaves out is added by a larger budget only.
		meets = func(p *trellisv1.Parameters) bool {
			_, inGrid := points.Index(p)
			return !inGrid && points.Meets(p)
		}
	}
	point := func(at, place int) *trellisv1.Parameters {
		its := compared.answered.parameters(at)
		its = grid.WithMaxEpochs(its, its.GetMaxEpochs())
		its.Seed = compared.seeds[place]
		return its
	}
	// What the spec's where leaves out is as if it had been tried without an answer.
	tried := func(at, place int) bool {
		return compared.answered.at(at).hasTried(compared.seeds[place]) || !meets(point(at, place))
	}
	wanting, place := statistics.NextSeed(compared.samples, compared.plan, tried)
	var points []*trellisv1.Parameters
	for _, at := range wanting {
		points = append(points, point(at, place))
	}
	return points, compared.err
}
