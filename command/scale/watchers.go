package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// watchers measures what people who look at a study cost the coordinator while it is trained: none of them, then many with its
// page open, then many who follow the stream of its changes. All see the same training: slots that report at a steady rate.
func watchers(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("watchers", flag.ContinueOnError)
	many := flags.Int("watchers", 200, "`number` of watchers")
	slots := flags.Int("slots", 100, "`number` of slots")
	epochs := flags.Int("epochs", 10, "`number` of epochs of each run")
	epochTime := flags.Duration("epoch-time", 200*time.Millisecond, "`time` of an epoch")
	watch := flags.Duration("for", 20*time.Second, "`time` to measure each")
	only := flags.String("only", "", "pages or streams: `what` to watch; default: both")
	if err := flags.Parse(args); err != nil {
		return err
	}
	at := freeAddress()
	coordinator, err := l.startCoordinator(ctx, "--http", at, "--limits", fmt.Sprintf(
		"calls=%[1]d,calls-each=%[1]d,connections=%[1]d", 4**many+100))
	if err != nil {
		return err
	}
	runs := int(5*(watch.Seconds()+20)/(float64(*epochs)*epochTime.Seconds())*float64(*slots)) + *slots
	if err := l.create(ctx, syntheticStudy(studyName, runs, *epochs, *epochTime)); err != nil {
		return err
	}
	if _, err := l.start("worker", "worker", "--coordinator", l.address, "--slots", strconv.Itoa(*slots), "--cache-dir",
		filepath.Join(l.dir, "cache")); err != nil {
		return err
	}
	if err := l.awaitWorkers(ctx, 1); err != nil {
		return err
	}
	base := "http://" + at + "/api/v1/studies/" + studyName
	alone := 0.0
	for _, one := range []struct {
		name  string
		look  func(ctx context.Context, client *http.Client, base string, its *counts) error
		count int
	}{{"nobody watches", nil, 0}, {"pages", lookAtPage, *many}, {"streams", followStream, *many}} {
		if *only != "" && one.look != nil && one.name != *only {
			continue
		}
		cores, err := l.watched(ctx, coordinator, one.count, *watch, func(ctx context.Context, its *counts) error {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			return one.look(ctx, client, base, its)
		}, one.name)
		if err != nil {
			return err
		}
		if one.look == nil {
			alone = cores
			continue
		}
		fmt.Fprintf(l.out, "%d %s cost %.3f of a core\n", one.count, one.name, cores-alone)
	}
	return l.checkLogs(logLost)
}

// counts say how many watchers have had their first answer, and how many answers all got. Those that are refused say that too much
// is asked at the same time.
type counts struct{ begun, got, refused atomic.Int64 }

// watched lets so many look at the study, and returns how much of a core the coordinator used meanwhile.
func (l *lab) watched(
	ctx context.Context, coordinator *process, count int, watch time.Duration, look func(context.Context, *counts) error,
	name string,
) (cores float64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel(nil)
	var its counts
	for range count {
		all.Go(func() {
			if err := look(ctx, &its); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
		// People don't come at the same moment.
		if err := pause(ctx, 5*time.Second/time.Duration(count)); err != nil {
			return 0, err
		}
	}
	// What they see first is much.
	if err := eventually(ctx, 100*time.Millisecond, func() error {
		if begun := its.begun.Load(); begun < int64(count) && context.Cause(ctx) == nil {
			return fmt.Errorf("%d of %d %s have begun", begun, count, name)
		}
		return context.Cause(ctx)
	}); err != nil {
		return 0, err
	}
	l.record(coordinator)
	reported, err := l.reported(ctx)
	if err != nil {
		return 0, err
	}
	used, from, loaded := coordinator.processorTime(), time.Now(), load()
	its.got.Store(0)
	its.refused.Store(0)
	if err := pause(ctx, watch); err != nil {
		return 0, err
	}
	took := time.Since(from).Seconds()
	cores = (coordinator.processorTime() - used).Seconds() / took
	answers := float64(its.got.Load()) / took
	now, err := l.reported(ctx)
	fmt.Fprintf(l.out, "%d %s: %.3f of a core, %.0f answers/s, %d refused, %.0f reports/s, load %s to %s\n", count, name, cores,
		answers, its.refused.Load(), float64(now-reported)/took, loaded, load())
	return cores, err
}

// reported is how many epochs have been reported. It fails once the study has ended, because then there is nothing to watch.
func (l *lab) reported(ctx context.Context) (epochs uint64, err error) {
	response, err := l.studies.GetStudy(ctx, &trellisv1.GetStudyRequest{Study: studyName})
	if err == nil && response.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
		err = errors.New("the study ended before everything was measured")
	}
	return response.GetStudy().GetProgress().GetEpochs(), err
}

// onPage is what the page asks again and again while it shows the overview of a study that is trained, and how often:
// results/page/src/views/Study.svelte, Overview.svelte and lib/Progress.svelte.
var onPage = []struct {
	path  string
	every time.Duration
}{
	{"", time.Second},
	{"/best", 2 * time.Second},
	{"/importance", 6 * time.Second},
	{"/report", 6 * time.Second},
	{"/history?steps=500", 4 * time.Second},
	{"/distribution?bins=60&scale=SCALE_LINEAR", 4 * time.Second},
}

// lookAtPage asks what an open page asks until ctx is done, as a browser does: compressed, and if it has changed.
func lookAtPage(ctx context.Context, client *http.Client, base string, its *counts) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var first sync.Once
	for _, one := range onPage {
		all.Go(func() {
			for tag := ""; ctx.Err() == nil; {
				answer, err := ask(ctx, client, base+one.path, http.Header{
					"If-None-Match": {tag}, "Accept": {"application/json"}, "Accept-Encoding": {"gzip"}, "Cache-Control": {"max-age=1"},
				})
				if err != nil {
					cancel(err)
					return
				}
				if tag = answer.Header.Get("Etag"); answer.StatusCode == http.StatusTooManyRequests {
					its.refused.Add(1)
				}
				_, _ = io.Copy(io.Discard, answer.Body) // What ends early is not counted.
				answer.Body.Close()
				its.got.Add(1)
				first.Do(func() { its.begun.Add(1) })
				_ = pause(ctx, one.every)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// followStream reads the events of the study until ctx is done.
func followStream(ctx context.Context, client *http.Client, base string, its *counts) error {
	answer, err := ask(ctx, client, base+":watch", http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines, begun := bufio.NewReaderSize(answer.Body, 1<<16), false
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if bytes.HasPrefix(line, []byte("data:")) {
			if !begun {
				begun = true
				its.begun.Add(1)
			}
			its.got.Add(1)
		}
	}
}

// answered are the statuses of answers.
var answered = []int{http.StatusOK, http.StatusNotModified, http.StatusTooManyRequests}

// ask makes a request. What is neither an answer, nor known already, nor too much, is an error.
func ask(ctx context.Context, client *http.Client, address string, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header = header
	response, err := client.Do(request)
	if err == nil && !slices.Contains(answered, response.StatusCode) {
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		err = fmt.Errorf("%s: %s: %s", address, response.Status, text)
	}
	return response, err
}
