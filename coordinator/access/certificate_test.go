package access

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestACertificateNamesItsPrincipal(t *testing.T) {
	authority, _, err := NewAuthority(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Principal{
		{trellisv1.Role_ROLE_VIEWER, "ada"},
		{trellisv1.Role_ROLE_SUBMITTER, "ada@example.org"},
		{trellisv1.Role_ROLE_ADMIN, "root"},
		{trellisv1.Role_ROLE_WORKER, "gpu-farm_1"},
		{trellisv1.Role_ROLE_NODE, "a.example.org"},
		{trellisv1.Role_ROLE_NODE, "::1"},
		{trellisv1.Role_ROLE_NODE, "2001:db8::1"},
	} {
		pair, err := authority.Issue(want, []string{"localhost", "::1"}, time.Now().Add(2*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(pair.Certificate)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromCertificate(certificate)
		if err != nil || got != want {
			t.Errorf("got %v and %v, want %v", got, err, want)
		}
		if certificate.NotAfter.After(authority.Expires()) {
			t.Errorf("%v outlives its authority", want)
		}
		serves := certificate.VerifyHostname("localhost") == nil && certificate.VerifyHostname("::1") == nil
		if serves != (want.Role == trellisv1.Role_ROLE_NODE) {
			t.Errorf("the certificate of %v is for a server: %t", want, serves)
		}
	}
}

func TestNoOtherCertificateNamesAnyone(t *testing.T) {
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for name, certificate := range map[string]*x509.Certificate{
		"no URI":           {ExtKeyUsage: client},
		"an authority's":   named(client, true, "trellis://admin/ada"),
		"a server's":       named([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, false, "trellis://node/a"),
		"any usage":        named([]x509.ExtKeyUsage{x509.ExtKeyUsageAny}, false, "trellis://node/a"),
		"no usage":         named(nil, false, "trellis://node/a"),
		"two names":        named(client, false, "trellis://viewer/ada", "trellis://admin/ada"),
		"another URI too":  named(client, false, "trellis://viewer/ada", "https://example.org/"),
		"another scheme":   named(client, false, "spiffe://admin/ada"),
		"upper-case":       named(client, false, "trellis://Admin/ada"),
		"unknown role":     named(client, false, "trellis://owner/ada"),
		"no role":          named(client, false, "trellis:///ada"),
		"no name":          named(client, false, "trellis://admin/"),
		"neither":          named(client, false, "trellis:"),
		"opaque":           named(client, false, "trellis:admin/ada"),
		"a path":           named(client, false, "trellis://admin/ada/too"),
		"a query":          named(client, false, "trellis://admin/ada?"),
		"a fragment":       named(client, false, "trellis://admin/ada#b"),
		"a user":           named(client, false, "trellis://root@admin/ada"),
		"a port":           named(client, false, "trellis://admin:1/ada"),
		"an escape":        named(client, false, "trellis://admin/%61da"),
		"a line break":     named(client, false, "trellis://admin/ada%0Aroot"),
		"a terminal's":     named(client, false, "trellis://admin/%1B[2J"),
		"not to sign with": {ExtKeyUsage: client, KeyUsage: x509.KeyUsageKeyEncipherment, URIs: uris("trellis://admin/ada")},
	} {
		if got, err := FromCertificate(certificate); !errors.Is(err, ErrCertificate) || got != (Principal{}) {
			t.Errorf("%s: got %v and %v", name, got, err)
		}
	}
}

// FuzzURI: a name that is accepted is the one that its principal has.
func FuzzURI(f *testing.F) {
	for _, seed := range []string{"trellis://node/a", "trellis://admin/ada?x", "trellis://worker/::1", "trellis://viewer//a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := url.Parse(text)
		if err != nil {
			return
		}
		principal, err := fromURI(name)
		if err == nil && (principal.Validate() != nil || principal.URI().String() != name.String()) {
			t.Errorf("%q is %v", text, principal)
		}
	})
}

func named(usage []x509.ExtKeyUsage, authority bool, names ...string) *x509.Certificate {
	// The common name must not matter.
	certificate := &x509.Certificate{ExtKeyUsage: usage, IsCA: authority, URIs: uris(names...)}
	certificate.Subject.CommonName = "admin"
	return certificate
}

func uris(names ...string) (all []*url.URL) {
	for _, name := range names {
		parsed, err := url.Parse(name)
		if err != nil {
			panic(err)
		}
		all = append(all, parsed)
	}
	return all
}
