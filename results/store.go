package results

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// Store keeps studies, runs, trials, losses and workers. Writes come one after the other from the log; any number of
// snapshots read meanwhile.
type Store struct {
	db *memdb.MemDB
}

// New returns an empty store.
func New() (*Store, error) {
	db, err := memdb.NewMemDB(newSchema())
	if err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	return &Store{db: db}, nil
}

// Snapshot returns the state as it is now. Later writes do not change it. It costs next to nothing, is to be used by one
// goroutine, and needs no closing.
//
// What its methods return is what the store holds: it must not be changed. Methods that take a watch set add to it what
// fires when their answer may have changed; a nil watch set adds nothing.
func (s *Store) Snapshot() *Snapshot {
	return &Snapshot{txn: s.db.Txn(false)}
}

// Snapshot is the state at one moment: see Store.Snapshot.
type Snapshot struct {
	txn *memdb.Txn
}

// Hash is a digest of all rows of all tables. Stores that were given the same writes have the same hash.
func (s *Snapshot) Hash() ([sha256.Size]byte, error) {
	var digest [sha256.Size]byte
	schema := newSchema()
	var tables []string
	for name := range schema.Tables {
		tables = append(tables, name)
	}
	slices.Sort(tables)
	sum := sha256.New()
	for _, table := range tables {
		if err := hashTable(sum, s.txn, table); err != nil {
			return digest, fmt.Errorf("hash table %s: %w", table, err)
		}
	}
	sum.Sum(digest[:0])
	return digest, nil
}

func hashTable(sum hash.Hash, txn *memdb.Txn, table string) error {
	writeSized := func(data []byte) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(data))))
		sum.Write(data)
	}
	writeSized([]byte(table))
	rows, err := txn.Get(table, indexID)
	if err != nil {
		return err
	}
	var data []byte
	for row := rows.Next(); row != nil; row = rows.Next() {
		message, ok := row.(proto.Message)
		if !ok {
			return fmt.Errorf("a row is a %T, not a message", row)
		}
		data, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(data[:0], message)
		if err != nil {
			return err
		}
		writeSized(data)
	}
	return nil
}

// first returns the row with the key in the index, or the zero Row if there is none.
func first[Row any](txn *memdb.Txn, ws memdb.WatchSet, table, index string, k key) (Row, error) {
	var none Row
	watch, raw, err := txn.FirstWatch(table, index, k)
	if err != nil {
		return none, fmt.Errorf("look up %s by %s: %w", table, index, err)
	}
	ws.Add(watch)
	if raw == nil {
		return none, nil
	}
	return raw.(Row), nil
}

// scan returns the rows whose keys begin with the prefix, in the order of their keys.
func scan[Row any](txn *memdb.Txn, ws memdb.WatchSet, table, index string, prefix key) (iter.Seq[Row], error) {
	rows, err := txn.Get(table, index+"_prefix", prefix)
	if err != nil {
		return nil, fmt.Errorf("scan %s by %s: %w", table, index, err)
	}
	ws.Add(rows.WatchCh())
	return sequence[Row](rows), nil
}

// scanFrom returns the rows whose keys are at or after the given one, in the order of their keys.
func scanFrom[Row any](txn *memdb.Txn, table, index string, from key) (iter.Seq[Row], error) {
	rows, err := txn.LowerBound(table, index, from)
	if err != nil {
		return nil, fmt.Errorf("scan %s by %s: %w", table, index, err)
	}
	return sequence[Row](rows), nil
}

// sequence can be ranged over once.
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
func all[Row any](txn *memdb.Txn, ws memdb.WatchSet, table, index string, prefix key) ([]Row, error) {
	rows, err := scan[Row](txn, ws, table, index, prefix)
	if err != nil {
		return nil, err
	}
	return slices.Collect(rows), nil
}
