package command

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// outputFormat is the form in which a command writes its results.
type outputFormat string

const (
	formatTable outputFormat = "table"
	formatJSON  outputFormat = "json"
	formatYAML  outputFormat = "yaml"
	formatCSV   outputFormat = "csv"
)

var formatNames = []string{string(formatTable), string(formatJSON), string(formatYAML), string(formatCSV)}

// String and Set make outputFormat a flag.
func (f *outputFormat) String() string { return string(*f) }

func (f *outputFormat) Set(name string) error {
	for _, known := range formatNames {
		if name == known {
			*f = outputFormat(name)
			return nil
		}
	}
	return fmt.Errorf("there are %s", enumerate(formatNames))
}

// Type is what the help text calls the flag's value.
func (f *outputFormat) Type() string { return "format" }

// outputFlag adds --output.
func outputFlag(cmd *cobra.Command) *outputFormat {
	format := formatTable
	cmd.Flags().VarP(&format, "output", "o", "form of the results: table, json, yaml or csv")
	completeWith(cmd, "output", formatNames...)
	return &format
}

// column is one column of a list: how an item of it is written.
type column[T any] struct {
	// name is the CSV's header, as the field is called in the API.
	name string
	// plain writes the item's value in full.
	plain func(T) string
	// short writes it for people. A column without it is in the CSV only.
	short func(T) string
}

// both is a column that programs and people read alike.
func both[T any](name string, write func(T) string) column[T] { return column[T]{name, write, write} }

// listWriter writes a list of messages, one after the other, in one of the formats. JSON and YAML are one document with
// the list under a key, like the API's response.
type listWriter[T proto.Message] struct {
	out     io.Writer
	format  outputFormat
	key     string
	columns []column[T]

	items int
	csv   *csv.Writer
	table table.Writer
}

func newListWriter[T proto.Message](
	out io.Writer, format outputFormat, key string, columns []column[T],
) *listWriter[T] {
	w := &listWriter[T]{out: out, format: format, key: key, columns: columns}
	switch format {
	case formatCSV:
		w.csv = csv.NewWriter(out)
	case formatTable:
		w.table = newTable()
		var header table.Row
		for _, column := range columns {
			if column.short != nil {
				header = append(header, strings.ReplaceAll(column.name, "_", " "))
			}
		}
		w.table.AppendHeader(header)
	}
	return w
}

// Add writes one item.
func (w *listWriter[T]) Add(item T) error {
	defer func() { w.items++ }()
	switch w.format {
	case formatJSON:
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
	case formatYAML:
		if w.items == 0 {
			if _, err := fmt.Fprintf(w.out, "%s:\n", w.key); err != nil {
				return err
			}
		}
		node, err := yamlNode(item)
		if err != nil {
			return err
		}
		data, err := encodeYAML(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{node}})
		if err != nil {
			return err
		}
		_, err = w.out.Write(data)
		return err
	case formatCSV:
		if w.items == 0 {
			if err := w.writeCSVHeader(); err != nil {
				return err
			}
		}
		row := make([]string, len(w.columns))
		for i, column := range w.columns {
			row[i] = column.plain(item)
		}
		return w.csv.Write(row)
	default:
		var row table.Row
		for _, column := range w.columns {
			if column.short != nil {
				row = append(row, column.short(item))
			}
		}
		w.table.AppendRow(row)
		return nil
	}
}

func (w *listWriter[T]) writeCSVHeader() error {
	header := make([]string, len(w.columns))
	for i, column := range w.columns {
		header[i] = column.name
	}
	return w.csv.Write(header)
}

// flush writes what a CSV has held back.
func (w *listWriter[T]) flush() error {
	if w.csv == nil {
		return nil
	}
	w.csv.Flush()
	return w.csv.Error()
}

