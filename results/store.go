package results

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/chronicle"
	"trellis/results/kept"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/snapshotfile"
)

// Store stores studies, runs, trials, losses, workers, tokens and events. Writes come from the log, one after the other.
// Any number of snapshots may be read at the same time.
type Store struct {
	tables atomic.Pointer[generation]
}

// generation is the content of the store from one Restore to the next.
type generation struct {
	db *memdb.MemDB
	// replaced is closed when another generation has replaced this one.
	replaced chan struct{}
	// answers are what was computed from studies.
	answers kept.Studies
	// times are those of its commands.
	times *chronicle.Chronicle
}

// New returns an empty store.
func New() (*Store, error) {
	empty, err := newGeneration()
	if err != nil {
		return nil, err
	}
	store := &Store{}
	store.tables.Store(empty)
	return store, nil
}

func newGeneration() (*generation, error) {
	db, err := memdb.NewMemDB(newSchema())
	if err != nil {
		return nil, fmt.Errorf("create the tables: %w", err)
	}
	return &generation{db: db, replaced: make(chan struct{}), times: &chronicle.Chronicle{}}, nil
}

// Snapshot returns the state as of now. Later writes do not change it. A snapshot costs almost nothing, must be used by
// one goroutine only, and need not be closed.
//
// Its methods return values of the store, which must not be changed. Methods that take a watch set add channels to it
// that fire when their result may have changed. The watch set may be nil.
func (s *Store) Snapshot() *Snapshot {
	tables := s.tables.Load()
	return &Snapshot{
		reader: reader{txn: tables.db.Txn(false), replaced: tables.replaced}, answers: &tables.answers, times: tables.times,
	}
}

// Snapshot is the state at one moment: see Store.Snapshot.
type Snapshot struct {
	reader
	answers *kept.Studies
	times   *chronicle.Chronicle
}

// Kept keeps what depends on nothing but a study as it is now.
func (s *Snapshot) Kept(study *trellisv1.Study) *kept.Kept {
	return s.answers.Of(study.CreateIndex, study.ModifyIndex)
}

// Lasting keeps what follows a study as it changes.
func (s *Snapshot) Lasting(study *trellisv1.Study) *kept.Kept {
	return s.answers.Lasting(study.CreateIndex)
}

// messageBytes is about how many bytes of memory a message of small ones takes for each byte that it is written in.
const messageBytes = 4

// Answered returns what compute answers to a request about a study. It must depend on nothing but the request and the study as it
// is now: the answer is kept, and nobody may change it.
func Answered[Request, Response proto.Message](
	s *Snapshot, study string, request Request, compute func(*Snapshot, Request) (Response, error),
) (response Response, err error) {
	row, err := s.Study(nil, study)
	if err != nil {
		return response, err
	}
	type question struct {
		of   protoreflect.FullName
		asks string
	}
	asks, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return response, fmt.Errorf("write a request: %w", err)
	}
	of := question{request.ProtoReflect().Descriptor().FullName(), string(asks)}
	return kept.Answer(s.answers.Answers(), row.CreateIndex, row.ModifyIndex, of,
		func(response Response) int { return len(asks) + messageBytes*proto.Size(response) },
		s.Done(), s.Err, func() (Response, error) {
			response, err := compute(s, request)
			return response, cmp.Or(err, s.Err()) // If a scan has ended early, it is part of the answer.
		})
}

// Times says when commands were proposed, as far as is known: since the node started, and the last one before.
func (s *Snapshot) Times() *chronicle.Chronicle { return s.times }

// reader is a transaction that queries read from.
type reader struct {
	txn *memdb.Txn
	// replaced is closed when everything in the store has been replaced. It is nil for a transaction that changes the
	// store.
	replaced <-chan struct{}
	// ctx ends the scans of studies early. It is nil if nothing does.
	ctx context.Context
}

// Within returns the same state for one request. Scans of a study's runs and trials end early once ctx is done, because
// nobody waits for what they find. Who has ranged over one must ask Err whether it was complete.
func (s *Snapshot) Within(ctx context.Context) *Snapshot {
	bound := *s
	bound.ctx = ctx
	return &bound
}

