package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"

	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
	"trellis/trainer/network"
)

// busyCoordinator hands out so many runs, as fast as slots become free.
type busyCoordinator struct {
	trellisv1.UnimplementedWorkerServiceServer

	runs, epochs int
	// done gets how many epochs have been reported, when all runs have ended.
	done chan int
}

func (c *busyCoordinator) Session(stream trellisv1.WorkerService_SessionServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	send := func(response *trellisv1.SessionResponse) {
		if err == nil {
			err = stream.Send(response)
		}
	}
	send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Welcome{Welcome: &trellisv1.Welcome{
		HeartbeatMilliseconds: 3000, LeaseMilliseconds: 15000, CheckpointMilliseconds: 30000,
	}}})
	assigned, ended, reported := 0, 0, 0
	assignment := func() *trellisv1.SessionResponse {
		if assigned == c.runs {
			return nil
		}
		assigned++
		a := synthetic(uint64(assigned), fmt.Sprintf("%064d", assigned), c.epochs)
		a.Config.Synthetic.EpochTime = nil
		return &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Assignment{Assignment: a}}
	}
	for range first.GetHello().GetSlots() {
		if next := assignment(); next != nil {
			send(next)
		}
	}
	for err == nil && ended < c.runs {
		var request *trellisv1.SessionRequest
		if request, err = stream.Recv(); err != nil {
			break
		}
		batch := &trellisv1.SessionResponses{}
		acknowledge := func(ack *trellisv1.Acknowledgement) {
			batch.Responses = append(batch.Responses, &trellisv1.SessionResponse{
				Message: &trellisv1.SessionResponse_Acknowledgement{Acknowledgement: ack},
			})
		}
		for _, part := range request.Parts() {
			for _, reports := range part.GetReports().GetReports() {
				reported += len(reports.GetTrainLoss())
				last := reports.GetFirstEpoch() + uint32(len(reports.GetTrainLoss())) - 1
				acknowledge(&trellisv1.Acknowledgement{Attempt: reports.GetAttempt(), Epoch: last})
			}
			if outcome := part.GetOutcome(); outcome != nil {
				ended++
				acknowledge(&trellisv1.Acknowledgement{Attempt: outcome.GetAttempt(), Outcome: true})
				if next := assignment(); next != nil {
					batch.Responses = append(batch.Responses, next)
				}
			}
		}
		if len(batch.Responses) > 0 {
			send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Batch{Batch: batch}})
		}
	}
	c.done <- reported
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// The bookkeeping of a worker and the coordinator's end of its session, both on one core: runs of the synthetic model
// that take no time.
func BenchmarkRuns(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, slots := range []int{2, 64, 1024} {
		for _, epochs := range []int{1, 33, 1000} {
			b.Run(fmt.Sprintf("slots=%d/epochs=%d", slots, epochs), func(b *testing.B) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				c := &busyCoordinator{runs: b.N, epochs: epochs, done: make(chan int, 1)}
				server := grpc.NewServer()
				trellisv1.RegisterWorkerServiceServer(server, c)
				go server.Serve(listener)
				defer server.Stop()
				w, err := New(Config{
					Coordinator: listener.Addr().String(), Slots: slots, CacheDir: b.TempDir(),
					Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
				})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				b.ReportAllocs()
				b.ResetTimer()
				go func() { ended <- w.Run(ctx) }()
				reported := <-c.done
				b.StopTimer()
				cancel()
				<-ended
				if reported != b.N*epochs {
					b.Fatalf("%d epochs were reported, want %d", reported, b.N*epochs)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
				b.ReportMetric(float64(reported)/b.Elapsed().Seconds(), "epochs/s")
			})
		}
	}
}

// What a checkpoint costs the training: encoding the paper's network into memory that is used again.
func BenchmarkEncodeCheckpoint(b *testing.B) {
	checkpoint := new(trainer.Checkpoint)
	config := trainer.Config{
		Model: trainer.ConvAutoencoder, LatentDim: 16, LearningRate: 1e-3, BatchSize: 256, MaxEpochs: 1,
		Data: blankImages(), Checkpoint: func(c *trainer.Checkpoint) error { checkpoint = c.Clone(); return nil },
	}
	if _, err := trainer.Train(b.Context(), config, func(trainer.Report) error { return nil }); err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, 0, checkpoint.EncodedSize())
	b.SetBytes(int64(checkpoint.EncodedSize()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := checkpoint.AppendBinary(buffer); err != nil {
			b.Fatal(err)
		}
	}
}

// blankImages is one image in each part.
func blankImages() dataset.Split {
	images := dataset.Images{Pixels: make([]byte, network.Side*network.Side), Labels: make([]byte, 1)}
	return dataset.Split{Height: network.Side, Width: network.Side, Train: images, Validation: images, Test: images}
}