// Close ends the document. A table of nothing is the sentence empty instead.
func (w *listWriter[T]) Close(empty string) error {
	var err error
	switch w.format {
	case formatJSON:
		end := "\n  ]\n}\n"
		if w.items == 0 {
			end = fmt.Sprintf("{\n  %q: []\n}\n", w.key)
		}
		_, err = io.WriteString(w.out, end)
	case formatYAML:
		if w.items == 0 {
			_, err = fmt.Fprintf(w.out, "%s: []\n", w.key)
		}
	case formatCSV:
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
			_, err = fmt.Fprintln(w.out, w.table.Render())
		}
	}
	return err
}

// newTable returns a table without lines, for people and for grep.
func newTable() table.Writer {
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

// writeMessage writes one message as a JSON or YAML document.
func writeMessage(out io.Writer, format outputFormat, message proto.Message) error {
	var data []byte
	var err error
	if format == formatYAML {
		data, err = marshalYAML(message)
	} else {
		data, err = marshalJSON(message, "")
		data = append(data, '\n')
	}
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// writeOne writes one message by itself: in CSV as a row under its header, in a table likewise.
func writeOne[T proto.Message](out io.Writer, format outputFormat, item T, columns []column[T]) error {
	if format == formatJSON || format == formatYAML {
		return writeMessage(out, format, item)
	}
	list := newListWriter(out, format, "", columns)
	if err := list.Add(item); err != nil {
		return err
	}
	return list.Close("")
}

// messageJSON is how messages become JSON: with the names of the spec, and with zeros, which are values here.
var messageJSON = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// marshalJSON writes a message over several lines, each after the first with prefix before it. The same message gives
// the same bytes, which protojson alone does not promise.
func marshalJSON(message proto.Message, prefix string) ([]byte, error) {
	data, err := messageJSON.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", message.ProtoReflect().Descriptor().Name(), err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, prefix, "  "); err != nil {
		return nil, fmt.Errorf("indent JSON: %w", err)
	}
	return indented.Bytes(), nil
}

// marshalYAML writes a message with the keys and values of its JSON.
func marshalYAML(message proto.Message) ([]byte, error) {
	node, err := yamlNode(message)
	if err != nil {
		return nil, err
	}
	return encodeYAML(node)
}

// yamlNode returns a message's JSON, which is YAML too, in YAML's own style.
func yamlNode(message proto.Message) (*yaml.Node, error) {
	data, err := messageJSON.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", message.ProtoReflect().Descriptor().Name(), err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("turn JSON into YAML: %w", err)
	}
	blockStyle(document.Content[0])
	return document.Content[0], nil
}

// blockStyle writes mappings over several lines and lists of plain values in one.
func blockStyle(node *yaml.Node) {
	switch node.Kind {
	case yaml.ScalarNode:
		node.Style = 0
	case yaml.MappingNode:
		node.Style = 0
	case yaml.SequenceNode:
		node.Style = yaml.FlowStyle
		if len(node.Content) > 0 && node.Content[0].Kind != yaml.ScalarNode {
			node.Style = 0
		}
	}
	for _, child := range node.Content {
		blockStyle(child)
	}
}

func encodeYAML(document any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), encoder.Close()
}

// plainNumber writes a number in full: reading it gives the same bits.
func plainNumber(value float64) string {
	return strconv.FormatFloat(value, 'g', -1, 64)
}

// shortNumber writes a number with four digits.
func shortNumber(value float64) string {
	return strconv.FormatFloat(value, 'g', 4, 64)
}

// shortLoss writes a loss with six decimals, as they are compared by eye.
func shortLoss(value float64) string {
	if math.IsNaN(value) || math.IsInf(value, 0) || value != 0 && math.Abs(value) < 1e-4 || math.Abs(value) >= 1e4 {
		return shortNumber(value)
	}
	return strconv.FormatFloat(value, 'f', 6, 64)
}

// largest names the things with the largest numbers, the largest first: at most three, and how many more there are.
func largest(numbers map[string]uint64) string {
	const named = 3
	names := slices.SortedFunc(maps.Keys(numbers), func(a, b string) int {
		if c := cmp.Compare(numbers[b], numbers[a]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	if more := len(names) - named; more > 0 {
		names = append(names[:named], fmt.Sprintf("%d more", more))
	}
	return enumerate(names)
}