// Err is why scans have ended early, and nil if they have not.
func (s *Snapshot) Err() error { return s.reader.err() }

// Done is closed when scans begin to end early. It is nil if they never do.
func (s *Snapshot) Done() <-chan struct{} {
	if s.ctx == nil {
		return nil
	}
	return s.ctx.Done()
}

func (r reader) err() error {
	if r.ctx == nil {
		return nil
	}
	return r.ctx.Err()
}

// Hash returns a digest of the whole store. Stores with the same writes have the same hash.
func (s *Snapshot) Hash() ([sha256.Size]byte, error) { return hashOf(s.reader, contents) }

func hashOf(r reader, contents []content) ([sha256.Size]byte, error) {
	var digest [sha256.Size]byte
	sum := sha256.New()
	for _, content := range contents {
		if err := hashRows(sum, r, content); err != nil {
			return digest, fmt.Errorf("hash %s: %w", content.name, err)
		}
	}
	sum.Sum(digest[:0])
	return digest, nil
}

func hashRows(sum hash.Hash, r reader, content content) error {
	writeSized := func(data []byte) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(data))))
		sum.Write(data)
	}
	if !content.later {
		writeSized([]byte(content.name))
	}
	rows, err := content.rows(r)
	if err != nil {
		return err
	}
	var data []byte
	named := !content.later
	for row, err := range rows {
		if err != nil {
			return err
		}
		if !named {
			writeSized([]byte(content.name))
			named = true
		}
		data, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(data[:0], row)
		if err != nil {
			return err
		}
		writeSized(data)
	}
	return nil
}

// watch adds a channel to a watch set, together with the channel that is closed when everything is replaced.
func (r reader) watch(ws memdb.WatchSet, changed <-chan struct{}) {
	ws.Add(changed)
	if r.replaced != nil {
		ws.Add(r.replaced)
	}
}

// first returns the row with the key in the index, or the zero Row if there is none.
func first[Row any](r reader, ws memdb.WatchSet, table, index string, k key) (Row, error) {
	var none Row
	watch, raw, err := r.txn.FirstWatch(table, index, k)
	if err != nil {
		return none, fmt.Errorf("look up %s by %s: %w", table, index, err)
	}
	r.watch(ws, watch)
	if raw == nil {
		return none, nil
	}
	return raw.(Row), nil
}

// scan returns the rows whose keys begin with the prefix, in the order of their keys.
func scan[Row any](r reader, ws memdb.WatchSet, table, index string, prefix key) (iter.Seq[Row], error) {
	rows, err := r.txn.Get(table, index+"_prefix", prefix)
	if err != nil {
		return nil, fmt.Errorf("scan %s by %s: %w", table, index, err)
	}
	r.watch(ws, rows.WatchCh())
	return sequence[Row](rows), nil
}

// scanFrom returns the rows whose keys are at or after the given one, in the order of their keys.
func scanFrom[Row any](r reader, table, index string, from key) (iter.Seq[Row], error) {
	rows, err := r.txn.LowerBound(table, index, from)
	if err != nil {
		return nil, fmt.Errorf("scan %s by %s: %w", table, index, err)
	}
	return sequence[Row](rows), nil
}

// sequence turns an iterator into a sequence that can be ranged over once.
func sequence[Row any](rows memdb.ResultIterator) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for raw := rows.Next(); raw != nil; raw = rows.Next() {
			if !yield(raw.(Row)) {
				return
			}
		}
	}
}

// all collects the rows whose keys begin with the prefix.
func all[Row any](r reader, ws memdb.WatchSet, table, index string, prefix key) ([]Row, error) {
	rows, err := scan[Row](r, ws, table, index, prefix)
	if err != nil {
		return nil, err
	}
	return slices.Collect(rows), nil
}

