package output

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

// Column is one column of a list: how an item of it is written.
type Column[T any] struct {
	// Name is the CSV's header, as the field is called in the API.
	Name string
	// Plain writes the item's value in full.
	Plain func(T) string
	// Short writes it for people. A column without it is in the CSV only.
	Short func(T) string
	// Yield says how a table gives way on a narrow terminal. By default, the column stays as it is.
	Yield Yield
}

// Both is a column that programs and people read alike.
func Both[T any](name string, write func(T) string) Column[T] {
	return Column[T]{Name: name, Plain: write, Short: write}
}

// Yielding is the column with a way to give way.
func (c Column[T]) Yielding(yield Yield) Column[T] {
	c.Yield = yield
	return c
}

// List writes a list of messages, one after the other, in one of the formats. JSON and YAML are one document with
// the list under a key, like the API's response.
type List[T proto.Message] struct {
	out     io.Writer
	format  Format
	key     string
	columns []Column[T]

	items int
	csv   *csv.Writer
	table []*column
}

// NewList returns a list with these columns. key is what JSON and YAML have it under.
func NewList[T proto.Message](
	out io.Writer, format Format, key string, columns []Column[T],
) *List[T] {
	w := &List[T]{out: out, format: format, key: key, columns: columns}
	switch format {
	case CSV:
		w.csv = csv.NewWriter(out)
	case Table:
		for _, c := range columns {
			if c.Short != nil {
				w.table = append(w.table, &column{name: strings.ReplaceAll(c.Name, "_", " "), yield: c.Yield})
			}
		}
	}
	return w
}

// Add writes one item.
func (w *List[T]) Add(item T) error {
	defer func() { w.items++ }()
	switch w.format {
	case JSON:
		start := ",\n    "
		if w.items == 0 {
			start = fmt.Sprintf("{\n  %q: [\n    ", w.key)
		}
		data, err := marshalJSON(item, "    ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w.out, "%s%s", start, data)
		return err
	case YAML:
		if w.items == 0 {
			if _, err := fmt.Fprintf(w.out, "%s:\n", w.key); err != nil {
				return err
			}
		}
		node, err := yamlNode(item)
		if err != nil {
			return err
		}
		data, err := EncodeYAML(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{node}})
		if err != nil {
			return err
		}
		_, err = w.out.Write(data)
		return err
	case CSV:
		if w.items == 0 {
			if err := w.writeCSVHeader(); err != nil {
				return err
			}
		}
		row := make([]string, len(w.columns))
		for i, column := range w.columns {
			row[i] = column.Plain(item)
		}
		return w.csv.Write(row)
	default:
		place := 0
		for _, c := range w.columns {
			if c.Short != nil {
				w.table[place].cells = append(w.table[place].cells, c.Short(item))
				place++
			}
		}
		return nil
	}
}

func (w *List[T]) writeCSVHeader() error {
	header := make([]string, len(w.columns))
	for i, column := range w.columns {
		header[i] = column.Name
	}
	return w.csv.Write(header)
}

// Flush writes what a CSV has held back.
func (w *List[T]) Flush() error {
	if w.csv == nil {
		return nil
	}
	w.csv.Flush()
	return w.csv.Error()
}

// Close ends the document. A table of nothing is the sentence empty instead.
func (w *List[T]) Close(empty string) error {
	var err error
	switch w.format {
	case JSON:
		end := "\n  ]\n}\n"
		if w.items == 0 {
			end = fmt.Sprintf("{\n  %q: []\n}\n", w.key)
		}
		_, err = io.WriteString(w.out, end)
	case YAML:
		if w.items == 0 {
			_, err = fmt.Fprintf(w.out, "%s: []\n", w.key)
		}
	case CSV:
		if w.items == 0 {
			err = w.writeCSVHeader()
		}
		w.csv.Flush()
		if err == nil {
			err = w.csv.Error()
		}
	default:
		if w.items == 0 {
			_, err = fmt.Fprintln(w.out, empty)
		} else {
			_, err = fmt.Fprintln(w.out, fit(w.table, terminalWidth(w.out)).render())
		}
	}
	return err
}

// NewTable returns a table without lines, for people and for grep.
func NewTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.SuppressEmptyColumns()
	return t
}
