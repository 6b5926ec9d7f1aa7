package results

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

// scribble changes everything in a message that can be changed in place, down to the arrays of its lists.
func scribble(message proto.Message) { scribbleMessage(message.ProtoReflect()) }

func scribbleMessage(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !m.Has(field) {
			continue
		}
		switch {
		case field.IsMap():
			entries := m.Mutable(field).Map()
			entries.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				entries.Set(k, otherValue(field.MapValue(), v))
				return true
			})
		case field.IsList():
			list := m.Mutable(field).List()
			for j := range list.Len() {
				list.Set(j, otherValue(field, list.Get(j)))
			}
		default:
			m.Set(field, otherValue(field, m.Get(field)))
		}
	}
}

// otherValue is a value that differs from v, which if it is a message is scribbled over too.
func otherValue(field protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.MessageKind:
		scribbleMessage(v.Message())
		return v
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(v.String() + "!")
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(v.Float() + 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(v.Uint()) + 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(v.Uint() + 1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(v.Int()) + 1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(v.Int() + 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(v.Enum() + 1)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(!v.Bool())
	}
	return v
}

// fill sets every field of a message to something.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if options, ok := field.Options().(*descriptorpb.FieldOptions); ok && options.GetDeprecated() {
			continue // It is only read from old data.
		}
		switch {
		case field.IsMap():
			entries := m.Mutable(field).Map()
			key := protoreflect.ValueOfUint32(7).MapKey()
			if field.MapKey().Kind() == protoreflect.StringKind {
				key = protoreflect.ValueOfString("train_seven").MapKey()
			}
			if field.MapValue().Kind() != protoreflect.MessageKind {
				entries.Set(key, otherValue(field.MapValue(), entries.NewValue()))
			} else if depth > 0 {
				fill(entries.Mutable(key).Message(), depth-1)
			}
		case field.IsList() && field.Kind() == protoreflect.MessageKind:
			m.Mutable(field).List().AppendMutable()
		case field.IsList():
			list := m.Mutable(field).List()
			list.Append(otherValue(field, list.NewElement()))
		case field.Kind() == protoreflect.MessageKind:
			if depth > 0 {
				fill(m.Mutable(field).Message(), depth-1)
			}
		default:
			m.Set(field, otherValue(field, field.Default()))
		}
	}
}

// TestCopiesAreWhole: a field that is added to a message and forgotten in its copy function would be lost at the first
// change of a row.
func TestCopiesAreWhole(t *testing.T) {
	check := func(name string, row proto.Message, copied func() proto.Message) {
		t.Run(name, func(t *testing.T) {
			fill(row.ProtoReflect(), 2)
			got := copied()
			equal(t, "copy", got, row)
			if got == row {
				t.Error("the copy is the row itself")
			}
		})
	}
	study, progress, run := &trellisv1.Study{}, &trellisv1.Progress{}, &trellisv1.Run{}
	trial, losses, worker := &trellisv1.Trial{}, &trellisv1.Losses{}, &trellisv1.Worker{}
	check("study", study, func() proto.Message { return CopyStudy(study) })
	check("progress", progress, func() proto.Message { return copyProgress(progress) })
	check("run", run, func() proto.Message { return trajectory.CopyRun(run) })
	check("trial", trial, func() proto.Message { return trajectory.CopyTrial(trial) })
	check("losses", losses, func() proto.Message { return trajectory.CopyLosses(losses) })
	check("worker", worker, func() proto.Message { return copyWorker(worker) })
}

