package access

import (
	"fmt"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Principal is who speaks. The zero Principal is everybody, at a coordinator without authentication: it may do
// everything.
type Principal struct {
	Role trellisv1.Role
	// Name is unique among the principals of a role.
	Name string
}

// Anonymous says whether nobody was asked who they are.
func (p Principal) Anonymous() bool { return p == Principal{} }

// Message returns the principal as it is stored, nil for the zero Principal.
func (p Principal) Message() *trellisv1.Principal {
	if p.Anonymous() {
		return nil
	}
	return &trellisv1.Principal{Role: p.Role, Name: p.Name}
}

// FromMessage is the inverse of Principal.Message.
func FromMessage(m *trellisv1.Principal) Principal {
	return Principal{Role: m.GetRole(), Name: m.GetName()}
}

// String returns for example: admin "ann".
func (p Principal) String() string { return fmt.Sprintf("%s %q", RoleName(p.Role), p.Name) }

// RoleName returns a role's word, the inverse of ParseRole: admin.
func RoleName(role trellisv1.Role) string {
	return strings.ToLower(strings.TrimPrefix(role.String(), "ROLE_"))
}
