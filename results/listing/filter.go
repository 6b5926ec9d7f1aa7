package listing

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"

	trellisv1 "trellis/proto/trellis/v1"
)

// Bounds of a filter.
const (
	// maxFilterLength is in bytes.
	maxFilterLength = 1000
	// maxFilterCost bounds the work for one trial, in CEL's units: about one per operation. Without macros, which could
	// nest loops, a filter of the permitted length hardly reaches it.
	maxFilterCost = 1000
	// maxFilterDepth bounds how deep an expression is nested. Finding the type of nested values takes longer with each
	// level: a second for 200 maps in each other.
	maxFilterDepth = 32
	// maxPatternSize bounds the program that a pattern is compiled to, in instructions. A pattern of ten letters may
	// have a million.
	maxPatternSize = 1000
)

// filterEnv is what filters are compiled in: the fields that all trials have.
var filterEnv = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{cel.ClearMacros(), cel.CrossTypeNumericComparisons(true)}
	for _, field := range Fields {
		options = append(options, cel.Variable(field.Name, field.celType))
	}
	return cel.NewEnv(options...)
})

// Filter says whether a trial meets a condition.
type Filter func(*trellisv1.Trial) (bool, error)

// NewFilter compiles a CEL expression over the fields, which must begin with those that all trials have. All trials
// meet the empty expression. It fails with ErrInvalid, and says where in the expression the mistake is.
func NewFilter(expression string, all []Field) (Filter, error) {
	if strings.TrimSpace(expression) == "" {
		return func(*trellisv1.Trial) (bool, error) { return true, nil }, nil
	}
	if len(expression) > maxFilterLength {
		return nil, fmt.Errorf("filter: must have at most %d bytes, has %d: %w", maxFilterLength, len(expression), ErrInvalid)
	}
	env, err := filterEnv()
	if err != nil {
		return nil, fmt.Errorf("make the environment of filters: %w", err)
	}
	if len(all) > len(Fields) {
		var variables []cel.EnvOption
		for _, field := range all[len(Fields):] {
			variables = append(variables, cel.Variable(field.Name, field.celType))
		}
		if env, err = env.Extend(variables...); err != nil {
			return nil, fmt.Errorf("make the environment of filters: %w", err)
		}
	}
	if parsed, issues := env.Parse(expression); issues.Err() == nil {
		if err := checkNesting(parsed); err != nil {
			return nil, err
		}
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, fmt.Errorf("filter: %s: %w", explain(expression, issues.Errors()[0], all), ErrInvalid)
	}
	if err := checkStates(expression); err != nil {
		return nil, err
	}
	if output := ast.OutputType(); !output.IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("filter: %s is %s: must be a condition such as objective < 0.02: %w", expression, typeName(output.String()),
			ErrInvalid)
	}
	if err := checkPatterns(ast); err != nil {
		return nil, err
	}
	program, err := env.Program(ast, cel.CostLimit(maxFilterCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("filter: %s cannot be computed: %w", expression, ErrInvalid)
	}
	return func(trial *trellisv1.Trial) (bool, error) {
		result, _, err := program.Eval(fieldsOf{trial, all})
		if err != nil {
			return false, fmt.Errorf("filter: %s for trial %d: %w", explainValue(err), trial.Index, ErrInvalid)
		}
		return result.Value() == true, nil
	}, nil
}

// fieldsOf gives a filter the fields of a trial that it asks for.
type fieldsOf struct {
	trial  *trellisv1.Trial
	fields []Field
}

// ResolveName implements cel.Activation.
func (f fieldsOf) ResolveName(name string) (any, bool) {
	for _, field := range f.fields {
		if field.Name == name {
			return field.value(f.trial), true
		}
	}
	return nil, false
}

// Parent implements cel.Activation.
func (f fieldsOf) Parent() cel.Activation { return nil }

var _ cel.Activation = fieldsOf{}

// checkNesting refuses expressions that are nested too deep, before their types are found.
func checkNesting(ast *cel.Ast) error {
	deep := false
	celast.PreOrderVisit(celast.NavigateAST(ast.NativeRep()), celast.NewExprVisitor(func(e celast.Expr) {
		node, ok := e.(celast.NavigableExpr)
		deep = deep || ok && node.Depth() > maxFilterDepth
	}))
	if deep {
		return fmt.Errorf("filter: must be nested at most %d deep: %w", maxFilterDepth, ErrInvalid)
	}
	return nil
}

// checkPatterns refuses patterns of matches() that would be compiled anew for every trial, or are large once compiled:
// CEL's bound on cost knows their length alone.
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
			return fmt.Errorf("filter: the pattern of matches must be a text in quotes: %w", ErrInvalid)
		}
		parsed, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			continue // The message about the whole expression says so.
		}
		compiled, err := syntax.Compile(parsed.Simplify())
		if err != nil || len(compiled.Inst) > maxPatternSize {
			return fmt.Errorf("filter: the pattern %q is too complex: use fewer repetitions: %w", text, ErrInvalid)
		}
	}
	return nil
}
