package coordinator

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/proto"

	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// step encodes a step.
func step(kind byte, request *trellisv1.SessionRequest) []byte {
	message, err := proto.Marshal(request)
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(message))), message...)
}

func waitStep(seconds int) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{stepWait}, uint16(seconds)), make([]byte, seconds)...)
}

func trainSteps(variant byte, assignments ...byte) []byte {
	var steps []byte
	for _, assignment := range assignments {
		steps = append(steps, stepTrain, 0, 2, assignment, variant)
	}
	return steps
}

var endStep = []byte{stepEnd, 0, 0}

func helloStep(name string, slots uint32, attempts ...uint64) []byte {
	hello := helloFrom(name, slots, attempts...)
	hello.Machine = "host of " + name
	return step(stepOpen, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: hello}})
}

func reportStep(attempt uint64, firstEpoch uint32, losses ...float64) []byte {
	return reportsStep(&trellisv1.Reports{
		Attempt: attempt, FirstEpoch: firstEpoch, TrainLoss: losses, ValidationLoss: losses,
		Seconds: make([]float64, len(losses)),
	})
}

func reportsStep(reports ...*trellisv1.Reports) []byte {
	return step(stepSend, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: reports},
	}})
}

func outcomeStep(outcome *trellisv1.Outcome) []byte {
	return step(stepSend, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: outcome}})
}

func successStep(attempt uint64, epochs uint32, reason trellisv1.StopReason) []byte {
	return outcomeStep(&trellisv1.Outcome{Attempt: attempt, Result: &trellisv1.Outcome_Success_{
		Success: &trellisv1.Outcome_Success{StopReason: reason, Epochs: epochs},
	}})
}

func failureStep(attempt uint64, class trellisv1.FailureClass) []byte {
	return outcomeStep(&trellisv1.Outcome{Attempt: attempt, Result: &trellisv1.Outcome_Failure{
		Failure: &trellisv1.Failure{Class: class, Message: "out of memory"},
	}})
}

func checkpointStep(report *trellisv1.CheckpointReport) []byte {
	return step(stepSend, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: report}})
}

