package output

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Yield is how a column gives way where a table is wider than the terminal. Tables that go elsewhere, and the other
// formats, stay whole.
type Yield struct {
	// Same leaves the column out, and names its value beneath, if all items have the same.
	Same bool
	// Wrap breaks the column's texts at spaces.
	Wrap bool
	// Spare leaves the column out if nothing else helps, where it is above 0: the highest first.
	Spare int
}

// narrowest is how far texts are wrapped, in characters, before columns are left out; gap is what separates columns.
const (
	narrowest = 24
	gap       = 2
)

// column is a column of a table with all its cells.
type column struct {
	name  string
	yield Yield
	cells []string
	// wrapped is the width that its cells are wrapped at, 0 if they aren't.
	wrapped int
	// longest is the width of the widest line of its cells, as they are, once it is known.
	longest int
}

// isEmpty says that the table has nothing to show of the column.
func (c *column) isEmpty() bool {
	return !slices.ContainsFunc(c.cells, func(s string) bool { return s != "" })
}

// isSame says that all items have the column's value: two at least.
func (c *column) isSame() bool {
	return len(c.cells) > 1 && len(slices.Compact(slices.Clone(c.cells))) == 1
}

// width is the column's on the screen, with its heading on one line or, folded, on several.
func (c *column) width(folded bool) int {
	heading := c.name
	if folded {
		heading = foldedHeading(heading)
	}
	if c.longest == 0 {
		for _, cell := range c.cells {
			c.longest = max(c.longest, text.LongestLineLen(cell))
		}
	}
	widest := c.longest
	if c.wrapped > 0 {
		widest = min(widest, c.wrapped)
	}
	return max(widest, text.LongestLineLen(heading))
}

func foldedHeading(name string) string { return strings.ReplaceAll(name, " ", "\n") }

// layout is how a table is shown: its columns, which may be fewer than there are, and what is said beneath.
type layout struct {
	columns []*column
	folded  bool
	same    []string
	left    []string
}

func (l *layout) width() int {
	total := 0
	for _, c := range l.columns {
		total += gap + c.width(l.folded)
	}
	return max(total-gap, 0)
}

// fit makes a table narrower, as far as its columns yield, until it fits the width. It takes the mildest way that will do:
// headings on several lines, values that are all the same beneath, texts on several lines, columns left out.
func fit(columns []*column, width int) *layout {
	l := &layout{columns: slices.DeleteFunc(columns, (*column).isEmpty)}
	if width <= 0 || l.width() <= width {
		return l
	}
	l.folded = true
	for _, c := range slices.Clone(l.columns) {
		if l.width() > width && c.yield.Same && c.isSame() {
			l.same = append(l.same, c.name+" "+c.cells[0])
			l.remove(c)
		}
	}
	for l.wrap(width); l.width() > width; l.wrap(width) {
		spare := slices.MaxFunc(l.columns, func(a, b *column) int { return a.yield.Spare - b.yield.Spare })
		if spare.yield.Spare == 0 {
			break
		}
		l.left = append(l.left, spare.name)
		l.remove(spare)
	}
	return l
}

func (l *layout) remove(gone *column) {
	l.columns = slices.DeleteFunc(l.columns, func(c *column) bool { return c == gone })
}

// wrap wraps the widest texts, as little as will do and no further than is readable.
func (l *layout) wrap(width int) {
	for _, c := range l.columns {
		c.wrapped = 0
	}
	for l.width() > width {
		var widest *column
		for _, c := range l.columns {
			w := c.width(true)
			if c.yield.Wrap && w > narrowest && (c.wrapped == 0 || c.wrapped > narrowest) &&
				(widest == nil || w > widest.width(true)) {
				widest = c
			}
		}
		if widest == nil {
			return
		}
		next := widest.width(true) - 1
		if widest.wrapped > 0 {
			next = min(next, widest.wrapped-1)
		}
		widest.wrapped = max(next, narrowest)
	}
}

// render draws the table, and says beneath it what it leaves out.
func (l *layout) render() string {
	t := NewTable()
	header, rows := table.Row{}, []table.Row{}
	for _, c := range l.columns {
		heading := c.name
		if l.folded {
			heading = foldedHeading(heading)
		}
		header = append(header, heading)
		for i, cell := range c.cells {
			if i == len(rows) {
				rows = append(rows, table.Row{})
			}
			if c.wrapped > 0 {
				cell = wrapLines(cell, c.wrapped)
			}
			rows[i] = append(rows[i], cell)
		}
	}
	t.AppendHeader(header)
	t.AppendRows(rows)
	shown := t.Render()
	if l.same != nil {
		shown += fmt.Sprintf("\nAll: %s", strings.Join(l.same, ", "))
	}
	if l.left != nil {
		shown += fmt.Sprintf("\nNot shown here: %s. All columns: -o csv", strings.Join(l.left, ", "))
	}
	return shown
}

// wrapLines wraps a text that may have lines already.
func wrapLines(cell string, width int) string {
	lines := strings.Split(cell, "\n")
	for i, line := range lines {
		lines[i] = text.WrapSoft(line, width)
	}
	return strings.Join(lines, "\n")
}
