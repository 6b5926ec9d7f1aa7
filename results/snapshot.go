package results

import (
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/paper"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

// schemas are those of all tables, each beside its name and what keeps its rows. Rows of studies, workers, tokens, events,
// hooks, deliveries and papers are messages. The other tables have the parts of studies, and what is derived from them.
var schemas = []func() *memdb.TableSchema{
	studiesSchema, workersSchema, catalogsSchema, sectionsSchema, waitingSchema, dueSchema, leasesSchema, heldSchema, rankingSchema,
	relativesSchema, rungsSchema, frontiersSchema, tokensSchema, eventsSchema, hooksSchema, deliveriesSchema,
	papersSchema,
}

// contents are all kinds of messages, in the order in which they are written. Rows that share values with rows of
// another kind come after them.
var contents = []content{
	newContent(tableStudies, studyRows, (*restorer).study),
	newContent("runs", runRows, (*restorer).run),
	newContent("trials", trialRows, (*restorer).trial),
	newContent("losses", lossesRows, (*restorer).losses),
	newContent(tableWorkers, workerRows, (*restorer).worker),
	addedLater(newContent(tableTokens, tokenRows, (*restorer).token)),
	addedLater(newContent(tableEvents, eventRows, (*restorer).event)),
	addedLater(newContent("sealed", sealedRows, (*restorer).sealed)),
	addedLater(newContent(tableHooks, hookRows, (*restorer).hook)),
	addedLater(newContent(tableDeliveries, deliveryRows, (*restorer).delivery)),
	addedLater(newContent(tablePapers, paperRows, (*restorer).paper)),
}

// content is one kind of message in the store that is hashed, written and restored. Everything else is derived from
// these.
type content struct {
	name string
	// rows returns all rows, in the order of their keys.
	rows func(reader) (iter.Seq2[proto.Message, error], error)
	// row returns an empty row.
	row func() proto.Message
	// restore adds a row of a snapshot to the store.
	restore func(*restorer, proto.Message) error
	// later says that the first version did not have it: while it is empty, the hash is what it was without it.
	later bool
}

func newContent[Message any, Row interface {
	*Message
	proto.Message
}](
	name string, rows func(reader) (iter.Seq2[proto.Message, error], error), restore func(*restorer, Row) error,
) content {
	return content{
		name: name, rows: rows,
		row:     func() proto.Message { return Row(new(Message)) },
		restore: func(r *restorer, row proto.Message) error { return restore(r, row.(Row)) },
	}
}

// addedLater returns the content as one that the first version did not have.
func addedLater(c content) content {
	c.later = true
	return c
}

func newSchema() *memdb.DBSchema {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, table := range schemas {
		its := table()
		schema.Tables[its.Name] = its
	}
	return schema
}

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

// isOpen says whether a section is not sealed.
func isOpen(s *section) bool { return s.sealed == nil }

// runRows returns runs by study and place, without those that are untouched or sealed.
func runRows(r reader) (iter.Seq2[proto.Message, error], error) {
	members, err := r.touchedIn("", isOpen)
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
	members, err := r.touchedIn("", isOpen)
	return func(yield func(proto.Message, error) bool) {
		for member := range members {
			if member.Losses != nil && !yield(member.Losses, nil) {
				return
			}
		}
	}, err
}

// trialRows returns trials by study: first the listed ones by index, then those with results that follow from the spec, by
// place and milestone. A trial without a result only has what does not follow from its run.
func trialRows(r reader) (iter.Seq2[proto.Message, error], error) {
	catalogs, err := scan[*catalog.Catalog](r, nil, tableCatalogs, indexID, nil)
	return func(yield func(proto.Message, error) bool) {
		for c := range catalogs {
			for trial, err := range r.listedTrials(c) {
				if !yield(trial, err) || err != nil {
					return
				}
			}
			if c.Base == nil {
				continue
			}
			touched, err := r.touchedIn(c.Study, isOpen)
			if err != nil {
				yield(nil, err)
				return
			}
			for member := range touched {
				for _, trial := range member.Answers {
					if trial.Index < c.Base.Indices() && !yield(trial, nil) {
						return
					}
				}
			}
		}
	}, err
}

// sealedRows returns sealed sections by study and number.
func sealedRows(r reader) (iter.Seq2[proto.Message, error], error) {
	sections, err := r.sectionsOf("")
	return func(yield func(proto.Message, error) bool) {
		for s := range sections {
			if s.sealed == nil {
				continue
			}
			row := &trellisv1.SealedSection{Study: s.study, Number: s.number, Changed: s.changed}
			if s.sealed.SetIn(row); !yield(row, nil) {
				return
			}
		}
	}, err
}

// listedTrials returns a study's listed trials, by index.
func (r reader) listedTrials(c *catalog.Catalog) iter.Seq2[*trellisv1.Trial, error] {
	return func(yield func(*trellisv1.Trial, error) bool) {
		for _, listed := range c.Listed() {
			member, err := r.memberAt(nil, c, listed.Place)
			if err != nil {
				yield(nil, err)
				return
			}
			milestone, _ := slices.BinarySearch(member.Run.Milestones, listed.Epochs)
			trial := trajectory.NewTrial(member.Run, listed.Epochs, listed.Index)
			if milestone < len(member.Answers) {
				trial = member.Answers[milestone]
			}
			if !yield(trial, nil) {
				return
			}
		}
	}
}

// SavedBy returns a run that refers to the checkpoint with the digest, and the checkpoint. It returns ErrNotFound if
// there is none: the run may have been deleted, or have continued and dropped the checkpoint. It looks at every run.
func (s *Snapshot) SavedBy(digest string) (*trellisv1.Run, *trellisv1.Checkpoint, error) {
	members, err := s.withOwn()
	if err != nil {
		return nil, nil, err
	}
	for member := range members {
		for _, checkpoint := range member.Run.Checkpoints {
			if checkpoint.Sha256 == digest {
				return member.Run, checkpoint, nil
			}
		}
	}
	if err := s.Err(); err != nil {
		return nil, nil, err
	}
	return nil, nil, fmt.Errorf("run with the checkpoint %s: %w", digest, ErrNotFound)
}

// RunsWithCheckpoints returns the runs of a study that have checkpoints. Ask Err afterwards: see Within.
func (s *Snapshot) RunsWithCheckpoints(study string) (iter.Seq[*trellisv1.Run], error) {
	members, err := s.touchedBy(study, func(*section) bool { return true }, (*section).withOwn)
	return func(yield func(*trellisv1.Run) bool) {
		for member := range members {
			if len(member.Run.Checkpoints) > 0 && !yield(member.Run) {
				return
			}
		}
	}, err
}

// Artifacts returns the digests of all that studies refer to: checkpoints and output of their runs, the sources of
// their pretrained weights and the files of their programs, and of the pictures of reports on papers. All other
// artifacts may be deleted, except those that were uploaded after this snapshot and are about to be referred to.
func (s *Snapshot) Artifacts() (map[string]bool, error) {
	return s.ArtifactsWithout(func(*trellisv1.Run) bool { return false })
}

// ArtifactsWithout returns what Artifacts would return without the checkpoints of some runs.
func (s *Snapshot) ArtifactsWithout(checkpointsOf func(*trellisv1.Run) bool) (map[string]bool, error) {
	members, err := s.withOwn()
	if err != nil {
		return nil, err
	}
	digests := map[string]bool{}
	for member := range members {
		if len(member.Run.Checkpoints) > 0 && !checkpointsOf(member.Run) {
			for _, checkpoint := range member.Run.Checkpoints {
				digests[checkpoint.Sha256] = true
			}
		}
		for _, output := range member.Run.Outputs {
			digests[output.Sha256] = true
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	// A run that starts from pretrained weights needs them at every attempt, even if the study that they come from is
	// gone.
	studies, err := s.Studies(nil)
	if err != nil {
		return nil, err
	}
	for _, study := range studies {
		if study.Pretrained != nil {
			digests[study.Pretrained.Sha256] = true
		}
		if files := study.GetSpec().GetProgram().GetFiles(); files != nil {
			digests[files.GetSha256()] = true
		}
	}
	papers, err := s.Papers()
	if err != nil {
		return nil, err
	}
	for _, report := range papers {
		for _, digest := range paper.Pictures(report) {
			digests[digest] = true
		}
	}
	return digests, nil
}
