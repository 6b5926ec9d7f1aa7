package access

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Scheme is the scheme of the URI names in certificates: trellis://ROLE/NAME.
const Scheme = "trellis"

// ErrCertificate means that a certificate names no principal.
var ErrCertificate = errors.New("the certificate names no principal")

// roles are the roles by their words in URI names.
var roles = map[string]trellisv1.Role{
	"viewer":    trellisv1.Role_ROLE_VIEWER,
	"submitter": trellisv1.Role_ROLE_SUBMITTER,
	"admin":     trellisv1.Role_ROLE_ADMIN,
	"worker":    trellisv1.Role_ROLE_WORKER,
	"node":      trellisv1.Role_ROLE_NODE,
}

// validName matches the names of principals. Nodes have hosts as names, which may be IPv6 addresses.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$|^::[A-Fa-f0-9:.]{0,40}$`)

// ParseRole returns the role of a word.
func ParseRole(word string) (trellisv1.Role, bool) {
	role, ok := roles[word]
	return role, ok
}

// URI is the principal's name in a certificate.
func (p Principal) URI() *url.URL {
	for word, role := range roles {
		if role == p.Role {
			return &url.URL{Scheme: Scheme, Host: word, Path: "/" + p.Name}
		}
	}
	return nil
}

// Validate returns an error unless the principal has a role and a name that a URI can carry.
func (p Principal) Validate() error {
	if p.URI() == nil {
		return fmt.Errorf("unknown role %v", p.Role)
	}
	if !validName.MatchString(p.Name) {
		return fmt.Errorf("invalid name %q: must be letters, digits and . _ : @ -, at most 200 of them", p.Name)
	}
	return nil
}

// FromCertificate returns the principal that a verified certificate names: by its only URI name, trellis://ROLE/NAME. The
// common name is never used, because authorities don't protect it as they do names. The error wraps ErrCertificate.
func FromCertificate(certificate *x509.Certificate) (Principal, error) {
	if certificate.IsCA {
		return Principal{}, fmt.Errorf("%w: it is an authority's", ErrCertificate)
	}
	// An extended key usage of "any" is not enough: the authority has to mean it.
	if !slices.Contains(certificate.ExtKeyUsage, x509.ExtKeyUsageClientAuth) ||
		certificate.KeyUsage != 0 && certificate.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return Principal{}, fmt.Errorf("%w: it is not for client authentication", ErrCertificate)
	}
	if len(certificate.URIs) != 1 {
		return Principal{}, fmt.Errorf("%w: it has %d URI names, not one", ErrCertificate, len(certificate.URIs))
	}
	return fromURI(certificate.URIs[0])
}

// fromURI parses a URI name. Only the form that URI writes is accepted.
func fromURI(name *url.URL) (Principal, error) {
	principal := Principal{Role: roles[name.Host], Name: strings.TrimPrefix(name.Path, "/")}
	if name.Scheme != Scheme || principal.Validate() != nil || name.String() != principal.URI().String() {
		return Principal{}, fmt.Errorf("%w: its URI name %q is not %s://ROLE/NAME", ErrCertificate, name, Scheme)
	}
	return principal, nil
}
