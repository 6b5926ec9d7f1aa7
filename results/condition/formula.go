package condition

import (
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// maxParts is how many conditions a formula joins at most.
const maxParts = 24

// Join is how a formula joins others.
type Join int

// The joins of formulas.
const (
	// JoinsNone is that of a formula which is a condition.
	JoinsNone Join = iota
	JoinsAnd
	JoinsOr
	// JoinsNot is that of a formula which is the opposite of one other.
	JoinsNot
)

// Formula is a condition taken apart where and, or and not join others. As in CEL, a formula with and is not met if one
// of its parts is not, even if another can't be computed, and likewise with or.
type Formula struct {
	Join Join
	Of   []*Formula
	// Condition is that of a formula that joins none.
	Condition *Condition
	// Comparison is the same if it compares a variable with a number, else nil.
	Comparison *Comparison
}

// Comparison says how a variable must compare with a number, in the order in which they are written here.
type Comparison struct {
	Variable string
	Relation Relation
	Number   float64
}

// Relation is one between numbers.
type Relation int

// The relations.
const (
	Equal Relation = iota
	NotEqual
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
)

// Formula compiles a condition as Compile does, and takes it apart. What has too many parts is one condition.
func (l Language) Formula(expression string) (*Formula, *Condition, error) {
	whole, err := l.Compile(expression)
	if err != nil {
		return nil, nil, err
	}
	env, err := l.extended()
	if err != nil {
		return nil, nil, err
	}
	ast, issues := env.Parse(expression)
	if issues.Err() != nil {
		return nil, nil, issues.Err()
	}
	a := &apart{language: l, env: env, info: ast.NativeRep().SourceInfo()}
	if formula := a.of(ast.NativeRep().Expr()); formula != nil {
		return formula, whole, nil
	}
	return &Formula{Condition: whole}, whole, nil
}

// apart takes conditions apart.
type apart struct {
	language Language
	env      *cel.Env
	info     *celast.SourceInfo
	parts    int
}

// joins are the functions of CEL that join conditions.
var joins = map[string]Join{
	operators.LogicalAnd: JoinsAnd, operators.LogicalOr: JoinsOr, operators.LogicalNot: JoinsNot,
}

// of returns the formula of an expression, or nil if it can't be taken apart.
func (a *apart) of(e celast.Expr) *Formula {
	if e.Kind() == celast.CallKind {
		if join, ok := joins[e.AsCall().FunctionName()]; ok {
			f := &Formula{Join: join}
			for _, arg := range e.AsCall().Args() {
				part := a.of(arg)
				if part == nil {
					return nil
				}
				f.Of = append(f.Of, part)
			}
			return f
		}
	}
	if a.parts++; a.parts > maxParts {
		return nil
	}
	text, err := parser.Unparse(e, a.info)
	if err != nil {
		return nil
	}
	its, err := a.language.compile(a.env, text)
	if err != nil {
		return nil
	}
	return &Formula{Condition: its, Comparison: comparisonOf(e)}
}

// relations are the functions of CEL that compare, each with what it is once its operands are exchanged.
var relations = map[string][2]Relation{
	operators.Equals: {Equal, Equal}, operators.NotEquals: {NotEqual, NotEqual},
	operators.Less: {Less, Greater}, operators.LessEquals: {LessOrEqual, GreaterOrEqual},
	operators.Greater: {Greater, Less}, operators.GreaterEquals: {GreaterOrEqual, LessOrEqual},
}

// comparisonOf returns the comparison that an expression is, or nil.
func comparisonOf(e celast.Expr) *Comparison {
	if e.Kind() != celast.CallKind {
		return nil
	}
	relation, ok := relations[e.AsCall().FunctionName()]
	if !ok {
		return nil
	}
	args, exchanged := slices.Clone(e.AsCall().Args()), 0
	if args[0].Kind() == celast.LiteralKind {
		slices.Reverse(args)
		exchanged = 1
	}
	name := qualifiedName(args[0])
	number, ok := literal(args[1])
	if name == "" || !ok {
		return nil
	}
	return &Comparison{name, relation[exchanged], number}
}

// literal returns the number that an expression is. ok is false if it is none, or has no float64.
func literal(e celast.Expr) (number float64, ok bool) {
	if e.Kind() != celast.LiteralKind {
		return 0, false
	}
	switch value := e.AsLiteral().(type) {
	case types.Double:
		return float64(value), true
	case types.Int:
		const exact = 1 << 53
		return float64(value), -exact <= value && value <= exact
	}
	return 0, false
}
