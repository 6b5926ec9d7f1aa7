package access

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
)

// Call says who makes a call, and from where.
type Call struct {
	Principal
	// Token is the token that says who it is, without its hash. It is nil if a certificate does, or nobody was asked.
	Token *trellisv1.Token
	// Address is the caller's host.
	Address string
	// Method is the called method's name, without that of its service.
	Method string
}

type key struct{}

// WithCall returns the context of a call.
func WithCall(ctx context.Context, call Call) context.Context {
	return context.WithValue(ctx, key{}, call)
}

// CallOf returns the call that ctx belongs to, or the zero Call.
func CallOf(ctx context.Context) Call {
	call, _ := ctx.Value(key{}).(Call)
	return call
}

// With returns a context of a call by the principal.
func With(ctx context.Context, principal Principal) context.Context {
	call := CallOf(ctx)
	call.Principal = principal
	return WithCall(ctx, call)
}

// Of returns who makes the call. It is the zero Principal at a coordinator without authentication.
func Of(ctx context.Context) Principal { return CallOf(ctx).Principal }