// checkIndexes compares every index of every table with the rows of the table, and every table that follows from others
// with what it follows from.
func checkIndexes(t interface{ Fatalf(string, ...any) }, snapshot *Snapshot) {
	for table, schema := range newSchema().Tables {
		rows, err := all[any](snapshot.reader, nil, table, indexID, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for name, index := range schema.Indexes {
			var indexed []any
			if _, single := index.Indexer.(memdb.SingleIndexer); single {
				if indexed, err = all[any](snapshot.reader, nil, table, name, nil); err != nil {
					t.Fatalf("%v", err)
				}
			}
			want := map[any]bool{}
			for _, row := range rows {
				switch indexer := index.Indexer.(type) {
				case memdb.SingleIndexer:
					has, _, err := indexer.FromObject(row)
					if err != nil {
						t.Fatalf("%v", err)
					}
					if has {
						want[row] = true
					}
				case memdb.MultiIndexer:
					_, keys, err := indexer.FromObject(row)
					if err != nil {
						t.Fatalf("%v", err)
					}
					for _, k := range keys {
						found, err := all[any](snapshot.reader, nil, table, name, k)
						if err != nil || !slices.Contains(found, row) {
							t.Fatalf("index %s of %s lacks %v by %q: %v", name, table, row, k, err)
						}
					}
					continue
				}
			}
			for _, row := range indexed {
				if !want[row] {
					t.Fatalf("index %s of %s has a row that it should not have: %v", name, table, row)
				}
				delete(want, row)
			}
			if len(want) > 0 {
				t.Fatalf("index %s of %s lacks %d rows", name, table, len(want))
			}
		}
	}
	got, want := tableTexts(t, snapshot), tableTexts(t, rebuilt(t, snapshot))
	for _, table := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(got[table], want[table]) {
			t.Fatalf("table %s is\n%q\nbut what it follows from gives\n%q", table, got[table], want[table])
		}
	}
}

// rebuilt is a store whose tables are made anew from what the snapshot consists of.
func rebuilt(t interface{ Fatalf(string, ...any) }, snapshot *Snapshot) *Snapshot {
	tables, err := newGeneration()
	if err != nil {
		t.Fatalf("%v", err)
	}
	restorer := newRestorer(tables.db.Txn(true), snapshotfile.Version)
	for place, content := range contents {
		restorer.content, restorer.key = place, nil
		rows, err := content.rows(snapshot.reader)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for row, err := range rows {
			data, marshalErr := proto.Marshal(row)
			if err := cmp.Or(err, marshalErr, restorer.row(content, data)); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	if err := restorer.finish(); err != nil {
		t.Fatalf("%v", err)
	}
	return &Snapshot{reader: reader{txn: restorer.txn}}
}

// tableTexts are the rows of every table there is, as texts.
func tableTexts(t interface{ Fatalf(string, ...any) }, snapshot *Snapshot) map[string][]string {
	encode := func(m proto.Message) string {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatalf("%v", err)
		}
		return string(data)
	}
	texts := map[string][]string{}
	for table := range newSchema().Tables {
		rows, err := all[any](snapshot.reader, nil, table, indexID, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, row := range rows {
			// How a ranking is divided into pages depends on how it came about.
			if its, ok := row.(*ranks); ok {
				for page := range its.keys.Pages() {
					for _, trial := range page {
						texts[table] = append(texts[table], fmt.Sprintf("%s %x", its.study, trial))
					}
				}
				continue
			}
			var text string
			switch row := row.(type) {
			case proto.Message:
				text = encode(row)
			case *section:
				text = fmt.Sprintf("%s %d %d %x %x %x", row.study, row.number, row.changed, row.pending, row.begun,
					row.open)
				if row.sealed != nil {
					its := &trellisv1.SealedSection{}
					row.sealed.SetIn(its)
					text += "; " + encode(its)
				}
				for _, member := range row.members {
					if member == nil {
						text += "; untouched"
						continue
					}
					text += fmt.Sprintf("; %q %q", encode(member.Run), encode(member.Losses))
					for _, answer := range member.Answers {
						text += fmt.Sprintf(" %q", encode(answer))
					}
				}
			case *rung:
				text = fmt.Sprintf("%s %d %v", row.study, row.epoch, slices.Collect(row.results.All))
			case *catalog.Catalog:
				listed := *row
				if listed.Base = nil; row.Base != nil {
					text = fmt.Sprint(row.Base.Runs(), row.Base.Created, row.Base.Terms != nil, row.Base.Untouched)
				}
				text += fmt.Sprintf("%+v", listed)
			case *leases:
				text = string(row.of)
				for _, lease := range row.its {
					text += fmt.Sprintf(" %+v", *lease)
				}
			case *waiting, *relatives, *frontier:
				text = fmt.Sprintf("%+v", row)
			default:
				t.Fatalf("rows of table %s, which are %T, need a text here", table, row)
			}
			texts[table] = append(texts[table], text)
		}
	}
	return texts
}
