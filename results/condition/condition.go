package condition

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
)

// Bounds of a condition.
const (
	// MaxLength is in bytes.
	MaxLength = 1000
	// maxCost bounds the work of one evaluation, in CEL's units: about one per operation. Without macros, which could
	// nest loops, a condition of the permitted length hardly reaches it.
	maxCost = 1000
	// maxDepth bounds how deep an expression is nested. Finding the type of nested values takes longer with each
	// level: a second for 200 maps in each other.
	maxDepth = 32
	// maxPatternSize bounds the program that a pattern is compiled to, in instructions. A pattern of ten letters may
	// have a million.
	maxPatternSize = 1000
)

// Variable is a name that a condition may use. A name with dots is one variable, not a path.
type Variable struct {
	Name string
	// Type is that of its values. With cel.DynType they are numbers, and of which type is known when they are there.
	Type *cel.Type
}

// Language is what conditions of one sort may use, and how to speak about them.
type Language struct {
	Variables []Variable
	// Noun is what a variable is called: "field".
	Noun string
	// Example is a condition.
	Example string
	// Hint says more about a name that is no variable. It may be nil, and return "".
	Hint func(name string) string
	// Exact says that a condition must give the same on every machine, and at any time.
	Exact bool
}

// Mistake is what is wrong with a condition, in words for who wrote it.
type Mistake struct{ text string }

// Error implements error.
func (m *Mistake) Error() string { return m.text }

func mistake(format string, args ...any) error { return &Mistake{fmt.Sprintf(format, args...)} }

// environment is what all conditions are compiled in.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.ClearMacros(), cel.CrossTypeNumericComparisons(true))
})

// Condition is a compiled condition. It is immutable and safe for concurrent use.
type Condition struct {
	program cel.Program
	uses    []string
}

// Uses are the names of the variables that the condition depends on, each once.
func (c *Condition) Uses() []string { return c.uses }

// Compile compiles a condition. If the expression is wrong, the error is a *Mistake.
func (l Language) Compile(expression string) (*Condition, error) {
	if len(expression) > MaxLength {
		return nil, mistake("must have at most %d bytes, has %d", MaxLength, len(expression))
	}
	env, err := l.extended()
	if err != nil {
		return nil, err
	}
	return l.compile(env, expression)
}

// extended returns the environment of conditions that use the language's variables.
func (l Language) extended() (*cel.Env, error) {
	env, err := environment()
	if err == nil {
		variables := make([]cel.EnvOption, len(l.Variables))
		for i, variable := range l.Variables {
			variables[i] = cel.Variable(variable.Name, variable.Type)
		}
		env, err = env.Extend(variables...)
	}
	if err != nil {
		return nil, fmt.Errorf("make the environment of conditions: %w", err)
	}
	return env, nil
}

func (l Language) compile(env *cel.Env, expression string) (*Condition, error) {
	ast, issues := env.Parse(expression)
	if issues.Err() == nil {
		if err := checkNesting(ast); err != nil {
			return nil, err
		}
		l.widen(ast.NativeRep())
		ast, issues = env.Check(ast)
	}
	if issues.Err() != nil {
		return nil, &Mistake{l.explain(expression, issues.Errors()[0])}
	}
	if output := ast.OutputType(); !output.IsExactType(cel.BoolType) {
		return nil, mistake("%s is %s: must be a condition such as %s", expression, typeName(output.String()),
			l.Example)
	}
	if err := checkPatterns(ast); err != nil {
		return nil, err
	}
	if err := l.checkExact(ast); err != nil {
		return nil, err
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, mistake("%s cannot be computed", expression)
	}
	return &Condition{program, l.used(ast)}, nil
}

// Values gives a condition the values of its variables.
type Values interface {
	// Value returns the value of a variable: an int64, float64, string or bool, or one of CEL's own values.
	Value(name string) (any, bool)
}

// Meets says whether the values meet the condition. If that can't be computed, the error is a *Mistake. cost is that of
// the evaluation, in units of about one operation.
func (c *Condition) Meets(values Values) (met bool, cost uint64, err error) {
	result, details, err := c.program.Eval(activation{values})
	if actual := details.ActualCost(); actual != nil {
		cost = *actual
	}
	if err != nil {
		return false, cost, &Mistake{explainValue(err)}
	}
	return result.Value() == true, cost, nil
}

// activation shows values to CEL.
type activation struct{ values Values }

// ResolveName implements cel.Activation.
func (a activation) ResolveName(name string) (any, bool) { return a.values.Value(name) }

// Parent implements cel.Activation.
func (a activation) Parent() cel.Activation { return nil }

var _ cel.Activation = activation{}

// used returns the names of the variables that a checked expression refers to.
func (l Language) used(ast *cel.Ast) (names []string) {
	used := map[string]bool{}
	for _, reference := range ast.NativeRep().ReferenceMap() {
		used[reference.Name] = true
	}
	for _, variable := range l.Variables {
		if used[variable.Name] {
			names = append(names, variable.Name)
		}
	}
	return names
}

// checkExact refuses functions whose results depend on the machine: time zones are files of its own.
func (l Language) checkExact(ast *cel.Ast) error {
	if !l.Exact {
		return nil
	}
	for _, name := range []string{"timestamp", "duration"} {
		calls := celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), celast.FunctionMatcher(name))
		if len(calls) > 0 {
			return mistake("unknown function %q", name)
		}
	}
	return nil
}

// checkNesting refuses expressions that are nested too deep, before their types are found.
func checkNesting(ast *cel.Ast) error {
	deep := false
	celast.PreOrderVisit(celast.NavigateAST(ast.NativeRep()), celast.NewExprVisitor(func(e celast.Expr) {
		node, ok := e.(celast.NavigableExpr)
		deep = deep || ok && node.Depth() > maxDepth
	}))
	if deep {
		return mistake("must be nested at most %d deep", maxDepth)
	}
	return nil
}

// checkPatterns refuses patterns of matches() that would be compiled anew for every evaluation, or are large once
// compiled: CEL's bound on cost knows their length alone.
func checkPatterns(ast *cel.Ast) error {
	isMatches := celast.FunctionMatcher("matches")
	for _, call := range celast.MatchDescendants(celast.NavigateAST(ast.NativeRep()), isMatches) {
		args := call.AsCall().Args()
		if len(args) == 0 {
			continue
		}
		pattern := args[len(args)-1]
		text, ok := "", false
		if pattern.Kind() == celast.LiteralKind {
			text, ok = pattern.AsLiteral().Value().(string)
		}
		if !ok {
			return mistake("the pattern of matches must be a text in quotes")
		}
		parsed, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			continue // The message about the whole expression says so.
		}
		compiled, err := syntax.Compile(parsed.Simplify())
		if err != nil || len(compiled.Inst) > maxPatternSize {
			return mistake("the pattern %q is too complex: use fewer repetitions", text)
		}
	}
	return nil
}

// IsEmpty says whether an expression is no condition: everything meets it.
func IsEmpty(expression string) bool { return strings.TrimSpace(expression) == "" }
