package template

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// Groups of a ReportPattern that are no metrics.
const (
	EpochGroup      = "epoch"
	CheckpointGroup = "checkpoint"
)

// patternExample is a pattern of a progress line that many programs print.
const patternExample = `for example, epoch (?P<epoch>\d+) .* val_acc=(?P<val_acc>\S+)`

// CompilePattern compiles the expression of a ReportPattern. It has a group named epoch, one or more named for metrics,
// and possibly one named checkpoint.
func CompilePattern(text string) (*regexp.Regexp, error) {
	expression, err := regexp.Compile(text)
	if wrong, ok := errors.AsType[*syntax.Error](err); ok {
		return nil, fmt.Errorf("not a regular expression: %s: %s", wrong.Code, wrong.Expr)
	}
	if err != nil {
		return nil, fmt.Errorf("not a regular expression: %w", err)
	}
	metrics, seen := 0, map[string]bool{}
	for _, name := range expression.SubexpNames() {
		switch {
		case name == "":
			continue
		case seen[name]:
			return nil, fmt.Errorf("two groups are named %s: a line can report it once", name)
		case name == EpochGroup || name == CheckpointGroup:
		case !Metric.MatchString(name):
			return nil, fmt.Errorf("the group %s can't be a metric: its name must have at most 63 letters, digits and "+
				"underscores, and no digit first", name)
		default:
			metrics++
		}
		seen[name] = true
	}
	switch {
	case !seen[EpochGroup]:
		return nil, errors.New("no group is named epoch: " + patternExample)
	case metrics == 0:
		return nil, errors.New("no group is named for a metric: " + patternExample)
	}
	return expression, nil
}
