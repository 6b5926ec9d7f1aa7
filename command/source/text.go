package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Text is one YAML document, or the JSON within it, in the form in which all count its lines alike: UTF-8 without a byte
// order mark, and lines that end with a line feed.
type Text struct {
	// Path is what to call it.
	Path string
	// Data is the text, without the marks and breaks that it may have had.
	Data  []byte
	lines []string
}

// lineBreaks are what ends a line in an editor, and then what ends one in YAML 1.1 alone, in 1.2 no longer: in a comment or
// a string they are characters like others. Each becomes one character, so that columns stay what they are.
var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", " ", "\u2028", " ", "\u2029", " ")

// NewText takes what a file at path holds, in UTF-8 or, with a byte order mark, in UTF-16.
func NewText(path string, data []byte) *Text {
	// A mark is what Windows's tools write. What is broken after it stays broken, for Check to find.
	if decoded, _, err := transform.Bytes(unicode.BOMOverride(transform.Nop), data); err == nil {
		data = decoded
	}
	// YAML allows no tabs between tokens, JSON does. A valid JSON text has them nowhere else.
	if json.Valid(data) {
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	text := lineBreaks.Replace(string(data))
	return &Text{Path: path, Data: []byte(text), lines: strings.Split(text, "\n")}
}

// Error returns the error that names the problems, or nil if there are none.
func (t *Text) Error(problems ...Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &Error{text: t, problems: problems}
}

// Document returns the only document of the text, nil if it has none.
func (t *Text) Document() (*yaml.Node, error) {
	if problem, ok := t.unreadable(); ok {
		return nil, t.Error(problem)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(t.Data))
	var document, next yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, t.Error(t.syntaxProblem(err))
	}
	err = decoder.Decode(&next)
	switch {
	case errors.Is(err, io.EOF):
		return document.Content[0], nil
	case err != nil:
		return nil, t.Error(t.syntaxProblem(err))
	default:
		return nil, t.Error(Problem{Line: next.Line, Column: next.Column, Message: "a second document begins here: " +
			"only one is allowed"})
	}
}

// unreadable finds the first character that no YAML has. The parser would not say where it is.
func (t *Text) unreadable() (Problem, bool) {
	for i, line := range t.lines {
		column := 0
		for at, char := range line {
			column++
			_, size := utf8.DecodeRuneInString(line[at:])
			switch {
			case char == utf8.RuneError && size == 1:
				return Problem{i + 1, column, fmt.Sprintf("this is not valid YAML: byte 0x%02x is not UTF-8", line[at])}, true
			case char < ' ' && char != '\t', char == 0x7f, 0x80 <= char && char < 0xa0, char == 0xfffe, char == 0xffff:
				return Problem{i + 1, column, fmt.Sprintf("this is not valid YAML: control character %U", char)}, true
			}
		}
	}
	return Problem{}, false
}

// parserErrors are how the texts of those errors begin whose line go.yaml.in/yaml/v3 counts from 0. It counts that of
// all others from 1.
var parserErrors = []string{
	"did not find expected ',' or", "did not find expected key", "did not find expected node content",
	"did not find expected '-' indicator", "did not find expected <",
}

// noToken, tabInScalar and tabInBlock are what the parser says of tabs, and of characters that begin nothing.
const (
	noToken     = "found character that cannot start any token"
	tabInScalar = "found a tab character that violates indentation"
	tabInBlock  = "found a tab character where an indentation space is expected"
)

// syntaxProblem is what the YAML parser says, in our form. It knows a line at best, and tells it in its text only.
func (t *Text) syntaxProblem(err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	// It leaves out the first line.
	line := 1
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
		for _, start := range parserErrors {
			if strings.HasPrefix(text, start) {
				line++
			}
		}
	}
	line = min(line, len(t.lines))
	// At the end of the text, what is unfinished is shown.
	for line > 1 && strings.TrimSpace(t.lines[line-1]) == "" {
		line--
	}
	switch text {
	case noToken, tabInScalar, tabInBlock:
		if problem, ok := t.tabFrom(line, text != noToken); ok {
			return problem
		}
	}
	if text == noToken {
		text = "a value that begins with %, @ or ` needs quotes"
	}
	return Problem{Line: line, Message: "this is not valid YAML: " + text}
}

// tabFrom finds the tab that the parser stumbled over: in the line that it names, or if it names the one in which the value
// begins, in one after that.
func (t *Text) tabFrom(line int, further bool) (Problem, bool) {
	for i := line - 1; i < len(t.lines) && (i == line-1 || further); i++ {
		indentation := t.lines[i][:len(t.lines[i])-len(strings.TrimLeft(t.lines[i], " \t"))]
		if at := strings.IndexByte(indentation, '\t'); at >= 0 {
			return Problem{i + 1, at + 1, fmt.Sprintf("line %d is indented with a tab: YAML requires spaces", i+1)}, true
		}
	}
	if at := strings.IndexByte(t.lines[line-1], '\t'); at >= 0 && !strings.ContainsAny(t.lines[line-1], "%@`") {
		column := utf8.RuneCountInString(t.lines[line-1][:at]) + 1
		return Problem{line, column, fmt.Sprintf("line %d has a tab here: YAML requires spaces", line)}, true
	}
	return Problem{}, false
}
