package dial

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token's file is read for each call, so that it can be replaced; what is no token is refused before it is sent.
func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	from := Credentials{Token: "other", TokenFile: path}
	for _, test := range []struct{ content, want, wrong string }{
		{"trellis_a_b\n", "Bearer trellis_a_b", ""},
		{"  trellis_c_d", "Bearer trellis_c_d", ""},
		{"", "", "has no token"},
		{"name: x\nmodel: y\n", "", "has no token"},
		{strings.Repeat("x", maxToken+1), "", "has no token"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		metadata, err := from.token().GetRequestMetadata(t.Context())
		if (err != nil) != (test.wrong != "") || err != nil && !strings.Contains(err.Error(), test.wrong) ||
			metadata["authorization"] != test.want {
			t.Errorf("%.20q: %v, %v", test.content, metadata, err)
		}
	}
	if err := from.Validate(); err == nil {
		t.Error("a file without a token is valid")
	}
}

// Without encryption, whoever is on the way would have the token.
func TestTokensAreNotSentWithoutEncryption(t *testing.T) {
	for _, plain := range []Credentials{{}, {Insecure: true}} {
		plain.Token = "trellis_a_b"
		if _, err := NewClient("127.0.0.1:1", First, plain); !errors.Is(err, ErrPlainToken) {
			t.Errorf("%+v: %v", plain, err)
		}
	}
	conn, err := NewClient("host:1", First, Credentials{Token: "trellis_a_b"})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
