package insight

import (
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
	"trellis/results/statistics"
)

// maxContenders is how many contenders a verdict lists.
const maxContenders = 100

// Verdict says which of a study's configurations is best, and how sure that is. Confidence 0 is the default: what the
// study settles with, or DefaultConfidence. ErrNotFound if there is no such study, ErrNoAnswer if no trial has been
// answered.
//
// A study with one seed is answered at once, however large; with several, all trials are read: see configurationsOf.
func Verdict(snapshot *results.Snapshot, study string, confidence float64) (*trellisv1.Verdict, error) {
	response, err := bestWithVerdict(snapshot, study, confidence)
	return response.GetVerdict(), err
}

// BestTrial returns the best trial and the next in rank that differs in more than max_epochs, with their losses, the
// study, and the verdict. If the study has several seeds, these are the best trials of such configurations. It fails as
// Verdict does.
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
	if len(compared.answered) == 0 {
		return nil, fmt.Errorf("study %q has no best trial: %w", name, results.ErrNoAnswer)
	}
	order := compared.judgement.Order
	response := &trellisv1.GetBestTrialResponse{
		Study: study, Trial: compared.answered[order[0]].bestTrial(), Verdict: compared.verdict(),
	}
	best := compared.answered[order[0]].parameters
	for _, at := range order[1:] {
		other := compared.answered[at]
		if !compared.samples[at].Finite() {
			// What follows has diverged too.
			break
		}
		if areRivals(best, other.parameters) {
			response.RunnerUp = other.bestTrial()
			break
		}
	}
	return response, nil
}

// areRivals says whether configurations differ in more than max_epochs, in which the same training is cut short.
func areRivals(a, b *trellisv1.Parameters) bool {
	return newPoint(a, 0, "") != newPoint(b, 0, "") || !maps.Equal(a.GetValues(), b.GetValues())
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
	if best == nil {
		return nil, fmt.Errorf("study %q has no best trial: %w", study.Name, results.ErrNoAnswer)
	}
	configuration := configuration{
		parameters: best.Parameters, tries: []try{{best.Parameters.GetSeed(), best}}, answered: 1,
	}
	message := configuration.message()
	message.Rank, message.Mean, message.Contender = 1, proto.Float64(objectiveOf(best)), listing.Finite(best.Objective)
	verdict := &trellisv1.Verdict{
		Confidence:     confidenceOf(study.Spec, confidence),
		Configurations: study.Progress.TrialsSucceeded,
		Best:           message,
		Seeds:          1,
		Settled:        study.Progress.TrialsSucceeded < 2,
	}
	if !verdict.Settled && message.Contender {
		verdict.Advice = adviceForOneSeed(study)
	}
	return &trellisv1.GetBestTrialResponse{Trial: best, RunnerUp: runnerUp, Study: study, Verdict: verdict}, nil
}

// verdict sums up what is known. At least one configuration must have been answered.
func (c *comparison) verdict() *trellisv1.Verdict {
	verdict := &trellisv1.Verdict{
		Confidence:     c.confidence,
		Configurations: uint64(len(c.answered)),
		Best:           c.message(0),
		Seeds:          uint32(c.bestSeeds()),
		Settled:        c.judgement.Settled,
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
// There are none if it has no settle, if it has been settled, or if its budget is used up. They follow from what the
// study's trials have given, and are none that the study has, so that adding them comes to an end whatever fails.
//
// It is to be asked once all runs of the study have ended.
func NextSeed(snapshot *results.Snapshot, study *trellisv1.Study) ([]*trellisv1.Parameters, error) {
	if study.GetSpec().GetSettle() == nil {
		return nil, nil
	}
	compared, err := compareConfigurations(snapshot, study, 0)
	if err != nil {
		return nil, fmt.Errorf("find the next seed of study %s: %w", study.GetName(), err)
	}
	tried := func(at, place int) bool { return compared.answered[at].hasTried(compared.seeds[place]) }
	wanting, place := statistics.NextSeed(compared.samples, compared.plan, tried)
	var points []*trellisv1.Parameters
	for _, at := range wanting {
		point := proto.CloneOf(compared.answered[at].parameters)
		point.Seed = compared.seeds[place]
		points = append(points, point)
	}
	return points, nil
}
