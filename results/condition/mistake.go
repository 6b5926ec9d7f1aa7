package condition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"trellis/results/spelling"
)

// What CEL's compiler says, as far as it is told to people in other words.
var (
	undeclared   = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	noOverload   = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(?:\w+\.)?\((.*)\)'$`)
	ofWhat       = regexp.MustCompile(`\([^()]*\)`)
	missingToken = regexp.MustCompile(`^Syntax error: missing '(.)'`)
)

// explain says what is wrong with a condition, by the compiler's first mistake, which often is what causes the others.
func (l Language) explain(expression string, mistake *cel.Error) string {
	rest := following(expression, mistake.Location.Line(), mistake.Location.Column())
	if match := undeclared.FindStringSubmatch(mistake.Message); match != nil {
		return l.explainName(expression, rest, match[1])
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
		return fmt.Sprintf("unexpected %q at column %d%s", strings.TrimSpace(rest), mistake.Location.Column()+1,
			instead(rest))
	case strings.HasPrefix(mistake.Message, "invalid int literal"),
		strings.HasPrefix(mistake.Message, "invalid double literal"):
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

// instead says what stands in a condition for what other languages have there.
func instead(rest string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	for theirs, ours := range map[string]string{
		"and": "&&", "AND": "&&", "or": "||", "OR": "||", "=": "==", "<>": "!=",
	} {
		if word == theirs {
			return fmt.Sprintf(": use %s", ours)
		}
	}
	return ""
}

// called is a name that is followed by what it is called with.
func called(name string) *regexp.Regexp { return regexp.MustCompile(regexp.QuoteMeta(name) + `\s*\(`) }

// explainName is about a name that nothing has, at the beginning of the rest of the expression.
func (l Language) explainName(expression, rest, name string) string {
	if called(name).MatchString(expression) {
		return fmt.Sprintf("unknown function %q", name)
	}
	names := make([]string, len(l.Variables))
	for i, variable := range l.Variables {
		names[i] = variable.Name
	}
	if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, ".") }) {
		name = l.withDots(rest, name)
	}
	text := spelling.Unknown(l.Noun, name, names)
	if l.Hint != nil && l.Hint(name) != "" {
		text = fmt.Sprintf("unknown %s %q: %s", l.Noun, name, l.Hint(name))
	}
	return text
}

// dotted is a name with what follows it after dots.
var dotted = regexp.MustCompile(`^\w+(\s*\.\s*\w+)*`)

// withDots returns the whole of a name with dots, of which CEL's compiler names the first part.
func (l Language) withDots(rest, name string) string {
	whole := dotted.FindString(rest)
	if !strings.HasPrefix(whole, name) {
		return name
	}
	if last := strings.LastIndex(whole, "."); last > 0 && called(whole).MatchString(rest) {
		whole = whole[:last] // A method.
	}
	return whole
}

// explainOperands is about an operator that does not work on its operands, or on its only one.
func explainOperands(operator, operands string) string {
	operator = strings.Trim(strings.ReplaceAll(operator, "_", ""), "@")
	var kinds []string
	for operand := range strings.SplitSeq(operands, ", ") {
		kinds = append(kinds, typeName(operand))
	}
	text := fmt.Sprintf("%s can't be used on %s", operator, strings.Join(kinds, " and "))
	if slices.Contains(kinds, "a number") && slices.Contains(kinds, "a whole number") {
		text += ": convert one with double() or int()"
	}
	return text
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

// explainValue says why a condition can't be computed.
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
