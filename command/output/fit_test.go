package output

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
)

// wideTable is a table of 100 columns and more.
func wideTable() []*column {
	return []*column{
		{name: "rank", cells: []string{"1", "2"}},
		{name: "learning rate", cells: []string{"0.001", "0.01"}, yield: Yield{Same: true}},
		{name: "batch size", cells: []string{"256", "256"}, yield: Yield{Same: true}},
		{name: "nothing", cells: []string{"", ""}},
		{
			name: "summary", cells: []string{"one that is described at some length, so that it takes more than a line", "two\nlines"},
			yield: Yield{Wrap: true},
		},
		{name: "loss", cells: []string{"mean squared error", "cross-entropy"}, yield: Yield{Wrap: true, Spare: 2}},
		{name: "test loss", cells: []string{"0.123", "0.234"}, yield: Yield{Spare: 1}},
	}
}

// However narrow the terminal, the mildest way is taken that will do.
func TestTablesFitTheTerminal(t *testing.T) {
	for _, test := range []struct {
		width         int
		has, lacks    []string
		mayBeTooSmall bool
	}{
		{width: 0, has: []string{"LEARNING RATE", "BATCH SIZE", "more than a line", "TEST LOSS"}, lacks: []string{"All:", "NOTHING"}},
		{width: 150, has: []string{"LEARNING RATE", "BATCH SIZE", "more than a line"}, lacks: []string{"All:"}},
		{width: 126, has: []string{"LEARNING  ", "256", "more than a line", "TEST"}, lacks: []string{"All:", "LEARNING RATE"}},
		{width: 119, has: []string{"more than a line", "All: batch size 256\n"}, lacks: []string{"Not shown"}},
		{width: 80, has: []string{"All: batch size 256\n", "mean squared error", "TEST"}, lacks: []string{"length, so that", "Not shown", "two lines"}},
		{width: 60, has: []string{"Not shown here: loss. All columns: -o csv", "TEST"}, lacks: []string{"mean squared"}},
		{width: 40, has: []string{"Not shown here: loss, test loss. All columns: -o csv"}, mayBeTooSmall: true},
		{width: 10, has: []string{"RANK", "LEARNING"}, mayBeTooSmall: true},
	} {
		shown := fit(wideTable(), test.width).render() + "\n"
		for _, want := range test.has {
			if !strings.Contains(shown, want) {
				t.Errorf("at %d columns, no %q in\n%s", test.width, want, shown)
			}
		}
		for _, unwanted := range test.lacks {
			if strings.Contains(shown, unwanted) {
				t.Errorf("at %d columns, %q in\n%s", test.width, unwanted, shown)
			}
		}
		table, _, _ := strings.Cut(shown, "\nNot shown")
		if widest := text.LongestLineLen(table); test.width > 0 && widest > test.width && !test.mayBeTooSmall {
			t.Errorf("at %d columns, %d wide:\n%s", test.width, widest, shown)
		}
	}
}