// The indexes. Every key of every index is unique, and ends in what makes it unique.
const (
	// indexID is the main index of every table: see the tables.
	indexID = "id"
	// indexCreated has all studies, oldest first. indexRunning has the RUNNING studies, oldest first.
	indexCreated = "created"
	indexRunning = "running"
	// indexReady has the READY workers by the study that they are there for alone, those with free slots first, and by name.
	// indexLabeled has those that are there for all by each of their labels, and then in the same order.
	indexReady   = "ready"
	indexLabeled = "labeled"
	// indexEnded has the LOST and GONE workers, by modify_index.
	indexEnded = "ended"
)

func insert(txn *memdb.Txn, table string, row any) error {
	if err := txn.Insert(table, row); err != nil {
		return fmt.Errorf("insert into %s: %w", table, err)
	}
	return nil
}

func remove(txn *memdb.Txn, table string, row any) error {
	if err := txn.Delete(table, row); err != nil {
		return fmt.Errorf("delete from %s: %w", table, err)
	}
	return nil
}

func tableSchema(name string, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
	table := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
	for _, index := range indexes {
		table.Indexes[index.Name] = index
	}
	return table
}

// index returns an index of all rows for which key returns a key.
func index[Row any](name string, key func(Row) key) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, AllowMissing: true, Unique: true, Indexer: indexer[Row](key)}
}

// indexer maps rows to their keys. A nil key leaves the row out. Queries pass the key itself, or a prefix of it.
type indexer[Row any] func(Row) key

func (i indexer[Row]) FromObject(raw any) (bool, []byte, error) {
	row, ok := raw.(Row)
	if !ok {
		return false, nil, fmt.Errorf("a %T is in the wrong table", raw)
	}
	k := i(row)
	return k != nil, k, nil
}

func (i indexer[Row]) FromArgs(args ...any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("an index is queried by one key, not by %d", len(args))
	}
	k, ok := args[0].(key)
	if !ok {
		return nil, fmt.Errorf("an index is queried by a key, not by a %T", args[0])
	}
	return k, nil
}

func (i indexer[Row]) PrefixFromArgs(args ...any) ([]byte, error) { return i.FromArgs(args...) }

// key is a row's key in an index: its parts one after the other, encoded so that the bytes sort as the parts do.
type key []byte

// newKey returns an empty key with capacity for size bytes. An exact capacity saves memory that the index would keep.
func newKey(size int) key { return make(key, 0, size) }

// text appends a string and a zero byte, which no name contains.
func (k key) text(s string) key { return append(append(k, s...), 0) }

func (k key) number(n uint64) key { return binary.BigEndian.AppendUint64(k, n) }

func (k key) number32(n uint32) key { return binary.BigEndian.AppendUint32(k, n) }

func textKey(s string) key { return newKey(len(s) + 1).text(s) }

var (
	_ memdb.SingleIndexer = indexer[*trellisv1.Study](nil)
	_ memdb.PrefixIndexer = indexer[*trellisv1.Study](nil)
)

// Errors of the store. A write that is refused changes nothing, with the exception of ErrConflict.
var (
	// ErrNotFound means that there is no such study, run, trial, worker or token.
	ErrNotFound = errors.New("not found")
	// ErrExists means that a study already has the name, or a token the id.
	ErrExists = errors.New("already exists")
	// ErrNotOwner means that a submitter would change what another has made, or that a worker has another's name.
	ErrNotOwner = errors.New("belongs to another principal")
	// ErrInvalid means that a request is invalid in any state: a malformed row, page token, order or filter.
	ErrInvalid = listing.ErrInvalid
	// ErrReplaced means that a page token is of a study that was deleted, and whose name another study has now.
	ErrReplaced = listing.ErrReplaced
	// ErrIllegalMove means that the current state has no such transition, or that a condition is not met: a grant needs
	// a RUNNING study and a READY worker with a free slot.
	ErrIllegalMove = lifecycle.ErrIllegalMove
	// ErrStudyChanged means that the study has changed since the command was made. A new command may be accepted.
	ErrStudyChanged = errors.New("the study has changed in the meantime")
	// ErrNoAnswer means that none of the study's trials has succeeded yet.
	ErrNoAnswer = errors.New("no trial has succeeded yet")
	// ErrInconclusive means that the results so far are not sufficient to answer the query.
	ErrInconclusive = errors.New("inconclusive")
	// ErrStale means that the attempt no longer holds the run, or never did. Nothing of it will ever be accepted.
	ErrStale = errors.New("stale attempt")
	// ErrConflict means that an attempt contradicts what an earlier one reported. This write ends the attempt, as a
	// failure of the class CONFLICT, so that nothing more of it can mix with what is recorded. The run is disputed.
	ErrConflict = errors.New("conflict with what is recorded")
	// ErrGap means that earlier reports are missing. Once they have arrived, this one will be accepted.
	ErrGap = errors.New("gap in the reports")
)

