package results

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
)

// The tables: studies and workers are rows that are messages, the others what a study consists of.
const (
	tableStudies = "studies"
	tableWorkers = "workers"
	// tableCatalogs: by study, which runs and trials it has.
	tableCatalogs = "catalogs"
	// tableSections: by study and place, what is known of its runs, trials and losses.
	tableSections = "sections"
	// tableWaiting: by study and place, PENDING runs in the order in which they are to be leased.
	tableWaiting = "waiting"
	// tableLeases: LEASED runs by worker.
	tableLeases = "leases"
	// tableRelatives: by study, which others have runs in common with it.
	tableRelatives = "relatives"
	// tableRungs: by study and epoch, how runs rank where pruning judges them.
	tableRungs = "rungs"
	// tableRanking: answered trials by study, best first, in pages.
	tableRanking = "ranking"
)

// The indexes. Every key of every index is unique and ends in what makes it so.
const (
	// indexID of every table: by what the table says.
	indexID = "id"
	// indexCreated: all studies, oldest first. indexRunning: those among them that are RUNNING.
	indexCreated = "created"
	indexRunning = "running"
	// indexFree: READY workers with slots to fill, by name.
	indexFree = "free"
	// indexEnded: workers that are LOST or GONE, by modify_index.
	indexEnded = "ended"
)

func newSchema() *memdb.DBSchema {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, table := range []*memdb.TableSchema{
		studiesSchema(), workersSchema(), catalogsSchema(), sectionsSchema(), waitingSchema(), leasesSchema(), rankingSchema(),
		relativesSchema(), rungsSchema(),
	} {
		schema.Tables[table.Name] = table
	}
	return schema
}

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

// index makes an index of all rows that key has a key for.
func index[Row any](name string, key func(Row) key) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, AllowMissing: true, Unique: true, Indexer: indexer[Row](key)}
}

// indexer takes rows to their keys. A nil key leaves the row out. Queries pass the key itself, or a prefix of it.
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

// key is where a row stands in an index: its parts one after the other, so that bytes sort as the parts do.
type key []byte

// newKey makes room for a key of the given size in bytes, which saves memory that the index would keep.
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
