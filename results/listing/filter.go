package listing

import (
	"errors"
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/condition"
)

// Filter says whether a trial meets a condition.
type Filter func(*trellisv1.Trial) (bool, error)

// NewFilter compiles a CEL expression over the fields. All trials meet the empty expression. It fails with ErrInvalid,
// and says where in the expression the mistake is.
func NewFilter(expression string, all []Field) (Filter, error) {
	filter, _, err := NewFilterOf(expression, all)
	return filter, err
}

// NewFilterOf is NewFilter, and says which of the fields the expression uses.
func NewFilterOf(expression string, all []Field) (filter Filter, uses []string, err error) {
	if condition.IsEmpty(expression) {
		return func(*trellisv1.Trial) (bool, error) { return true, nil }, nil, nil
	}
	its, err := languageOf(all).Compile(expression)
	if err == nil {
		err = checkStates(expression)
	}
	if err != nil {
		return nil, nil, refused(err)
	}
	return filterOf(its, all), its.Uses(), nil
}

// FormulaOf compiles a filter as NewFilter does, and takes it apart: see condition.Formula. The expression must not be
// empty.
func FormulaOf(expression string, all []Field) (*condition.Formula, Filter, error) {
	formula, whole, err := languageOf(all).Formula(expression)
	if err == nil {
		err = checkStates(expression)
	}
	if err != nil {
		return nil, nil, refused(err)
	}
	return formula, filterOf(whole, all), nil
}

// languageOf is that of filters over fields.
func languageOf(all []Field) condition.Language {
	language := condition.Language{
		Variables: make([]condition.Variable, len(all)), Noun: "field", Example: "objective < 0.02", Hint: hintState,
	}
	for i, field := range all {
		language.Variables[i] = condition.Variable{Name: field.Name, Type: field.celType}
	}
	return language
}

// refused is the error of a filter that can't be compiled.
func refused(err error) error {
	if wrong, ok := errors.AsType[*condition.Mistake](err); ok {
		return &FieldError{fieldFilter, fmt.Errorf("%w: %w", wrong, ErrInvalid)}
	}
	if errors.Is(err, ErrInvalid) {
		return err
	}
	return fmt.Errorf("filter: %w", err)
}

func filterOf(its *condition.Condition, all []Field) Filter {
	return func(trial *trellisv1.Trial) (bool, error) {
		met, _, err := its.Meets(fieldsOf{trial, all})
		if err != nil {
			return false, &FieldError{fieldFilter, fmt.Errorf("%w for trial %d: %w", err, trial.Index, ErrInvalid)}
		}
		return met, nil
	}
}

// hintState says how a filter names a state.
func hintState(name string) string {
	if !slices.Contains(trialStates(), name) {
		return ""
	}
	return fmt.Sprintf("a state is a text: use state == '%s'", name)
}

// ValuesOf gives a condition the fields of a trial that it asks for.
func ValuesOf(trial *trellisv1.Trial, all []Field) condition.Values { return fieldsOf{trial, all} }

// fieldsOf gives a filter the fields of a trial that it asks for.
type fieldsOf struct {
	trial  *trellisv1.Trial
	fields []Field
}

// Value implements condition.Values.
func (f fieldsOf) Value(name string) (any, bool) {
	for _, field := range f.fields {
		if field.Name == name {
			return field.value(f.trial), true
		}
	}
	return nil, false
}

var _ condition.Values = fieldsOf{}
