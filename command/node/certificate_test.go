package node

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trellis/coordinator"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// Others are told the name that a coordinator was told to listen on, if its certificate is not for what became of the name.
func TestCertifiedAddress(t *testing.T) {
	issue := func(host ...string) access.Files { return issueFor(t, host...) }
	name, both, other := issue("localhost"), issue("localhost", "127.0.0.1"), issue("elsewhere")
	for _, test := range []struct {
		what         string
		files        access.Files
		listen, want string
	}{
		{"no certificate", access.Files{}, "localhost:0", "127.0.0.1:7070"},
		{"for the name", name, "localhost:0", "localhost:7070"},
		{"for both", both, "localhost:0", "127.0.0.1:7070"},
		{"for the name, but not told it", name, "127.0.0.1:0", "127.0.0.1:7070"},
		{"for neither", other, "localhost:0", "127.0.0.1:7070"},
	} {
		if got := certifiedAddress(test.files, test.listen, "127.0.0.1:7070"); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}

// The link to the page has a host at which the page is, and says which hosts the certificate is for if that is none of
// them.
func TestLink(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, test := range []struct{ what, host, told, advertise, want, others string }{
		{"elsewhere", "127.0.0.2", "127.0.0.1:0", "127.0.0.2:7070", "https://127.0.0.1:", "127.0.0.2"},
		{"by the name that others use", "localhost", "127.0.0.1:0", "localhost:7070", "https://localhost:", ""},
		{"by its own name", "localhost", "localhost:0", "127.0.0.2:7070", "https://localhost:", ""},
		{"without a certificate", "", "127.0.0.1:0", "127.0.0.2:7070", "http://127.0.0.1:", ""},
	} {
		config := coordinator.Config{HTTP: listener, Advertise: test.advertise}
		if test.host != "" {
			config.TLS = issueFor(t, test.host)
		}
		if link, others := linkTo(t.Context(), config, test.told); link != test.want+port || others != test.others {
			t.Errorf("%s: %s and %q, want %s and %q", test.what, link, others, test.want+port, test.others)
		}
	}
}

// issueFor makes the certificate of a node.
func issueFor(t *testing.T, host ...string) access.Files {
	t.Helper()
	until := time.Now().Add(time.Hour)
	authority, _, err := access.NewAuthority(until)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(access.Principal{Role: trellisv1.Role_ROLE_NODE, Name: host[0]}, host, until)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	files := access.Files{
		Certificate: filepath.Join(folder, "certificate"), Key: filepath.Join(folder, "key"), Authority: "authority",
	}
	for path, content := range map[string][]byte{files.Certificate: pair.Certificate, files.Key: pair.Key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
