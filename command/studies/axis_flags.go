package studies

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// axisFlag adds values to an axis: numbers, or one of its texts, with commas between them.
type axisFlag struct {
	axis  *trellisv1.ModelAxis
	found func() *trellisv1.Axis
}

func (f axisFlag) String() string { return "" }

func (f axisFlag) Type() string { return "values" }

func (f axisFlag) Set(text string) error {
	axis := f.found()
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if f.axis.GetKind() == trellisv1.Kind_KIND_INTEGER {
			value, err := strconv.ParseUint(item, 10, 32)
			if err != nil {
				return errors.New("must be whole numbers separated by commas, such as 64,128")
			}
			axis.Add(trellisv1.IntegerValue(int64(value)))
			continue
		}
		if f.axis.GetKind() == trellisv1.Kind_KIND_TEXT {
			if !slices.Contains(f.axis.GetTexts(), item) {
				return fmt.Errorf("must be %s, separated by commas", strings.Join(f.axis.GetTexts(), ", "))
			}
			axis.Add(trellisv1.TextValue(item))
			continue
		}
		value, err := strconv.ParseFloat(item, 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			return errors.New("must be numbers separated by commas, such as 1e-3,3e-3")
		}
		axis.Add(trellisv1.NumberValue(value))
	}
	return nil
}

// axesFlag adds values to any axis: its name, an equals sign, and values with commas between them.
type axesFlag struct{ request *trellisv1.ExtendStudyRequest }

func (f axesFlag) String() string { return "" }

func (f axesFlag) Type() string { return "name=values" }

func (f axesFlag) Set(text string) error {
	name, values, ok := strings.Cut(text, "=")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return errors.New("must be an axis and its values, such as noise=0.2,0.4")
	}
	if name == grid.Seed || name == grid.Seeds {
		return errors.New("seeds are not an axis: use --seeds " + values)
	}
	axis := axisOf(f.request, name)
	for item := range strings.SplitSeq(values, ",") {
		value, err := valueOf(strings.TrimSpace(item))
		if err != nil {
			return err
		}
		axis.Add(value)
	}
	return nil
}

// axisOf returns a request's axis, to which values are added.
func axisOf(request *trellisv1.ExtendStudyRequest, name string) *trellisv1.Axis {
	if request.Axes == nil {
		request.Axes = make(map[string]*trellisv1.Axis)
	}
	if request.Axes[name] == nil {
		request.Axes[name] = new(trellisv1.Axis)
	}
	return request.Axes[name]
}

// valueOf reads a value as a spec does: a number, true, false or a text, which may stand in double quotes.
func valueOf(text string) (*trellisv1.Value, error) {
	if text == "" {
		return nil, errors.New("must be values separated by commas, such as 1e-3,3e-3")
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return trellisv1.IntegerValue(whole), nil
	}
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(number) || math.IsInf(number, 0) {
			return nil, errors.New("must be numbers, texts, true or false: " + text + " is none of these")
		}
		return trellisv1.NumberValue(number), nil
	}
	if text == "true" || text == "false" {
		return trellisv1.BooleanValue(text == "true"), nil
	}
	if quoted, err := strconv.Unquote(text); err == nil {
		text = quoted
	}
	return trellisv1.TextValue(text), nil
}

// budgetFlag raises a budget: its limits with commas between them, or none.
type budgetFlag struct{ request *trellisv1.ExtendStudyRequest }

func (f budgetFlag) String() string { return "" }

func (f budgetFlag) Type() string { return "limits" }

func (f budgetFlag) Set(text string) error {
	if strings.TrimSpace(text) == "none" {
		f.request.DropBudget = true
		return nil
	}
	budget := f.request.GetBudget()
	if budget == nil {
		budget = new(trellisv1.Budget)
	}
	for item := range strings.SplitSeq(text, ",") {
		name, limit, _ := strings.Cut(strings.TrimSpace(item), "=")
		number, err := strconv.ParseUint(strings.ReplaceAll(limit, "_", ""), 10, 64)
		span, notSpan := time.ParseDuration(limit)
		switch {
		case name == "trials" && err == nil && number > 0:
			budget.Trials = number
		case name == "epochs" && err == nil && number > 0:
			budget.Epochs = number
		case name == "time" && notSpan == nil && span > 0:
			budget.Time = durationpb.New(span)
		default:
			return errors.New("must be trials=1000, epochs=20000, time=12h, several of these, or none")
		}
	}
	f.request.Budget = budget
	return nil
}
