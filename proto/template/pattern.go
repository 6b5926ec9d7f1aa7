package template

import (
	"errors"
	"fmt"
	"regexp"
)

// Groups of a ReportPattern that are no metrics.
const (
	EpochGroup      = "epoch"
	CheckpointGroup = "checkpoint"
)

// CompilePattern compiles the expression of a ReportPattern. It has a group named epoch, one or more named for metrics,
// and possibly one named checkpoint.
func CompilePattern(text string) (*regexp.Regexp, error) {
	expression, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	metrics := 0
	seen := map[string]bool{}
	for _, name := range expression.SubexpNames() {
		if name == "" {
			continue
		}
		if seen[name] {
			return nil, fmt.Errorf("two groups are named %q", name)
		}
		seen[name] = true
		if name != EpochGroup && name != CheckpointGroup {
			metrics++
		}
	}
	if !seen[EpochGroup] {
		return nil, errors.New(`it needs a group named epoch, such as (?P<epoch>\d+)`)
	}
	if metrics == 0 {
		return nil, errors.New(`it needs a group named for a metric, such as (?P<val_acc>\S+)`)
	}
	return expression, nil
}
