package coordinator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// steps has n values from 1 on, with fractions.
func steps(n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = 1e-4 * float64(i+1)
	}
	return values
}

// largeSpec has so many points, of as many runs.
func largeSpec(name string, points int) *trellisv1.StudySpec {
	spec := syntheticSpec(name, ramp(uint32(points/10_000)), []uint32{3})
	spec.Grid[0].Axes["learning_rate"] = trellisv1.AxisOf(steps(100)...)
	spec.Grid[0].Axes["weight_decay"] = trellisv1.AxisOf[float64](steps(100)...)
	return spec
}

// Plans of large studies, asked for by callers who leave, neither pile up nor go on.
func TestPlansEndWithTheirCallers(t *testing.T) {
	points := hostile.points
	if testing.Short() {
		points = 50_000 // The race detector makes them slow.
	}
	target := newTarget(t, hostileConfig{})
	stop := target.latency("127.0.0.9")
	began := time.Now()
	var plans sync.WaitGroup
	var answered, refused atomic.Int64
	const callers = 20
	for n := range callers {
		client := target.client(fmt.Sprintf("127.0.0.%d", 20+n%4))
		plans.Go(func() {
			ctx, leave := context.WithTimeout(t.Context(), 3*time.Second)
			defer leave()
			_, err := client.studies.PlanStudy(ctx, &trellisv1.PlanStudyRequest{Spec: largeSpec("large", points)})
			switch status.Code(err) {
			case codes.OK:
				answered.Add(1)
			case codes.ResourceExhausted:
				refused.Add(1)
			case codes.DeadlineExceeded:
			default:
				t.Error(err)
			}
		})
	}
	plans.Wait()
	left, before := time.Since(began), target.cpu()
	var used time.Duration
	target.eventually("its work ends with its callers", func() bool {
		used = target.cpu()
		time.Sleep(500 * time.Millisecond)
		used = target.cpu() - used
		return used < 200*time.Millisecond
	})
	worst, calls := stop()
	after := time.Since(began) - left
	// How long that takes depends on what else the machine does.
	if worked := target.cpu() - before; worked > 5*time.Second {
		t.Errorf("after the last caller left, it worked for %v more", worked)
	}
	peak := target.status("VmHWM") >> 10
	if peak > 2048*memoryFactor {
		t.Errorf("peak memory %d MB", peak)
	}
	t.Logf("%d plans of %d points, whose callers left after 3 s: %d answered, %d refused; it ended %v after they "+
		"left; another client's slowest of %d calls took %v; peak memory %d MB", callers, points, answered.Load(),
		refused.Load(), after, calls, worst, peak)
	// One that waits is answered.
	began = time.Now()
	response, err := target.client("127.0.0.2").studies.PlanStudy(t.Context(),
		&trellisv1.PlanStudyRequest{Spec: largeSpec("large", points)})
	if err != nil || response.GetTrials() != uint64(points) {
		t.Errorf("a plan of %d trials: %v", response.GetTrials(), err)
	}
	t.Logf("one plan of %d points took %v; peak memory %d MB", points, time.Since(began), target.status("VmHWM")>>10)
}

// costlyReads makes 100 costly reads at once, whose callers leave after some time, and counts what they get.
func costlyReads(
	t *testing.T, target *target, filter func(context.Context, *clients, string) error, patience time.Duration,
	codesSeen map[codes.Code]int,
) {
	t.Helper()
	var reads sync.WaitGroup
	var mu sync.Mutex
	slow := "index >= 0" + repeated(` && !state.contains("none") && state.matches("^[a-z]*g$")`, 15)
	for n := range 100 {
		client := target.client(fmt.Sprintf("127.0.0.%d", 20+n%4))
		reads.Go(func() {
			ctx, leave := context.WithTimeout(t.Context(), patience)
			defer leave()
			var err error
			switch n % 3 {
			case 0:
				err = filter(ctx, client, slow)
			case 1:
				_, err = client.trials.GetReport(ctx, &trellisv1.GetReportRequest{Study: "large"})
			case 2:
				_, err = client.trials.ListConfigurations(ctx, &trellisv1.ListConfigurationsRequest{Study: "large"})
			}
			mu.Lock()
			defer mu.Unlock()
			codesSeen[status.Code(err)]++
		})
	}
	reads.Wait()
}

