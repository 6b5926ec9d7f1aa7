package results

import (
	"iter"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// schemas are those of all tables, each beside its name and what keeps its rows. Rows of studies, workers, tokens and
// events are messages. The other tables have the parts of studies, and what is derived from them.
var schemas = []func() *memdb.TableSchema{
	studiesSchema, workersSchema, catalogsSchema, sectionsSchema, waitingSchema, dueSchema, leasesSchema, rankingSchema,
	relativesSchema, rungsSchema, tokensSchema, eventsSchema,
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
