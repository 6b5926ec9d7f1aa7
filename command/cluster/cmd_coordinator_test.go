package cluster

import (
	"testing"

	"trellis/coordinator"
	"trellis/coordinator/access"
)

// What a coordinator tells people to type is what they need: with TLS, also a token.
func TestConnectionFlags(t *testing.T) {
	secure := coordinator.Config{TLS: access.Files{Authority: "a.crt", Certificate: "node-a.crt", Key: "node-a.key"}}
	for _, test := range []struct {
		config        coordinator.Config
		address, want string
	}{
		{coordinator.Config{}, "127.0.0.1:7070", ""},
		{coordinator.Config{}, "a:7070", " --insecure"},
		{secure, "a:7070", " --authority a.crt --token-file TOKEN"},
	} {
		if got := connectionFlags(test.config, test.address); got != test.want {
			t.Errorf("%s: got %q, want %q", test.address, got, test.want)
		}
	}
}
