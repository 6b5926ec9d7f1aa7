package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"trellis/proto/template"
)

// line is what one line reports.
type line struct {
	epoch   int
	metrics map[string]float64
	// checkpoint is a folder, "" if none is named.
	checkpoint string
}

// maxEpoch is the largest epoch that can be told from a mistake.
const maxEpoch = math.MaxInt32

// example is what a report should look like.
const example = `{"epoch": 3, "val_acc": 0.91}`

// parseLine reads a report: a flat JSON object. encoding/json alone can't, because Python writes NaN and Infinity as
// they are.
func parseLine(text []byte) (line, error) {
	l := line{metrics: map[string]float64{}}
	fields, err := parseObject(text)
	if err != nil {
		return l, err
	}
	seen := map[string]bool{}
	for _, field := range fields {
		if seen[field.name] {
			return l, fmt.Errorf("%q occurs twice", field.name)
		}
		seen[field.name] = true
		switch field.name {
		case "epoch":
			if l.epoch, err = parseEpoch(string(field.value)); err != nil {
				return l, err
			}
		case "checkpoint":
			if l.checkpoint, err = parseFolder(field.value); err != nil {
				return l, err
			}
		default:
			if string(field.value) == "null" {
				continue
			}
			value, err := parseMetric(field.name, string(field.value))
			if err != nil {
				return l, err
			}
			l.metrics[field.name] = value
		}
	}
	if !seen["epoch"] {
		return l, errors.New(`it has no "epoch"`)
	}
	return l, l.check()
}

func (l *line) check() error {
	if len(l.metrics) > MaxMetrics {
		return fmt.Errorf("it has %d metrics; at most %d can be reported", len(l.metrics), MaxMetrics)
	}
	for name := range l.metrics {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

// checkName says whether a metric can have a name.
func checkName(name string) error {
	if !template.Metric.MatchString(name) {
		return fmt.Errorf("the name of metric %.70q must have at most 63 letters, digits and characters of _ . / -, and begin "+
			"with a letter or _", name)
	}
	return nil
}

// field is a member of an object. Its value is the text of a string, a number or a bare word.
type field struct {
	name  string
	value []byte
}

func parseObject(text []byte) ([]field, error) {
	wrong := fmt.Errorf("it is not a JSON object such as %s", example)
	rest := bytes.TrimSpace(text)
	if len(rest) < 2 || rest[0] != '{' || rest[len(rest)-1] != '}' {
		return nil, wrong
	}
	rest = bytes.TrimSpace(rest[1 : len(rest)-1])
	var fields []field
	for len(rest) > 0 {
		name, after, ok := cutString(rest)
		if !ok {
			return nil, wrong
		}
		after = bytes.TrimSpace(after)
		if len(after) == 0 || after[0] != ':' {
			return nil, wrong
		}
		after = bytes.TrimSpace(after[1:])
		f := field{}
		if json.Unmarshal(name, &f.name) != nil {
			return nil, wrong
		}
		switch {
		case len(after) == 0:
			return nil, wrong
		case after[0] == '[' || after[0] == '{':
			return nil, fmt.Errorf("%q is not a number", f.name)
		case after[0] == '"':
			if f.value, rest, ok = cutString(after); !ok {
				return nil, wrong
			}
		default:
			end := bytes.IndexAny(after, ", \t\r")
			if end < 0 {
				end = len(after)
			}
			f.value, rest = after[:end], after[end:]
		}
		fields = append(fields, f)
		if rest = bytes.TrimSpace(rest); len(rest) == 0 {
			break
		}
		if rest[0] != ',' {
			return nil, wrong
		}
		if rest = bytes.TrimSpace(rest[1:]); len(rest) == 0 {
			return nil, wrong
		}
	}
	return fields, nil
}

// cutString returns the JSON string, with its quotes, at the beginning of a text.
func cutString(text []byte) (literal, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[:i+1], text[i+1:], true
		}
	}
	return nil, nil, false
}

func parseEpoch(text string) (int, error) {
	var number float64
	// 3.0 is what some languages write for 3.
	if text == "null" || json.Unmarshal([]byte(text), &number) != nil || number != math.Trunc(number) || number < 0 ||
		number > maxEpoch {
		return 0, fmt.Errorf("epoch %.40s is not a whole number", text)
	}
	return int(number), nil
}

func parseFolder(text []byte) (string, error) {
	var folder string
	if string(text) == "null" {
		return "", nil
	}
	if json.Unmarshal(text, &folder) != nil || folder == "" || strings.ContainsRune(folder, 0) {
		return "", fmt.Errorf("checkpoint %.100s is not the name of a folder", text)
	}
	return folder, nil
}

// nonFinite are the spellings of numbers that JSON lacks: Python's, JavaScript's and Go's.
var nonFinite = map[string]float64{
	"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1), "+Infinity": math.Inf(1),
	"nan": math.NaN(), "inf": math.Inf(1), "-inf": math.Inf(-1), "Inf": math.Inf(1), "+Inf": math.Inf(1),
	"-Inf": math.Inf(-1),
}

func parseMetric(name, text string) (float64, error) {
	var number float64
	if json.Unmarshal([]byte(text), &number) == nil {
		return number, nil
	}
	if number, ok := nonFinite[strings.Trim(text, `"`)]; ok {
		return number, nil
	}
	return 0, fmt.Errorf("%s is %.100s, which is not a number", name, text)
}

// matchLine returns what a line of output reports, false if the pattern of template.CompilePattern does not match it.
func matchLine(pattern *regexp.Regexp, text []byte) (line, bool, error) {
	groups := pattern.FindSubmatch(text)
	if groups == nil {
		return line{}, false, nil
	}
	l := line{metrics: map[string]float64{}}
	for i, name := range pattern.SubexpNames() {
		value := string(groups[i])
		if name == "" || groups[i] == nil {
			continue
		}
		var err error
		switch name {
		case template.EpochGroup:
			l.epoch, err = strconv.Atoi(value)
			if err != nil || l.epoch < 0 || l.epoch > maxEpoch {
				return l, true, fmt.Errorf("epoch %.40q is not a whole number", value)
			}
		case template.CheckpointGroup:
			l.checkpoint = value
		default:
			number, err := strconv.ParseFloat(value, 64)
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return l, true, fmt.Errorf("%s is %.100q, which is not a number", name, value)
			}
			l.metrics[name] = number
		}
	}
	return l, true, l.check()
}
