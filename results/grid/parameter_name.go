package grid

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"trellis/proto/template"
	trellisv1 "trellis/proto/trellis/v1"
)

// maxName is the maximum length of a parameter's name.
const maxName = 63

// parameterName is what a program's parameter may be called: an identifier, or several with dots between them.
var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// reservedWords mean something else in CEL, in which filters and where are written.
var reservedWords = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
	"namespace", "null", "package", "return", "true", "var", "void", "while",
}

// nameProblem says why a program's parameter can't have a name, or nothing.
func nameProblem(name string) string {
	switch {
	case name == "":
		return "the name of a parameter is empty"
	case len(name) > maxName:
		return fmt.Sprintf("the name of a parameter has at most %d characters, and this one %d", maxName, len(name))
	case !parameterName.MatchString(name):
		return fmt.Sprintf("%q can't be the name of a parameter: it needs letters, digits and underscores, no digit "+
			"first, and dots only between such names, for example optimizer.lr", name)
	case name == Seed || name == Seeds:
		return "seeds are not among a grid's parameters: write them at the top level of the spec, for example " +
			"seeds: [1, 2]"
	case name != MaxEpochs && isTaken(name):
		return fmt.Sprintf("%s can't be the name of a parameter: it is what every trial has already; choose "+
			"another, for example my_%s", name, name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if slices.Contains(reservedWords, part) {
			return fmt.Sprintf("%s can't be the name of a parameter: %s is a reserved word in filters and where; "+
				"choose another, for example my_%s", name, part, part)
		}
	}
	return ""
}

// checkNames refuses names that a program's parameters can't have, alone or together: each name once, where it first
// stands.
func (b *builder) checkNames(spec *trellisv1.StudySpec) {
	var names []string
	variables := map[string]string{}
	for _, common := range template.Common {
		variables[template.Variable(common)] = common
	}
	for i := range spec.GetGrid() {
		for _, its := range axesOf(spec, i) {
			if slices.Contains(names, its.name) {
				continue
			}
			refuse := func(rule, message string) {
				b.refuse(rule, message, its.path...)
				b.violations[len(b.violations)-1].Proto.SetForKey(true)
			}
			variable := template.Variable(its.name)
			problem, other := nameProblem(its.name), variables[variable]
			if problem != "" {
				refuse("axis.name", problem)
			} else if other != "" && other != its.name {
				refuse("program.variable", fmt.Sprintf("the parameters %s and %s would both be the variable %s of the "+
					"program's environment: rename one", other, its.name, variable))
			}
			for _, other := range names {
				if problem != "" {
					break
				}
				if strings.HasPrefix(its.name, other+".") || strings.HasPrefix(other, its.name+".") {
					refuse("axis.name", fmt.Sprintf("the parameters %s and %s exclude each other: one is a value, and "+
						"contains the other; rename one", other, its.name))
				}
			}
			names, variables[variable] = append(names, its.name), its.name
		}
	}
}
