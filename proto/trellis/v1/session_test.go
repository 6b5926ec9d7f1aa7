package trellisv1

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// What is counted here is what protobuf counts, of messages by themselves and in others.
func TestEncodedSize(t *testing.T) {
	unknown := &Reports{Run: "r"}
	unknown.ProtoReflect().SetUnknown([]byte("\xf8\x07\x01")) // Field 127.
	all := []*Reports{
		{},
		{Study: "study", Run: "run", Attempt: 1, FirstEpoch: 1, TrainLoss: []float64{0}, ValidationLoss: []float64{1}},
		{Study: strings.Repeat("s", 200), Run: strings.Repeat("r", 64), Attempt: 1 << 60, FirstEpoch: 300},
		{TrainLoss: make([]float64, 20), Seconds: make([]float64, 3000), TestLoss: map[uint32]float64{0: 0, 200: 1}},
		{Metrics: map[string]*Series{"train_accuracy": {Values: []float64{1}}}},
		{TestLoss: map[uint32]float64{1: 1}, TestMetrics: map[uint32]*Metrics{1: {Values: map[string]float64{"a": 1}}}},
		{Epochs: 3},
		unknown,
	}
	var requests []*SessionRequest
	for _, reports := range all {
		if got, want := reports.EncodedSize(), proto.Size(reports); got != want {
			t.Errorf("%d bytes, want %d: %v", got, want, reports)
		}
		requests = append(requests, &SessionRequest{Message: &SessionRequest_Reports{
			Reports: &ReportBatch{Reports: []*Reports{reports}},
		}})
	}
	around, within := proto.CloneOf(requests[1]), proto.CloneOf(requests[1])
	around.ProtoReflect().SetUnknown([]byte("\xf8\x07\x01"))
	within.GetReports().ProtoReflect().SetUnknown([]byte("\xf8\x07\x01"))
	requests = append(requests, around, within,
		&SessionRequest{},
		&SessionRequest{Message: &SessionRequest_Reports{}},
		&SessionRequest{Message: &SessionRequest_Reports{Reports: &ReportBatch{}}},
		&SessionRequest{Message: &SessionRequest_Reports{Reports: &ReportBatch{Reports: all}}},
		&SessionRequest{Message: &SessionRequest_Batch{}},
		&SessionRequest{Message: &SessionRequest_Heartbeat{Heartbeat: &Heartbeat{Number: 5}}},
		&SessionRequest{Message: &SessionRequest_Outcome{Outcome: &Outcome{Run: "r", Attempt: 300}}},
	)
	for _, message := range []struct {
		of    proto.Message
		known int
	}{{&Reports{}, 11}, {&ReportBatch{}, 1}, {&SessionRequests{}, 1}, {&SessionRequest{}, 9}} {
		if its := message.of.ProtoReflect().Descriptor(); its.Fields().Len() != message.known {
			t.Errorf("%s has %d fields, of which %d are counted", its.Name(), its.Fields().Len(), message.known)
		}
	}
	batch := &SessionRequest{Message: &SessionRequest_Batch{Batch: &SessionRequests{Requests: requests}}}
	marked := proto.CloneOf(batch)
	marked.GetBatch().ProtoReflect().SetUnknown([]byte("\xf8\x07\x01"))
	for _, request := range append(requests, batch, marked) {
		if got, want := request.EncodedSize(), proto.Size(request); got != want {
			t.Errorf("%d bytes, want %d: %v", got, want, request)
		}
	}
}

// BenchmarkEncodedSize counts the bytes of a message with the reports of 32 short runs.
func BenchmarkEncodedSize(b *testing.B) {
	batch := &ReportBatch{}
	for range 32 {
		batch.Reports = append(batch.Reports, &Reports{
			Study: "study", Run: strings.Repeat("r", 32), Attempt: 1 << 20, FirstEpoch: 1,
			TrainLoss: make([]float64, 10), ValidationLoss: make([]float64, 10),
			Seconds: make([]float64, 10), TestLoss: map[uint32]float64{10: 1},
		})
	}
	request := &SessionRequest{Message: &SessionRequest_Reports{Reports: batch}}
	for name, size := range map[string]func() int{
		"counted": request.EncodedSize, "reflection": func() int { return proto.Size(request) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				size()
			}
		})
	}
}
