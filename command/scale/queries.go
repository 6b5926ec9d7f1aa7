package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/listing"
)

// queries asks a coordinator what people ask of a large study: again and again while it is trained, when it has ended, and
// after a restart of the coordinator. Smaller studies are beside it, of which half have ended before and half wait.
func queries(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("queries", flag.ContinueOnError)
	trials := flags.Int("trials", 100_000, "`number` of trials, each a run of its own")
	epochs := flags.Int("epochs", 10, "`number` of epochs of each")
	oneSeed := flags.Bool("one-seed", false, "train each configuration with one seed, not with up to 20")
	beside := flags.Int("beside", 1000, "`number` of small studies beside the large one")
	workers := flags.Int("workers", 2, "`number` of workers")
	slots := flags.Int("slots", 256, "`number` of slots of each worker")
	rounds := flags.Int("rounds", 5, "`number` of times that each query is asked once the study has ended")
	if err := flags.Parse(args); err != nil {
		return err
	}
	room := fmt.Sprintf("studies=%[1]d,studies-each=%[1]d", *beside+1)
	coordinator, err := l.startCoordinator(ctx, "--limits", room)
	if err != nil {
		return err
	}
	for n := range *workers {
		if _, err := l.start(fmt.Sprint("worker-", n+1), "worker", "--coordinator", l.address,
			"--slots", strconv.Itoa(*slots), "--cache-dir", filepath.Join(l.dir, "cache")); err != nil {
			return err
		}
	}
	if err := l.awaitWorkers(ctx, *workers); err != nil {
		return err
	}
	small := func(from, to int) error {
		for n := from; n < to; n++ {
			spec := syntheticStudy(fmt.Sprint("small-", n), 4, 1, 0)
			// Runs that others don't have, as those of most studies.
			spec.Grid[0].Axes["weight_decay"] = trellisv1.AxisOf(float64(n+1) * 1e-3)
			if err := l.create(ctx, spec); err != nil {
				return err
			}
		}
		return nil
	}
	if err := small(0, *beside/2); err != nil {
		return err
	}
	spec := syntheticStudy("scale", *trials, *epochs, 0)
	if *oneSeed {
		spec.Grid[0].Axes["latent_dim"], spec.Seeds = spec.Seeds, trellisv1.AxisOf(1)
	}
	if err := l.create(ctx, spec); err != nil {
		return err
	}
	if err := small(*beside/2, *beside); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "%d trials of %d epochs, %d workers of %d slots, %d studies beside, load %s\n", *trials, *epochs,
		*workers, *slots, *beside, load())
	l.record(coordinator)
	asked, err := l.newQueries(ctx, "scale")
	if err != nil {
		return err
	}
	for ended := false; !ended; {
		if err := asked.ask(ctx); err != nil {
			return err
		}
		if ended, err = l.ended(ctx, "scale"); err != nil {
			return err
		}
	}
	asked.print(l, "while it is trained")
	if err := asked.askTimes(ctx, *rounds); err != nil {
		return err
	}
	asked.print(l, "when it has ended")
	if err := l.kill(coordinator); err != nil {
		return err
	}
	if _, err := l.startCoordinator(ctx, "--limits", room); err != nil {
		return err
	}
	asked.connect(l.conn)
	if err := asked.askTimes(ctx, *rounds); err != nil {
		return err
	}
	asked.print(l, "after a restart of the coordinator")
	return nil
}

func (l *lab) create(ctx context.Context, spec *trellisv1.StudySpec) error {
	_, err := l.studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{Spec: spec})
	return err
}

// ended says whether all trials of a study have results.
func (l *lab) ended(ctx context.Context, study string) (bool, error) {
	response, err := l.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: study})
	return response.GetStudy().GetState() == trellisv1.StudyState_STUDY_STATE_COMPLETED, err
}

// query is what somebody asks, as often as it has been asked so far.
type query struct {
	name string
	ask  func(ctx context.Context) error
	took []time.Duration
	// failed is the last error.
	failed error
}