// sessionSeeds are sessions that go all the ways that there are: to success, failure, return, loss, audit, dispute,
// pruning, and what is refused. Attempts are numbers of assignments: see firstAssignment.
func sessionSeeds() [][][]byte {
	const ended = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	const diverged, early = trellisv1.StopReason_STOP_REASON_DIVERGED, trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
	heartbeat := step(stepSend, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
		Heartbeat: &trellisv1.Heartbeat{
			Number: 1, Attempts: []*trellisv1.AttemptProgress{{Attempt: 1, Steps: 5}, {Attempt: 2}, {Attempt: 99}},
		},
	}})
	drain := step(stepSend, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Drain{
		Drain: &trellisv1.Drain{},
	}})
	goodbye := step(stepSend, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{
		Goodbye: &trellisv1.Goodbye{},
	}})
	give := func(attempt uint64) []byte {
		return outcomeStep(&trellisv1.Outcome{
			Attempt: attempt, Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
		})
	}
	stored := func(attempt uint64, epoch uint32) []byte {
		return checkpointStep(&trellisv1.CheckpointReport{Attempt: attempt, Checkpoint: &trellisv1.Checkpoint{
			Epoch: epoch, Sha256: artifacttest.DigestOf([]byte(fuzzedArtifact)), Size: uint64(len(fuzzedArtifact)),
			BestEpoch: 1,
		}})
	}
	return [][][]byte{
		{helloStep("w", 8), trainSteps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)},
		{
			helloStep("w", 1), reportStep(1, 1, 1), heartbeat, reportStep(1, 1, 1, 2), reportStep(1, 3, 3),
			successStep(1, 3, ended), drain, goodbye,
		},
		// Early stopping, divergence, failures of all classes, and what is returned.
		{
			helloStep("w", 8), reportStep(1, 1, 1, 2), successStep(1, 2, early), reportStep(2, 1, math.NaN()),
			successStep(2, 1, diverged), reportStep(3, 1, math.Inf(1)), successStep(3, 1, diverged), waitStep(20),
		},
		{helloStep("w", 8), reportStep(1, 1, 1), give(1), give(2), failureStep(3, 0), waitStep(1), give(3)},
		{
			helloStep("w", 8), failureStep(1, 1), failureStep(2, 2), failureStep(3, 3), failureStep(4, 1), waitStep(5),
			failureStep(5, 1), failureStep(6, 1), waitStep(200), failureStep(7, 1), failureStep(8, 1), waitStep(99),
			failureStep(9, 2), failureStep(10, 2), waitStep(200), failureStep(11, 1), failureStep(12, 1),
			failureStep(13, 1),
		},
		// Leases that run out, a session that is taken over, attempts that are held still.
		{
			helloStep("w", 2), reportStep(1, 1, 1), endStep, waitStep(40), helloStep("x", 8), reportStep(3, 1, 1, 1),
			helloStep("w", 2, 1, 2), reportStep(1, 2, 1), endStep, heartbeat, waitStep(12), helloStep("x", 8, 3, 4),
			successStep(3, 2, ended),
		},
		{
			helloStep("w", 2), helloStep("w", 2, 1), reportStep(1, 1, 1), waitStep(3), heartbeat,
			helloStep("w", 2, 1, 2, 77),
		},
		// Audits: two machines agree; they disagree, and a third says who is right; none agrees.
		{helloStep("w", 8), trainSteps(0, 1, 2, 3, 4, 5, 6), helloStep("x", 8), trainSteps(0, 7, 8, 9, 10, 11, 12)},
		{
			helloStep("w", 8), trainSteps(0, 1, 2, 3, 4, 5, 6), helloStep("x", 8), trainSteps(1, 7, 8, 9, 10, 11, 12),
			helloStep("y", 8), trainSteps(1, 7, 8, 9, 10, 11, 12, 13, 14), waitStep(30), trainSteps(1, 15, 16),
		},
		{
			helloStep("w", 8), trainSteps(0, 1, 2, 3, 4, 5, 6), helloStep("x", 8), trainSteps(1, 7, 8, 9, 10, 11, 12),
			helloStep("y", 8), trainSteps(2, 8, 9, 10, 11, 12, 13, 14), helloStep("z", 8),
			trainSteps(3, 9, 10, 11, 12, 13, 14),
		},
		// A part of a run that another machine goes on with otherwise.
		{
			helloStep("w", 8), reportStep(1, 1, 1), reportStep(2, 1, 1), reportStep(3, 1, 1), endStep, waitStep(40),
			helloStep("x", 8), trainSteps(9, 7, 8, 9, 10, 11, 12, 13, 14),
		},
		{
			helloStep("w", 2), reportStep(1, 1, 1), checkpointStep(&trellisv1.CheckpointReport{
				Attempt: 1, Checkpoint: &trellisv1.Checkpoint{Epoch: 1, Sha256: tinyDigest, Size: 9, BestEpoch: 1},
			}), checkpointStep(&trellisv1.CheckpointReport{
				Attempt: 1, Checkpoint: &trellisv1.Checkpoint{Epoch: 1}, Missing: "no room",
			}), reportStep(1, 2, 1), checkpointStep(&trellisv1.CheckpointReport{Attempt: 2}), checkpointStep(nil),
		},
		{
			helloStep("w", 2), reportStep(1, 1, 1), stored(1, 1), stored(1, 1), reportStep(1, 2, 1), stored(1, 3),
			stored(1, 2), endStep, waitStep(40), helloStep("x", 8), trainSteps(0, 2, 3, 4, 5, 6, 7, 8, 9), stored(3, 2),
			stored(4, 2),
		},
		// Gaps, columns of different lengths, metrics, and numbers that are too large.
		{
			helloStep("w", 8), reportStep(1, 3, 1), reportStep(2, 0, 1), reportStep(3, math.MaxUint32, 1, 1),
			reportsStep(&trellisv1.Reports{Attempt: 4, FirstEpoch: 1, TrainLoss: []float64{1}}, nil),
			reportsStep(&trellisv1.Reports{
				Attempt: 5, FirstEpoch: 1, TrainLoss: []float64{1}, ValidationLoss: []float64{1},
				Seconds:     []float64{-1},
				TestLoss:    map[uint32]float64{1: 1, 7: 2},
				Metrics:     map[string]*trellisv1.Series{"a": {Values: []float64{1}}},
				TestMetrics: map[uint32]*trellisv1.Metrics{1: {Values: map[string]float64{"b": 1}}},
			}),
			successStep(6, math.MaxUint32, ended), successStep(6, 0, 99),
		},
		{step(stepOpen, &trellisv1.SessionRequest{}), goodbye, helloStep("", 0), helloStep("w", 2000), drain, drain},
		// A name that another process greets with.
		{helloStep("w", 3), step(stepOpen, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{
			Hello: &trellisv1.Hello{
				Protocol: trellisv1.SessionProtocol, Numerics: testNumerics, Worker: "w", Slots: 1,
				Key: keyOf("other"),
			},
		}}), reportStep(1, 1, 1)},
		{helloStep("w", 3), helloStep("x", 3), drain, give(4), endStep, goodbye, heartbeat},
	}
}
