package condition

import (
	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// widen makes whole numbers numbers where they meet others: CEL has no lr * 2 and no lr == 1 for a number lr. Only
// variables of the type of numbers count as such; dynamic ones find their type when they have a value.
func (l Language) widen(ast *celast.AST) {
	w := &widener{types: map[string]*cel.Type{}, info: ast.SourceInfo(), next: celast.MaxID(ast) + 1}
	for _, variable := range l.Variables {
		w.types[variable.Name] = variable.Type
	}
	celast.PostOrderVisit(ast.Expr(), celast.NewExprVisitor(w.visit))
}

type widener struct {
	types map[string]*cel.Type
	info  *celast.SourceInfo
	next  int64
}

func (w *widener) visit(e celast.Expr) {
	if e.Kind() != celast.CallKind || len(e.AsCall().Args()) != 2 || e.AsCall().IsMemberFunction() {
		return
	}
	a, b := e.AsCall().Args()[0], e.AsCall().Args()[1]
	switch e.AsCall().FunctionName() {
	case operators.Equals, operators.NotEquals, operators.Add, operators.Subtract, operators.Multiply, operators.Divide:
		switch x, y := w.typeOf(a), w.typeOf(b); {
		case x == cel.DoubleType && y == cel.IntType:
			w.toNumber(b)
		case x == cel.IntType && y == cel.DoubleType:
			w.toNumber(a)
		}
	case operators.In:
		if b.Kind() != celast.ListKind || w.typeOf(a) != cel.DoubleType {
			return
		}
		for _, element := range b.AsList().Elements() {
			if w.typeOf(element) == cel.IntType {
				w.toNumber(element)
			}
		}
	}
}

// typeOf is an expression's type if it is made of literals, variables and arithmetic, else nil.
func (w *widener) typeOf(e celast.Expr) *cel.Type {
	switch e.Kind() {
	case celast.LiteralKind:
		switch e.AsLiteral().(type) {
		case types.Int:
			return cel.IntType
		case types.Double:
			return cel.DoubleType
		}
	case celast.IdentKind, celast.SelectKind:
		return w.types[qualifiedName(e)]
	case celast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case operators.Negate, operators.Add, operators.Subtract, operators.Multiply, operators.Divide,
			operators.Modulo:
			return w.typeOf(call.Args()[0]) // Both operands have the same type by now, or there is none.
		case "double":
			return cel.DoubleType
		case "int":
			return cel.IntType
		}
	}
	return nil
}

// toNumber turns a whole number into a number.
func (w *widener) toNumber(e celast.Expr) {
	factory := celast.NewExprFactory()
	if e.Kind() == celast.LiteralKind {
		e.SetKindCase(factory.NewLiteral(e.ID(), types.Double(e.AsLiteral().(types.Int))))
		return
	}
	// The expression keeps its id for its place in the text; what it was gets a new one.
	id := w.next
	w.next++
	if place, ok := w.info.GetOffsetRange(e.ID()); ok {
		w.info.SetOffsetRange(id, place)
	}
	var inner celast.Expr
	switch e.Kind() {
	case celast.IdentKind:
		inner = factory.NewIdent(id, e.AsIdent())
	case celast.SelectKind:
		inner = factory.NewSelect(id, e.AsSelect().Operand(), e.AsSelect().FieldName())
	default:
		inner = factory.NewCall(id, e.AsCall().FunctionName(), e.AsCall().Args()...)
	}
	e.SetKindCase(factory.NewCall(e.ID(), "double", inner))
}

// qualifiedName is the name with dots that an expression is, or "".
func qualifiedName(e celast.Expr) string {
	switch {
	case e.Kind() == celast.IdentKind:
		return e.AsIdent()
	case e.Kind() == celast.SelectKind && !e.AsSelect().IsTestOnly():
		if before := qualifiedName(e.AsSelect().Operand()); before != "" {
			return before + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}
