package export

import (
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// rowGroup is how many rows a writer of Parquet holds in memory.
const rowGroup = 1 << 16

// WriteParquet writes a table as a Parquet file, compressed by zstd, whose columns are all optional. Metadata goes into
// the file.
func WriteParquet(out io.Writer, table Table, metadata map[string]string) error {
	root := orderedGroup{Group: parquet.Group{}}
	for _, column := range table.Columns {
		root.Group[column.Name] = parquet.Compressed(parquet.Optional(nodeOf(column.Kind)), &parquet.Zstd)
		root.names = append(root.names, column.Name)
	}
	options := []parquet.WriterOption{
		parquet.NewSchema("trellis", root), parquet.MaxRowsPerRowGroup(rowGroup), parquet.CreatedBy("trellis", "1", ""),
	}
	for key, value := range metadata {
		options = append(options, parquet.KeyValueMetadata(key, value))
	}
	w := parquet.NewGenericWriter[any](out, options...)
	row := make(parquet.Row, len(table.Columns))
	for cells, err := range table.Rows {
		if err != nil {
			return err
		}
		for i, cell := range cells {
			row[i] = valueOf(cell, i)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			return fmt.Errorf("write Parquet: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

func nodeOf(kind Kind) parquet.Node {
	switch kind {
	case Integer:
		return parquet.Int(64)
	case Number:
		return parquet.Leaf(parquet.DoubleType)
	case Boolean:
		return parquet.Leaf(parquet.BooleanType)
	}
	return parquet.String()
}

// valueOf is a cell in the column of that position: an optional value is of level 1.
func valueOf(cell Cell, column int) parquet.Value {
	var value parquet.Value
	switch {
	case !cell.known:
		return parquet.NullValue().Level(0, 0, column)
	case cell.kind == Integer:
		value = parquet.Int64Value(cell.integer)
	case cell.kind == Number:
		value = parquet.DoubleValue(cell.number)
	case cell.kind == Boolean:
		value = parquet.BooleanValue(cell.integer != 0)
	default:
		value = parquet.ByteArrayValue([]byte(cell.text))
	}
	return value.Level(0, 1, column)
}

// orderedGroup is a group whose fields are in an order of its own, and not by name.
type orderedGroup struct {
	parquet.Group
	names []string
}

// Fields returns the fields in their order.
func (g orderedGroup) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(g.names, a.Name()) - slices.Index(g.names, b.Name())
	})
	return fields
}
