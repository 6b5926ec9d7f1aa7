package grid

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"trellis/proto/template"
	trellisv1 "trellis/proto/trellis/v1"
)

// Shares says whether a study may use what other studies have trained, and they what it has: a program must be declared
// to give the same metrics every time.
func Shares(spec *trellisv1.StudySpec) bool {
	return spec.GetProgram() == nil || spec.GetProgram().GetDeterministic()
}

// needsData says whether a spec's model trains on a data set. The coordinator knows nothing of a program's data.
func needsData(spec *trellisv1.StudySpec) bool {
	return spec.GetProgram() == nil && spec.GetModel() != synthetic
}

// runsApart says whether trials that differ only in max_epochs are runs of their own.
func runsApart(program *trellisv1.Program) bool { return program != nil && !program.GetPrefix() }

// checkTrainee refuses a spec that does not have either a model or a program.
func (b *builder) checkTrainee(spec *trellisv1.StudySpec) {
	switch model, program := spec.GetModel() != "", spec.GetProgram() != nil; {
	case model && program:
		b.refuse("study.trainee", "a study trains either a model or a program: leave one of them out", "program")
	case !model && !program:
		b.refuse("study.trainee", "missing what to train: either a model, for example model: conv-autoencoder, or a "+
			"program, for example program: {command: [python, train.py]}")
	case !program && spec.GetResources() != nil:
		b.refuse("study.resources", "resources are for programs: a model trains on one core", "resources")
	}
}

// checkProgram refuses what a study of a program can't have, and what is wrong with the program.
func (b *builder) checkProgram(spec *trellisv1.StudySpec) {
	for _, its := range []struct {
		field string
		set   bool
	}{
		{"data", spec.GetData() != ""},
		{"split", spec.GetSplit() != nil},
		{"synthetic", spec.GetSynthetic() != nil},
		{"pretrained", spec.GetPretrained() != nil},
	} {
		if its.set {
			b.refuse("program."+its.field, fmt.Sprintf("%s is for models: a program brings its own data, so leave it out",
				its.field), its.field)
		}
	}
	program := spec.GetProgram()
	if spec.GetAudit() > 0 && !program.GetDeterministic() {
		b.refuse("program.audit", "an audit compares two trainings of a run bit for bit, and this program is not declared "+
			"to give the same metrics twice: leave audit out, or add deterministic: true to the program", "audit")
	}
	b.checkCommand(program, parameterNames(spec))
	b.checkNames(spec)
	for _, name := range slices.Sorted(maps.Keys(program.GetEnvironment())) {
		if problem := variableProblem(name, program.GetEnvironment()[name]); problem != "" {
			b.refuse("program.environment", problem, "program", "environment", mapKey(name))
		}
	}
	if reports := program.GetReports(); reports != nil {
		if _, err := template.CompilePattern(reports.GetPattern()); err != nil {
			b.refuse("program.reports", err.Error(), "program", "reports", "pattern")
		}
	}
}

// checkCommand refuses parts of a command that name parameters that the grid does not have.
func (b *builder) checkCommand(program *trellisv1.Program, parameters []string) {
	if len(program.GetCommand()) > 0 && program.GetCommand()[0] == "" {
		b.refuse("program.command", "the command is empty: for example, command: [python, train.py]", "program", "command", 0)
	}
	for i, part := range program.GetCommand() {
		if strings.ContainsRune(part, 0) {
			b.refuse("program.command", "a part of a command can't have a NUL character", "program", "command", i)
			continue
		}
		names, err := template.Names(part)
		if err != nil {
			b.refuse("program.command", err.Error(), "program", "command", i)
			continue
		}
		for _, name := range names {
			if slices.Contains(parameters, name) || slices.Contains(template.Common, name) {
				continue
			}
			b.refuse("program.command", fmt.Sprintf("{%s} names no parameter of the grid, which has %s; {{%s}} is the text in "+
				"single braces", name, strings.Join(append(parameters, template.Common...), ", "), name), "program", "command", i)
		}
	}
}

// variablePattern is what a variable of the environment may be called.
var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variableProblem says what is wrong with a variable, or nothing.
func variableProblem(name, value string) string {
	switch {
	case !variablePattern.MatchString(name):
		return fmt.Sprintf("%q can't be a variable: it needs letters, digits and underscores, and no digit first", name)
	case strings.HasPrefix(name, "TRELLIS_"):
		return fmt.Sprintf("%s is one of the variables that the worker sets: choose a name without TRELLIS_", name)
	case strings.ContainsRune(value, 0):
		return fmt.Sprintf("the value of %s has a NUL character", name)
	}
	return ""
}

// parameterNames returns the names of the parameters that the points of a spec have, besides max_epochs and seed.
func parameterNames(spec *trellisv1.StudySpec) []string {
	return slices.DeleteFunc(Names(spec), func(name string) bool { return slices.Contains(template.Common, name) })
}
