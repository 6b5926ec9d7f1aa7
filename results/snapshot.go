package results

import (
	"fmt"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

// WriteTo writes the whole store in the format of DESIGN.md, from which Restore restores the same state. It returns the
// number of bytes written.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	file := snapshotfile.NewWriter(w)
	err := file.Begin()
	for _, content := range contents {
		if err == nil {
			err = s.writeRows(file, content)
		}
	}
	if err == nil {
		err = file.End()
	}
	if err != nil {
		return file.Written(), fmt.Errorf("write the snapshot: %w", err)
	}
	return file.Written(), nil
}

func (s *Snapshot) writeRows(file *snapshotfile.Writer, content content) error {
	rows, err := content.rows(s.reader)
	if err != nil {
		return err
	}
	for row, err := range rows {
		if err == nil {
			err = file.Add(content.name, row)
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", content.name, err)
		}
	}
	return file.EndTable()
}

func studyRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.Study](scan[*trellisv1.Study](r, nil, tableStudies, indexID, nil))
}

func workerRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.Worker](scan[*trellisv1.Worker](r, nil, tableWorkers, indexID, nil))
}

func rowsOf[Row proto.Message](rows iter.Seq[Row], err error) (iter.Seq2[proto.Message, error], error) {
	return func(yield func(proto.Message, error) bool) {
		for row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}, err
}

// runRows returns runs by study and place.
func runRows(r reader) (iter.Seq2[proto.Message, error], error) {
	members, err := r.membersOf("")
	return func(yield func(proto.Message, error) bool) {
		for member := range members {
			if !yield(member.Run, nil) {
				return
			}
		}
	}, err
}

// lossesRows returns losses by study and place of the run.
func lossesRows(r reader) (iter.Seq2[proto.Message, error], error) {
	members, err := r.membersOf("")
	return func(yield func(proto.Message, error) bool) {
		for member := range members {
			if member.Losses != nil && !yield(member.Losses, nil) {
				return
			}
		}
	}, err
}

// trialRows returns trials by study and index. A trial without a result only has what does not follow from its run.
func trialRows(r reader) (iter.Seq2[proto.Message, error], error) {
	catalogs, err := scan[*catalog.Catalog](r, nil, tableCatalogs, indexID, nil)
	return func(yield func(proto.Message, error) bool) {
		for c := range catalogs {
			for _, number := range c.ByIndex {
				place, milestone := c.RunOf(number)
				member, err := r.memberAt(nil, c.Study, place)
				if err != nil {
					yield(nil, err)
					return
				}
				var trial *trellisv1.Trial
				if int(milestone) < len(member.Answers) {
					trial = member.Answers[milestone]
				} else {
					trial = trajectory.NewTrial(member.Run, member.Run.Milestones[milestone], c.Indexes[number])
				}
				if !yield(trial, nil) {
					return
				}
			}
		}
	}, err
}
