package insight

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
)

// seeded is a study whose runs differ in latent dimension and seed, each with trials of one and two epochs.
type seeded struct {
	*studyStore
	// losses are what a run reports, by latent dimension and seed: nil is a run that fails.
	losses func(latentDim, seed uint32) []float64
}

// newSeeded creates the study and trains all its runs.
func newSeeded(
	t testing.TB, spec *trellisv1.StudySpec, latentDims, seeds []uint32, losses func(latentDim, seed uint32) []float64,
) *seeded {
	t.Helper()
	runs, trials := seededRuns(latentDims, seeds, 0)
	study := &trellisv1.Study{Spec: spec, Indices: uint64(len(trials))}
	s := &seeded{studyStore: newStudyStore(t, study, runs, trials), losses: losses}
	s.trainAll(runs)
	return s
}

func seededRuns(latentDims, seeds []uint32, first uint64) (runs []*trellisv1.Run, trials []*trellisv1.Trial) {
	for _, seed := range seeds {
		for _, latentDim := range latentDims {
			run, its := testRun(
				fmt.Sprintf("latent-%d-seed-%d", latentDim, seed),
				latentDim,
				first+uint64(len(trials)),
				1,
				2,
			)
			run.Parameters.Seed = seed
			for _, trial := range its {
				trial.Parameters.Seed = seed
			}
			runs, trials = append(runs, run), append(trials, its...)
		}
	}
	return runs, trials
}

func (s *seeded) trainAll(runs []*trellisv1.Run) {
	s.Helper()
	var outcomes []outcome
	for _, run := range runs {
		losses := s.losses(uint32(run.Parameters.Numeric("latent_dim")), run.Parameters.Seed)
		its := outcome{run: run.Id, losses: losses, failed: losses == nil, tests: map[uint32]float64{}}
		for i, loss := range losses {
			its.tests[uint32(i+1)] = loss + 1
		}
		outcomes = append(outcomes, its)
	}
	s.train(outcomes)
}

// seedsSpec is a spec with seeds.
func seedsSpec(seeds ...uint32) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{Name: "s", Seeds: trellisv1.AxisOf[uint32](seeds...)}
}

// describe names configurations by latent dimension and maximum epochs.
func describe(configurations []*trellisv1.Configuration) string {
	names := []string{}
	for _, c := range configurations {
		name := fmt.Sprintf("%d/%d", uint32(c.Parameters.Numeric("latent_dim")), c.Parameters.MaxEpochs)
		if c.Contender {
			name += "*"
		}
		names = append(names, name)
	}
	return fmt.Sprint(names)
}

func (s *seeded) list(request *trellisv1.ListConfigurationsRequest) *trellisv1.ListConfigurationsResponse {
	s.Helper()
	request.Study = "s"
	response, err := ListConfigurations(s.Snapshot(), request)
	ok(s, err)
	return response
}

// TestListConfigurations: 2 gives the same in epoch 2 as in epoch 1, with every seed; 4 is clearly worse, and better in
// epoch 2; 8 has failed with one seed of three; 16 has diverged with one; 32 has always failed.
func TestListConfigurations(t *testing.T) {
	s := newSeeded(
		t,
		seedsSpec(3, 1, 2),
		[]uint32{32, 16, 8, 4, 2},
		[]uint32{3, 1, 2},
		func(latentDim, seed uint32) []float64 {
			noise := 0.01 * float64(seed*seed)
			switch {
			case latentDim == 32, latentDim == 8 && seed == 2:
				return nil
			case latentDim == 16 && seed == 3:
				return []float64{math.NaN()}
			case latentDim == 2:
				return []float64{1 + noise, 1 + noise}
			default:
				return []float64{4 + 2*noise + 0.1*float64(latentDim), 3 + noise + 0.1*float64(latentDim)}
			}
		},
	)
	list := s.list(&trellisv1.ListConfigurationsRequest{})
	if got, want := describe(list.Configurations), "[2/1* 2/2* 4/2 4/1 8/2 8/1 16/1 16/2 32/1 32/2]"; got != want {
		t.Errorf("ranked %s, want %s", got, want)
	}
	if list.Total != 10 || list.NextPageToken != "" {
		t.Errorf("%d in all, next page %q", list.Total, list.NextPageToken)
	}
	best := list.Configurations[0]
	mean, deviation := 1+0.14/3, math.Sqrt((0.0001+0.0016+0.0081-3*(0.14/3)*(0.14/3))/2)
	if best.Parameters.Seed != 0 || best.GetRank() != 1 || math.Abs(best.GetMean()-mean) > 1e-12 ||
		math.Abs(
			best.GetDeviation()-deviation,
		) > 1e-12 || math.Abs(best.GetTestMean()-mean-1) > 1e-12 || best.Difference != nil {
		t.Errorf("best %v", best)
	}
	// From a table: t is 4.3027 with 2 degrees of freedom.
	if half := 4.3027 * deviation / math.Sqrt(3); math.Abs(best.Interval.GetHigh()-mean-half) > 1e-5 {
		t.Errorf("interval %v, want %v around %v", best.Interval, half, mean)
	}
	var seeds []uint32
	for i, repetition := range best.Repetitions {
		seeds = append(seeds, repetition.Seed)
		trial, err := s.Snapshot().Trial("s", repetition.Trial)
		ok(t, err)
		if trial.Parameters.Seed != repetition.Seed || trial.GetObjective() != repetition.Objective ||
			trial.Parameters.Numeric("latent_dim") != 2 {
			t.Errorf("repetition %d is %v, its trial %v", i, repetition, trial)
		}
	}
	if !slices.Equal(seeds, []uint32{1, 2, 3}) {
		t.Errorf("seeds %v", seeds)
	}
	if same := list.Configurations[1]; same.GetDifference() != 0 || same.Difference == nil {
		t.Errorf("the same: %v", same)
	}
	// Differences of 2.4, with the noise of a seed cancelled.
	if worse := list.Configurations[2]; math.Abs(worse.GetDifference()-2.4) > 1e-12 ||
		worse.DifferenceInterval.GetLow() < 2.39 {
		t.Errorf("clearly worse: %v", worse)
	}
	if diverged := list.Configurations[6]; !math.IsNaN(diverged.GetMean()) || diverged.Interval != nil ||
		diverged.Deviation != nil {
		t.Errorf("diverged: %v", diverged)
	}
	if open := list.Configurations[8]; open.Rank != nil || open.Mean != nil || len(open.Repetitions) != 0 {
		t.Errorf("open: %v", open)
	}
}