// asking has the queries on a study, all of which are asked in turn.
type asking struct {
	study   string
	of      *trellisv1.Study
	studies trellisv1.StudyServiceClient
	trials  trellisv1.TrialServiceClient
	all     []*query
	// of is the study if a query is about pages, middle is the trial in the middle of the grid, and indices are one more than the highest index, or 0 if no query is
	// about pages.
	middle  *trellisv1.Trial
	indices uint64
}

func (a *asking) connect(conn *grpc.ClientConn) {
	a.studies, a.trials = trellisv1.NewStudyServiceClient(conn), trellisv1.NewTrialServiceClient(conn)
}

// add adds a query, unless its response is nothing but an error.
func (a *asking) add(name string, ask func(ctx context.Context) error) {
	a.all = append(a.all, &query{name: name, ask: ask})
}

// newAnswers asks what people ask most.
func (l *lab) newAnswers(study string) *asking {
	a := &asking{study: study}
	a.connect(l.conn)
	a.add("studies", a.listStudies)
	a.add("best", func(ctx context.Context) error {
		_, err := a.trials.GetBestTrial(ctx, &trellisv1.GetBestTrialRequest{Study: study})
		return err
	})
	a.add("report", func(ctx context.Context) error {
		_, err := a.trials.GetReport(ctx, &trellisv1.GetReportRequest{Study: study})
		return err
	})
	a.add("importance", func(ctx context.Context) error {
		_, err := a.trials.GetImportance(ctx, &trellisv1.GetImportanceRequest{Study: study})
		return err
	})
	a.addPage("trials", &trellisv1.ListTrialsRequest{OrderBy: "objective"}, nil)
	return a
}

// newQueries asks all that people can ask of a study.
func (l *lab) newQueries(ctx context.Context, study string) (*asking, error) {
	a := l.newAnswers(study)
	a.add("study", func(ctx context.Context) error {
		_, err := a.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: study})
		return err
	})
	a.add("contenders", func(ctx context.Context) error {
		_, err := a.trials.ListConfigurations(ctx, &trellisv1.ListConfigurationsRequest{Study: study})
		return err
	})
	a.add("suggest", func(ctx context.Context) error {
		_, err := a.trials.SuggestStudy(ctx, &trellisv1.SuggestStudyRequest{Study: study})
		return err
	})
	a.add("watch, first message", a.watch)
	if err := a.addPages(ctx); err != nil {
		return nil, err
	}
	for _, filter := range []string{
		"learning_rate < 0.0005", "latent_dim == 16 && weight_decay > 1e-05", "objective < 0.02", "state == 'succeeded'",
		"learning_rate < 0.0005 && objective < 0.02",
	} {
		for _, orderBy := range []string{"", "objective"} {
			a.addPage(fmt.Sprintf("trials --filter %q", filter), &trellisv1.ListTrialsRequest{Filter: filter, OrderBy: orderBy}, nil)
		}
	}
	return a, nil
}

// addPages adds the first page of trials in each order, and one from a trial in the middle of the grid on.
func (a *asking) addPages(ctx context.Context) error {
	response, err := a.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: a.study})
	if err != nil {
		return err
	}
	a.of, a.indices = response.GetStudy(), response.GetStudy().GetIndices()
	fields := listing.FieldsOn(grid.Parameters(response.GetStudy().GetSpec()))
	for _, field := range fields {
		for _, orderBy := range []string{field.Name, "-" + field.Name} {
			key, err := listing.NewOrder(orderBy, fields)
			if err != nil {
				return err
			}
			a.addPage("trials", &trellisv1.ListTrialsRequest{OrderBy: orderBy}, nil)
			a.addPage("trials", &trellisv1.ListTrialsRequest{OrderBy: orderBy}, key)
		}
	}
	return nil
}

// findMiddle looks at the trial in the middle of the grid as it is now.
func (a *asking) findMiddle(ctx context.Context) error {
	at := &trellisv1.Trial{Index: a.indices/2 - 1}
	request := &trellisv1.ListTrialsRequest{Study: a.study, PageSize: 1}
	request.PageToken = a.tokenAt(request, listing.NewKey(at.Index, at))
	page, err := a.trials.ListTrials(ctx, request)
	if err == nil {
		a.middle = page.GetTrials()[0]
	}
	return err
}

