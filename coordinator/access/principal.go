package access

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
)

// Principal is who speaks. The zero Principal is everybody, at a coordinator without authentication: it may do
// everything.
type Principal struct {
	Role trellisv1.Role
	// Name is unique among the principals of a role.
	Name string
}

type key struct{}

// With returns a context of a call by the principal.
func With(ctx context.Context, principal Principal) context.Context {
	return context.WithValue(ctx, key{}, principal)
}

// Of returns who makes the call. It is the zero Principal at a coordinator without authentication.
func Of(ctx context.Context) Principal {
	principal, _ := ctx.Value(key{}).(Principal)
	return principal
}

// Anonymous says whether nobody was asked who they are.
func (p Principal) Anonymous() bool { return p == Principal{} }