// TestListConfigurationsPages: pages of any size have the same rows as one page.
func TestListConfigurationsPages(t *testing.T) {
	s := newSeeded(t, seedsSpec(1, 2), []uint32{1, 2, 3, 4, 5}, []uint32{1, 2}, func(latentDim, seed uint32) []float64 {
		if latentDim == 5 {
			return nil
		}
		return []float64{float64(latentDim * seed), 0.5 * float64(latentDim*seed)}
	})
	want := s.list(&trellisv1.ListConfigurationsRequest{})
	if len(want.Configurations) != 10 {
		t.Fatalf("%d configurations", len(want.Configurations))
	}
	for size := uint32(1); size <= 11; size++ {
		got := &trellisv1.ListConfigurationsResponse{Total: want.Total}
		request := &trellisv1.ListConfigurationsRequest{PageSize: size}
		for {
			page := s.list(request)
			got.Configurations = append(got.Configurations, page.Configurations...)
			if len(page.Configurations) > int(size) {
				t.Fatalf("%d on a page of %d", len(page.Configurations), size)
			}
			if request.PageToken = page.NextPageToken; page.NextPageToken == "" {
				break
			}
		}
		equal(t, fmt.Sprintf("pages of %d", size), got, want)
	}
	snapshot := s.Snapshot()
	token := s.list(&trellisv1.ListConfigurationsRequest{PageSize: 1}).NextPageToken
	for name, test := range map[string]struct {
		request *trellisv1.ListConfigurationsRequest
		want    error
	}{
		"no such study": {&trellisv1.ListConfigurationsRequest{Study: "none"}, results.ErrNotFound},
		"no token":      {&trellisv1.ListConfigurationsRequest{Study: "s", PageToken: "x"}, results.ErrInvalid},
		"of another listing": {
			&trellisv1.ListConfigurationsRequest{Study: "s", PageToken: token, Confidence: 0.9}, results.ErrInvalid,
		},
		"a token that is cut": {
			&trellisv1.ListConfigurationsRequest{Study: "s", PageToken: token[:15]}, results.ErrInvalid,
		},
		"a token that is fine": {&trellisv1.ListConfigurationsRequest{Study: "s", PageToken: token}, nil},
	} {
		if _, err := ListConfigurations(snapshot, test.request); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestPlanOf: the spec's seeds first, then the smallest that are not among them, then what has come otherwise.
func TestPlanOf(t *testing.T) {
	spec := seedsSpec(5, 2)
	tried := slices.Values([]uint32{9, 3, 2, 7})
	if seeds, plan := planOf(spec, tried); !slices.Equal(seeds, []uint32{2, 3, 7, 9}) || plan.Last != 0 {
		t.Errorf("without settle %v, %+v", seeds, plan)
	}
	spec.Settle = &trellisv1.Settle{MaxSeeds: 5}
	if seeds, plan := planOf(spec, tried); !slices.Equal(seeds, []uint32{2, 5, 1, 3, 4, 7, 9}) || plan.First != 2 ||
		plan.Last != 5 {
		t.Errorf("with settle %v, %+v", seeds, plan)
	}
}

// TestConfigurationsOfOneSeed rank as their trials do, whatever their objectives.
func TestConfigurationsOfOneSeed(t *testing.T) {
	someLosses := []float64{0.5, 0.25, 0.25, 0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1e-300, 3}
	for number := range uint64(20) {
		r := rand.New(rand.NewPCG(number, 1))
		latentDims := []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
		r.Shuffle(len(latentDims), func(i, j int) { latentDims[i], latentDims[j] = latentDims[j], latentDims[i] })
		s := newSeeded(t, nil, latentDims, []uint32{7}, func(uint32, uint32) []float64 {
			return []float64{someLosses[r.IntN(len(someLosses))], someLosses[r.IntN(len(someLosses))]}
		})
		trials, err := s.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s"})
		ok(t, err)
		slices.SortFunc(trials.Trials, listing.Ranking{}.Compare)
		for i, c := range s.list(&trellisv1.ListConfigurationsRequest{}).Configurations {
			rank := uint64(i + 1)
			if !listing.Finite(c.Mean) {
				rank = 0
			}
			if c.GetRank() != rank || len(c.Repetitions) != 1 || c.Repetitions[0].Trial != trials.Trials[i].Index {
				t.Fatalf("seed %d: configuration %d is %v, trial %d is %v", number, i, c, i, trials.Trials[i])
			}
		}
	}
}
