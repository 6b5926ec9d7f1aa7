package coordinator

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	trellisv1 "trellis/proto/trellis/v1"
)

// BenchmarkRuns takes runs from their assignment to their acknowledged outcome, with workers that train in no time and
// a log on the disk. Besides runs/s and epochs/s it reports how long a freed slot waits for its next run.
//
//	go test -run '^$' -bench Runs -benchtime 20000x ./coordinator
func BenchmarkRuns(b *testing.B) {
	for _, test := range []struct {
		workers, slots, epochs int
		disk                   bool
	}{
		{workers: 2, slots: 1, epochs: 1, disk: true},
		{workers: 4, slots: 8, epochs: 25, disk: true},
		{workers: 16, slots: 16, epochs: 25, disk: true},
		{workers: 16, slots: 16, epochs: 25},
	} {
		b.Run(fmt.Sprintf("workers=%d/slots=%d/epochs=%d/disk=%t", test.workers, test.slots, test.epochs, test.disk),
			func(b *testing.B) {
				config := Config{Numerics: testNumerics, Models: testModels}
				if test.disk {
					config.Data, config.MinFreeDisk = b.TempDir(), 1
				}
				address := serveBench(b, config)
				specs := benchSpecs(b.N, uint32(test.epochs))
				studies := trellisv1.NewStudyServiceClient(address())
				for _, spec := range specs {
					request := &trellisv1.CreateStudyRequest{Spec: spec}
					if _, err := studies.CreateStudy(b.Context(), request); err != nil {
						b.Fatal(err)
					}
				}
				b.ResetTimer()
				ctx, cancel := context.WithCancel(b.Context())
				var left sync.WaitGroup
				left.Add(b.N)
				var workers sync.WaitGroup
				waits := make([][]time.Duration, test.workers)
				for n := range test.workers {
					client := newPartsClient(address())
					workers.Go(func() {
						waits[n] = benchWorker(ctx, b, client, fmt.Sprint("w", n), uint32(test.slots),
							left.Done)
					})
				}
				left.Wait()
				b.StopTimer()
				cancel()
				workers.Wait()
				all := slices.Concat(waits...)
				slices.Sort(all)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
				b.ReportMetric(float64(b.N*test.epochs)/b.Elapsed().Seconds(), "epochs/s")
				if len(all) > 0 {
					b.ReportMetric(float64(all[len(all)/2].Microseconds())/1e3, "median-ms")
					b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1e3, "p99-ms")
				}
			})
	}
}

// benchSpecs are studies that have so many runs together.
func benchSpecs(runs int, epochs uint32) (specs []*trellisv1.StudySpec) {
	for runs > 0 {
		seeds := max(min(runs/500, 100), 1)
		count := min(runs/seeds, 500)
		latent := make([]uint32, count)
		for i := range latent {
			latent[i] = uint32(i + 1)
		}
		spec := syntheticSpec(fmt.Sprint("bench-", len(specs)), latent, []uint32{epochs})
		values := make([]uint32, seeds)
		for i := range values {
			values[i] = uint32(i)
		}
		spec.Seeds = trellisv1.AxisOf[uint32](values...)
		specs = append(specs, spec)
		runs -= count * seeds
	}
	return specs
}

// serveBench serves a coordinator on memory pipes until the benchmark ends, and returns how to connect to it.
func serveBench(b *testing.B, config Config) (connect func() *grpc.ClientConn) {
	b.Helper()
	listener := bufconn.Listen(1 << 20)
	config.Advertise = "bench:1"
	c, err := New(config, listener, memoryDataSets{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx) }()
	var conns []io.Closer
	b.Cleanup(func() {
		for _, conn := range conns {
			conn.Close()
		}
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return func() *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:bench", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context,
				_ string,
			) (net.Conn, error) {
				return listener.DialContext(ctx)
			}))
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, conn)
		return conn
	}
}

// benchWorker answers each assignment at once with all of its reports and its success. It returns how long its slots
// waited between an outcome that it has sent and the next assignment.
func benchWorker(
	ctx context.Context, b *testing.B, client trellisv1.WorkerServiceClient, name string, slots uint32, done func(),
) (waits []time.Duration) {
	stream, err := client.Session(ctx)
	if err == nil {
		err = stream.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: helloFrom(name,
			slots)}})
	}
	if err != nil {
		if ctx.Err() == nil {
			b.Error(err)
		}
		return nil
	}
	unfilled := slots
	var freed []time.Time
	for {
		message, err := stream.Recv()
		if err != nil {
			return waits
		}
		if message.GetAcknowledgement().GetOutcome() {
			done()
		}
		a := message.GetAssignment()
		if a == nil {
			continue
		}
		if unfilled > 0 {
			unfilled--
		} else {
			waits, freed = append(waits, time.Since(freed[0])), freed[1:]
		}
		epochs := a.GetConfig().GetParameters().GetMaxEpochs()
		losses := make([]float64, epochs)
		for i := range losses {
			losses[i] = lossAt(a.GetConfig().GetParameters(), uint32(i+1))
		}
		_ = stream.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reportsOf(a, 1, losses...)}},
		}})
		freed = append(freed, time.Now())
		_ = stream.Send(&trellisv1.SessionRequest{
			Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), Result: &trellisv1.Outcome_Success_{
					Success: &trellisv1.Outcome_Success{
						StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
						Epochs:     epochs,
					},
				},
			}},
		})
	}
}