// tokenAt returns the token of the page that begins after a key.
func (a *asking) tokenAt(request *trellisv1.ListTrialsRequest, key listing.Key) string {
	return listing.EncodeStudyToken(listing.MarkTrials(request), a.of, key[:])
}

// addPage adds a page of trials: the first one, or the one after the trial in the middle, which has a key.
func (a *asking) addPage(name string, request *trellisv1.ListTrialsRequest, key func(*trellisv1.Trial) listing.Key) {
	request.Study = a.study
	if request.GetOrderBy() != "" {
		name += " --order-by " + request.GetOrderBy()
	}
	if key != nil {
		name += ", inside"
	}
	a.add(name, func(ctx context.Context) error {
		if key != nil {
			request.PageToken = a.tokenAt(request, key(a.middle))
		}
		_, err := a.trials.ListTrials(ctx, request)
		return err
	})
}

// listStudies lists all studies, page by page.
func (a *asking) listStudies(ctx context.Context) error {
	request := &trellisv1.ListStudiesRequest{PageSize: 500}
	for {
		response, err := a.studies.ListStudies(ctx, request)
		if err != nil {
			return err
		}
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			return nil
		}
	}
}

func (a *asking) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.studies.WatchStudy(ctx, &trellisv1.WatchStudyRequest{Study: a.study})
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// ask asks each query once.
func (a *asking) ask(ctx context.Context) error {
	if a.indices > 0 {
		if err := a.findMiddle(ctx); err != nil {
			return err
		}
	}
	for _, query := range a.all {
		before := time.Now()
		within, cancel := context.WithTimeout(ctx, patience)
		err := query.ask(within)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && unanswerable(err) {
			continue
		}
		if err != nil {
			query.failed = err
		}
		query.took = append(query.took, time.Since(before))
	}
	return nil
}

func (a *asking) askTimes(ctx context.Context, rounds int) error {
	for range rounds {
		if err := a.ask(ctx); err != nil {
			return err
		}
	}
	return nil
}

// askUntil asks until the time is over: often at first, and then five times a second.
func (a *asking) askUntil(ended <-chan struct{}) error {
	for start := time.Now(); ; {
		if err := a.ask(context.Background()); err != nil {
			return err
		}
		select {
		case <-time.After(min(200*time.Millisecond, time.Since(start)/5)):
		case <-ended:
			return nil
		}
	}
}

// medians are what the queries took, in milliseconds. Queries that had no answer have none.
func (a *asking) medians() (map[string]float64, error) {
	all := map[string]float64{}
	for _, query := range a.all {
		if query.failed != nil {
			return nil, fmt.Errorf("%s: %w", query.name, query.failed)
		}
		if took := slices.Sorted(slices.Values(query.took)); len(took) > 0 {
			all[query.name] = float64(took[len(took)/2]) / float64(time.Millisecond)
		}
	}
	return all, nil
}

// print prints what the queries took, and forgets it.
func (a *asking) print(l *lab, when string) {
	fmt.Fprintf(l.out, "\n%s, load %s:\n%9s  %9s  %9s  %5s  query\n", when, load(), "first ms", "median ms", "p99 ms", "calls")
	for _, query := range a.all {
		if len(query.took) == 0 {
			fmt.Fprintf(l.out, "%9s  %9s  %9s  %5d  %s\n", "-", "-", "-", 0, query.name)
			continue
		}
		first := query.took[0]
		slices.Sort(query.took)
		at := func(part float64) float64 {
			return float64(query.took[int(math.Round(part*float64(len(query.took)-1)))]) / float64(time.Millisecond)
		}
		fmt.Fprintf(l.out, "%9.1f  %9.1f  %9.1f  %5d  %s", float64(first)/float64(time.Millisecond), at(0.5), at(0.99),
			len(query.took), query.name)
		if query.failed != nil {
			fmt.Fprintf(l.out, ": %v", query.failed)
		}
		fmt.Fprintln(l.out)
		query.took, query.failed = nil, nil
	}
}
