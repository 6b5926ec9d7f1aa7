package listing

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/spelling"
)

// What CEL's compiler says, as far as it is told to people in other words.
var (
	undeclared   = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	noOverload   = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(?:\w+\.)?\((.*)\)'$`)
	ofWhat       = regexp.MustCompile(`\([^()]*\)`)
	missingToken = regexp.MustCompile(`^Syntax error: missing '(.)'`)
)

// explain says what is wrong with a filter, by the compiler's first mistake, which often is what causes the others.
func explain(expression string, mistake *cel.Error, all []Field) string {
	rest := following(expression, mistake.Location.Line(), mistake.Location.Column())
	if match := undeclared.FindStringSubmatch(mistake.Message); match != nil {
		return explainName(expression, match[1], all)
	}
	if match := noOverload.FindStringSubmatch(mistake.Message); match != nil {
		return explainOperands(match[1], ofWhat.ReplaceAllString(match[2], ""))
	}
	if match := missingToken.FindStringSubmatch(mistake.Message); match != nil {
		return fmt.Sprintf("missing %q in %q", match[1], expression)
	}
	switch {
	case strings.HasPrefix(mistake.Message, "Syntax error") && strings.TrimSpace(rest) == "":
		return fmt.Sprintf("something is missing after %q", strings.TrimSpace(expression))
	case strings.HasPrefix(mistake.Message, "Syntax error"):
		return fmt.Sprintf("unexpected %q at column %d%s", strings.TrimSpace(rest), mistake.Location.Column()+1, instead(rest))
	case strings.HasPrefix(mistake.Message, "invalid int literal"), strings.HasPrefix(mistake.Message, "invalid double literal"):
		return fmt.Sprintf("the number at %q is out of range", rest)
	}
	return fmt.Sprintf("%q can't be used at column %d", rest, mistake.Location.Column()+1)
}

// following is what an expression has from a position on. Lines count from 1, columns from 0, in characters.
func following(expression string, line, column int) string {
	lines := strings.Split(expression, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	text := []rune(strings.Join(lines[line-1:], "\n"))
	return string(text[min(max(0, column), len(text)):])
}

// instead says what stands in a filter for what other languages have there.
func instead(rest string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	for theirs, ours := range map[string]string{"and": "&&", "AND": "&&", "or": "||", "OR": "||", "=": "==", "<>": "!="} {
		if word == theirs {
			return fmt.Sprintf(": use %s", ours)
		}
	}
	return ""
}

// explainName is about a name that nothing has.
func explainName(expression, name string, all []Field) string {
	if regexp.MustCompile(regexp.QuoteMeta(name) + `\s*\(`).MatchString(expression) {
		return fmt.Sprintf("unknown function %q", name)
	}
	if slices.Contains(trialStates(), name) {
		return fmt.Sprintf("unknown field %q: a state is a text: use state == '%s'", name, name)
	}
	names := make([]string, len(all))
	for i, field := range all {
		names[i] = field.Name
	}
	return spelling.Unknown("field", name, names)
}

// explainOperands is about an operator that does not work on its operands, or on its only one.
func explainOperands(operator, operands string) string {
	operator = strings.Trim(strings.ReplaceAll(operator, "_", ""), "@")
	var kinds []string
	for operand := range strings.SplitSeq(operands, ", ") {
		kinds = append(kinds, typeName(operand))
	}
	return fmt.Sprintf("%s can't be used on %s", operator, strings.Join(kinds, " and "))
}

// typeName is what people call one of CEL's types. A dynamic one is that of numbers that may be unknown.
func typeName(name string) string {
	switch name {
	case "int", "uint":
		return "a whole number"
	case "dyn", "double":
		return "a number"
	case "string":
		return "a text"
	case "bool":
		return "a condition"
	}
	return "a " + name
}

// explainValue says why a filter can't be computed for a trial.
func explainValue(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "no such overload"):
		return "numbers and texts can't be compared"
	case strings.Contains(text, "division by zero"), strings.Contains(text, "modulus by zero"):
		return "division by zero"
	case strings.Contains(text, "cost limit"):
		return "it takes too long to compute"
	default:
		return "it can't be computed"
	}
}

// comparedState is a text that a filter compares the state with.
var comparedState = regexp.MustCompile(`\bstate\s*[=!]=\s*['"]([^'"]*)['"]`)

// checkStates refuses a filter that compares the state with what is none: it would be met by no trial, or by all.
func checkStates(expression string) error {
	for _, match := range comparedState.FindAllStringSubmatch(expression, -1) {
		if states := trialStates(); !slices.Contains(states, match[1]) {
			return fmt.Errorf("filter: %s: %w", spelling.Unknown("state", match[1], states), ErrInvalid)
		}
	}
	return nil
}

// trialStates are the names that a trial's state may have.
func trialStates() []string {
	var names []string
	for _, number := range slices.Sorted(maps.Keys(trellisv1.TrialState_name)) {
		if number != 0 {
			names = append(names, lifecycle.Name(trellisv1.TrialState(number)))
		}
	}
	return names
}
