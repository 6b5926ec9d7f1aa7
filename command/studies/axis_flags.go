package studies

import (
	"errors"
	"math"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// axisFlag adds values to a common axis of a request: numbers with commas between them.
type axisFlag struct {
	axis    *grid.CommonAxis
	request *trellisv1.ExtendStudyRequest
}

func (f axisFlag) String() string { return "" }

func (f axisFlag) Type() string { return "values" }

func (f axisFlag) Set(text string) error {
	switch its := f.axis.Of(f.request).(type) {
	case *trellisv1.IntegerAxis:
		values := its.GetValues()
		for item := range strings.SplitSeq(text, ",") {
			value, err := strconv.ParseUint(strings.TrimSpace(item), 10, 32)
			if err != nil {
				return errors.New("must be whole numbers separated by commas, such as 64,128")
			}
			values = append(values, uint32(value))
		}
		f.axis.Put(f.request, &trellisv1.IntegerAxis{Values: values})
	case *trellisv1.NumberAxis:
		more := &trellisv1.NumberAxis{Values: its.GetValues()}
		if err := addNumbers(more, text); err != nil {
			return err
		}
		f.axis.Put(f.request, more)
	}
	return nil
}

// axesFlag adds values to a model's own axes: an axis's name, an equals sign, and numbers with commas between them.
type axesFlag struct {
	axes *map[string]*trellisv1.NumberAxis
}

func (f axesFlag) String() string { return "" }

func (f axesFlag) Type() string { return "name=values" }

func (f axesFlag) Set(text string) error {
	name, values, ok := strings.Cut(text, "=")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return errors.New("must be an axis and its values, such as noise=0.2,0.4")
	}
	if *f.axes == nil {
		*f.axes = make(map[string]*trellisv1.NumberAxis)
	}
	if (*f.axes)[name] == nil {
		(*f.axes)[name] = new(trellisv1.NumberAxis)
	}
	return addNumbers((*f.axes)[name], values)
}

// addNumbers adds numbers with commas between them to an axis.
func addNumbers(axis *trellisv1.NumberAxis, text string) error {
	for item := range strings.SplitSeq(text, ",") {
		value, err := strconv.ParseFloat(strings.TrimSpace(item), 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			return errors.New("must be numbers separated by commas, such as 1e-3,3e-3")
		}
		axis.Values = append(axis.Values, value)
	}
	return nil
}
