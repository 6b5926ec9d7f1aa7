package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// Others are told the name that a coordinator was told to listen on, if its certificate is not for what became of the name.
func TestCertifiedAddress(t *testing.T) {
	until := time.Now().Add(time.Hour)
	authority, _, err := access.NewAuthority(until)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(host ...string) access.Files {
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
