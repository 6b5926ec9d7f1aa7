package output

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/proto"
)

// Feed writes messages as they come, in one of the formats. JSON is one object per line. A table's columns are as wide as
// their widest cells so far.
type Feed[T proto.Message] struct {
	list   *List[T]
	widths []int
}

// NewFeed returns a feed with these columns. key is what YAML has the messages under.
func NewFeed[T proto.Message](out io.Writer, format Format, key string, columns []Column[T]) *Feed[T] {
	return &Feed[T]{list: NewList(out, format, key, columns)}
}

// Add writes messages that have come together.
func (f *Feed[T]) Add(messages ...T) error {
	if len(messages) == 0 {
		return nil
	}
	switch f.list.format {
	case JSON:
		for _, message := range messages {
			if err := WriteLine(f.list.out, message); err != nil {
				return err
			}
		}
		return nil
	case Table:
		return f.addRows(messages)
	default:
		for _, message := range messages {
			if err := f.list.Add(message); err != nil {
				return err
			}
		}
		return f.list.Flush()
	}
}

// addRows writes rows of a table, and the headings above the first.
func (f *Feed[T]) addRows(messages []T) error {
	var rows [][]string
	if f.widths == nil {
		f.widths = make([]int, len(f.list.table))
		var headings []string
		for _, column := range f.list.table {
			headings = append(headings, strings.ToUpper(column.name))
		}
		rows = append(rows, headings)
	}
	for _, message := range messages {
		var cells []string
		for _, column := range f.list.columns {
			if column.Short != nil {
				cells = append(cells, column.Short(message))
			}
		}
		rows = append(rows, cells)
	}
	for _, cells := range rows {
		for i, cell := range cells {
			f.widths[i] = max(f.widths[i], text.StringWidthWithoutEscSequences(cell))
		}
	}
	var written strings.Builder
	for _, cells := range rows {
		for i, cell := range cells {
			cells[i] = text.Pad(cell, f.widths[i]+gap, ' ')
		}
		fmt.Fprintln(&written, strings.TrimRight(strings.Join(cells, ""), " "))
	}
	_, err := io.WriteString(f.list.out, written.String())
	return err
}