// What reads whole studies ends with its caller, and waits for its turn.
func TestCostlyReadsEndWithTheirCallers(t *testing.T) {
	points := hostile.points
	if testing.Short() {
		points = 50_000 // The race detector makes them slow.
	}
	target := newTarget(t, hostileConfig{})
	client := target.client("127.0.0.2")
	if _, err := client.studies.CreateStudy(t.Context(),
		&trellisv1.CreateStudyRequest{Spec: largeSpec("large", points)}); err != nil {
		t.Fatal(err)
	}
	filter := func(ctx context.Context, client *clients, expression string) error {
		_, err := client.trials.ListTrials(ctx, &trellisv1.ListTrialsRequest{Study: "large", Filter: expression})
		return err
	}
	for _, pattern := range []string{
		`state.matches(state + "|\\pL{1000}\\pL{1000}")`, `state.matches("\\pL{1000}\\pL{1000}")`,
	} {
		wantCode(t, filter(t.Context(), client, pattern), codes.InvalidArgument, "pattern")
	}
	stop := target.latency("127.0.0.9")
	var began time.Time
	codesSeen := map[codes.Code]int{}
	// On a machine that stalls, callers may leave before one is refused: more patient ones see it.
	for patience := 2 * time.Second; codesSeen[codes.ResourceExhausted] == 0 && patience < time.Minute; patience *= 2 {
		began = time.Now()
		costlyReads(t, target, filter, patience, codesSeen)
	}
	left, before := time.Since(began), target.cpu()
	target.eventually("its work ends with its callers", func() bool {
		used := target.cpu()
		time.Sleep(500 * time.Millisecond)
		return target.cpu()-used < 200*time.Millisecond
	})
	after := time.Since(began) - left
	worst, calls := stop()
	// How long that takes depends on what else the machine does.
	if worked := target.cpu() - before; worked > 5*time.Second {
		t.Errorf("after the last caller left, it worked for %v more", worked)
	}
	if codesSeen[codes.ResourceExhausted] == 0 {
		t.Errorf("none was refused: %v", codesSeen)
	}
	t.Logf("100 costly reads of %d trials, whose callers left: %v; it ended %v after they left; another "+
		"client's slowest of %d calls took %v; peak memory %d MB", points, codesSeen, after, calls, worst,
		target.status("VmHWM")>>10)
}

func repeated(text string, n int) (all string) {
	for range n {
		all += text
	}
	return all
}

// slowDataSets are those of a coordinator that downloads one of them.
type slowDataSets struct {
	memoryDataSets
	begun, finish chan struct{}
}

func (d slowDataSets) Find(ctx context.Context, name string) (*trellisv1.DataSet, error) {
	select {
	case d.begun <- struct{}{}:
	case <-ctx.Done():
	}
	select {
	case <-d.finish:
		return d.memoryDataSets.Find(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Whoever waits for the download of a data set holds up nobody's plan.
func TestADownloadHoldsUpNoPlan(t *testing.T) {
	slow := slowDataSets{begun: make(chan struct{}), finish: make(chan struct{})}
	_, address := serveTLS(t, Config{}, func(c *Coordinator) { c.dataSets = slow })
	studies := trellisv1.NewStudyServiceClient(connectPlain(t, address))
	planned := make(chan error, 1)
	go func() {
		spec := slowSpec("large", 1)
		spec.Model, spec.Data, spec.Synthetic = "conv-autoencoder", "tiny", nil
		_, err := studies.PlanStudy(t.Context(), &trellisv1.PlanStudyRequest{Spec: spec}, grpc.WaitForReady(true))
		planned <- err
	}()
	select {
	case <-slow.begun:
	case err := <-planned:
		t.Fatalf("the plan did not wait for its data set: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := studies.PlanStudy(ctx, &trellisv1.PlanStudyRequest{Spec: slowSpec("small", 1)}); err != nil {
		t.Errorf("a plan during another's download: %v", err)
	}
	close(slow.finish)
	if err := <-planned; err != nil {
		t.Errorf("the plan that waited for its data set: %v", err)
	}
}

// To look for the run that saved a checkpoint, which may look at every run, a study waits for its turn.
func TestStudiesLookForCheckpointsInTurn(t *testing.T) {
	coordinator, address := serveTLS(t, Config{Data: t.TempDir(), Models: pretrainedModels}, func(*Coordinator) {})
	studies := trellisv1.NewStudyServiceClient(connectPlain(t, address))
	create := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		spec := classifierSpec("s", &trellisv1.Pretrained{Checkpoint: strings.Repeat("0", 64)}, 4)
		_, err := studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{Spec: spec}, grpc.WaitForReady(true))
		return err
	}
	for deadline := time.Now().Add(time.Minute); status.Code(create(time.Minute)) == codes.Unavailable; {
		if time.Now().After(deadline) {
			t.Fatal("it has not read its log within a minute")
		}
	}
	wantCode(t, create(time.Minute), codes.FailedPrecondition, "no longer stores it")
	reads := coordinator.calls.reads
	var ended []func()
	for n := range reads.Running {
		end, err := reads.Take(t.Context(), fmt.Sprint(n))
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, end)
	}
	wantCode(t, create(200*time.Millisecond), codes.DeadlineExceeded, "")
	for _, end := range ended {
		end()
	}
	wantCode(t, create(time.Minute), codes.FailedPrecondition, "no longer stores it")
}
