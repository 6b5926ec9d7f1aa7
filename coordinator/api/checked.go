package api

import "context"

type whenChecked struct{}

// WhenChecked makes the call of a context call checked when the rules of its spec have been checked, which takes long for
// a large one. A call that fails before doesn't.
func WhenChecked(ctx context.Context, checked func()) context.Context {
	return context.WithValue(ctx, whenChecked{}, checked)
}

// specChecked says that the rules of the call's spec have been checked.
func specChecked(ctx context.Context) {
	if checked, ok := ctx.Value(whenChecked{}).(func()); ok {
		checked()
	}
}