// Errors of Restore.
var (
	// ErrCorrupt means that the data is not a snapshot, is cut off, has changed since it was written, or has rows that
	// contradict one another.
	ErrCorrupt = snapshotfile.ErrCorrupt
	// ErrNewer means that a newer version of Trellis wrote the snapshot, in a format that this version does not know.
	ErrNewer = snapshotfile.ErrNewer
)

// refusal returns the error of a study that was not changed. verb says what was tried. Errors of moves that the study's
// state does not allow already name the study, and so do errors of missing or existing studies.
func refusal(verb, study string, err error) error {
	if move, ok := errors.AsType[*lifecycle.MoveError](err); ok {
		return move.Of(study)
	}
	for _, known := range []error{ErrNotFound, ErrExists} {
		if errors.Is(err, known) {
			return fmt.Errorf("study %q %w", study, known)
		}
	}
	return fmt.Errorf("%s study %q: %w", verb, study, err)
}

// mostUntouched is how many untouched runs RunsChangedSince returns at most, or none if they are more.
const mostUntouched = 10_000

// RunsChangedSince returns the study's runs whose modify_index is above index, ordered by modify_index. Untouched runs that
// follow from the spec are among them if they have failed or been canceled together, and are not too many. What has become of
// these, the study says too.
func (s *Snapshot) RunsChangedSince(study string, index uint64) ([]*trellisv1.Run, error) {
	sections, err := s.sectionsOf(study)
	if err != nil {
		return nil, err
	}
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	var changed []*trellisv1.Run
	for section := range sections {
		if section.changed <= index {
			continue
		}
		for slot := range section.size() {
			if member := section.member(c, slot); member != nil && member.Run.ModifyIndex > index {
				changed = append(changed, member.Run)
			}
		}
	}
	if u := c.UntouchedState(); u != nil && u.ModifyIndex > index {
		untouched, err := s.fewUntouched(c)
		if err != nil {
			return nil, err
		}
		changed = append(changed, untouched...)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(changed, func(a, b *trellisv1.Run) int { return cmp.Compare(a.ModifyIndex, b.ModifyIndex) })
	return changed, nil
}

// fewUntouched returns the untouched runs of a study, or none if they are more than mostUntouched.
func (s *Snapshot) fewUntouched(c *catalog.Catalog) (runs []*trellisv1.Run, err error) {
	sections, err := s.sectionsOf(c.Study)
	if err != nil {
		return nil, err
	}
	var untouched []uint32
	next := uint32(0)
	until := func(end uint32) {
		for end = min(end, c.BaseRuns()); next < end && len(untouched) <= mostUntouched; next++ {
			untouched = append(untouched, next)
		}
	}
	for section := range sections {
		first := section.number * sectionSize
		if until(first); !c.InBase(first) {
			break
		}
		for slot, member := range section.members {
			if member == nil {
				untouched = append(untouched, first+uint32(slot))
			}
		}
		next = first + uint32(section.size())
	}
	if until(c.BaseRuns()); len(untouched) > mostUntouched {
		return nil, nil
	}
	for _, place := range untouched {
		runs = append(runs, c.Untouched(place).Run)
	}
	return runs, nil
}
