package results

import (
	"fmt"
	"math"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
)

func lossesSchema() *memdb.TableSchema {
	return tableSchema(tableLosses, index(indexID, lossesKey))
}

func lossesKey(l *trellisv1.Losses) key { return textsKey(l.Study, l.Run) }

// lossesOf returns a run's losses as they stand, nil before its first epoch.
func (c *change) lossesOf(run *trellisv1.Run) (*trellisv1.Losses, error) {
	losses, err := c.losses.get(runKey(run))
	if isNotFound(err) {
		return nil, nil
	}
	return losses, err
}

// appendLosses adds an epoch to a run's losses.
//
// The arrays grow in place. That changes nothing that a reader sees: each stored row knows how many of an array's losses
// are its own, and there is only ever one latest row to append to. Thus an epoch costs the same whether it is the
// first or the thousandth.
func (c *change) appendLosses(run *trellisv1.Run, losses *trellisv1.Losses, report *trellisv1.Report) {
	if losses == nil {
		losses = &trellisv1.Losses{Study: run.Study, Run: run.Id}
		c.losses.add(losses)
	} else {
		losses = c.losses.edit(losses)
	}
	losses.TrainLoss = append(losses.TrainLoss, report.GetTrainLoss())
	losses.ValidationLoss = append(losses.ValidationLoss, report.GetValidationLoss())
	if report.TestLoss != nil {
		if losses.TestLoss == nil {
			losses.TestLoss = map[uint32]float64{}
		}
		losses.TestLoss[report.GetEpoch()] = report.GetTestLoss()
	}
}

// checkRepeat compares an epoch that is reported again with what is recorded: it must be the same bit for bit, where NaN
// is the same as NaN. A test loss is compared if both have one. The error says what differs.
func checkRepeat(losses *trellisv1.Losses, report *trellisv1.Report) error {
	i := report.GetEpoch() - 1
	compare := func(name string, recorded, reported float64) error {
		if math.Float64bits(recorded) == math.Float64bits(reported) || math.IsNaN(recorded) && math.IsNaN(reported) {
			return nil
		}
		return fmt.Errorf("epoch %d: recorded %s loss %v, reported %v", report.GetEpoch(), name, recorded, reported)
	}
	if err := compare("train", losses.TrainLoss[i], report.GetTrainLoss()); err != nil {
		return err
	}
	if err := compare("validation", losses.ValidationLoss[i], report.GetValidationLoss()); err != nil {
		return err
	}
	if recorded, ok := losses.TestLoss[report.GetEpoch()]; ok && report.TestLoss != nil {
		return compare("test", recorded, report.GetTestLoss())
	}
	return nil
}

// Losses returns what has been reported of a run, or ErrNotFound before its first epoch.
func (s *Snapshot) Losses(ws memdb.WatchSet, study, run string) (*trellisv1.Losses, error) {
	losses, err := first[*trellisv1.Losses](s.txn, ws, tableLosses, indexID, textsKey(study, run))
	if err == nil && losses == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("losses of run %s of study %s: %w", run, study, err)
	}
	return losses, nil
}
