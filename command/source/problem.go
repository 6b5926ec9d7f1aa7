package source

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"trellis/command/exit"
	"trellis/command/output"
)

// Problem is one thing that is wrong with a text.
type Problem struct {
	// Line and Column count from 1: lines as editors do, columns in characters. 0 is unknown.
	Line, Column int
	Message      string
}

// Error is everything that is wrong with a text.
type Error struct {
	text     *Text
	problems []Problem
}

// Problems are what the error names, in the order of the text's lines.
func (e *Error) Problems() []Problem {
	sorted := slices.Clone(e.problems)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return sorted
}

// Unwrap says that whoever wrote the text is to change it.
func (e *Error) Unwrap() error { return exit.ErrUsage }

// shownProblems is how many problems are listed.
const shownProblems = 20

// Error says for each problem where it is, what is wrong and what would be right, and quotes the line.
func (e *Error) Error() string {
	var text strings.Builder
	for i, problem := range e.Problems() {
		if i > 0 {
			text.WriteByte('\n')
		}
		if i == shownProblems {
			fmt.Fprintf(&text, "%s: and %s more", e.text.Path, output.Count(uint64(len(e.problems)-i), "problem"))
			break
		}
		text.WriteString(e.text.Path)
		for _, position := range []int{problem.Line, problem.Column} {
			if position > 0 {
				fmt.Fprintf(&text, ":%d", position)
			}
		}
		fmt.Fprintf(&text, ": %s", problem.Message)
		e.quote(&text, problem)
	}
	return text.String()
}

// quoteWidth is how much of a long line is quoted, in characters.
const quoteWidth = 100

// quote writes the problem's line with a mark under its column.
func (e *Error) quote(text *strings.Builder, problem Problem) {
	if problem.Line < 1 || problem.Line > len(e.text.lines) {
		return
	}
	line := []rune(strings.TrimRight(e.text.lines[problem.Line-1], "\r\n "))
	if len(line) == 0 {
		return
	}
	at := max(problem.Column-1, 0)
	start := 0
	if len(line) > quoteWidth && at > quoteWidth*3/4 {
		start = min(at-quoteWidth/2, len(line))
	}
	line = line[start:min(start+quoteWidth, len(line))]
	fmt.Fprintf(text, "\n%5d | %s", problem.Line, strings.ReplaceAll(string(line), "\t", " "))
	if problem.Column > 0 {
		fmt.Fprintf(text, "\n      | %s^", strings.Repeat(" ", at-start))
	}
}
