package studies

import (
	"errors"
	"math"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// integersFlag adds values to an axis: whole numbers with commas between them.
type integersFlag struct{ axis **trellisv1.IntegerAxis }

func (f integersFlag) String() string { return "" }

func (f integersFlag) Type() string { return "values" }

func (f integersFlag) Set(text string) error {
	if *f.axis == nil {
		*f.axis = new(trellisv1.IntegerAxis)
	}
	for item := range strings.SplitSeq(text, ",") {
		value, err := strconv.ParseUint(strings.TrimSpace(item), 10, 32)
		if err != nil {
			return errors.New("must be whole numbers separated by commas, such as 64,128")
		}
		(*f.axis).Values = append((*f.axis).Values, uint32(value))
	}
	return nil
}

// numbersFlag adds values to an axis: numbers with commas between them.
type numbersFlag struct{ axis **trellisv1.NumberAxis }

func (f numbersFlag) String() string { return "" }

func (f numbersFlag) Type() string { return "values" }

func (f numbersFlag) Set(text string) error {
	if *f.axis == nil {
		*f.axis = new(trellisv1.NumberAxis)
	}
	return addNumbers(*f.axis, text)
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
		return errors.New("must be the name of an axis and the values to add to it, such as noise=0.2,0.4")
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
