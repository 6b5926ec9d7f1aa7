package dial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// ErrPlainToken means that a token would be sent without encryption.
var ErrPlainToken = errors.New("a token is sent over TLS only")

// maxToken bounds a token in bytes: what is longer is another file.
const maxToken = 4096

// token returns what calls are authorized with, or nil.
func (c Credentials) token() credentials.PerRPCCredentials {
	if c.Token == "" && c.TokenFile == "" {
		return nil
	}
	return bearer{c}
}

// ReadToken returns the token, from its file if there is one. It is empty if none is given.
func (c Credentials) ReadToken() (string, error) {
	token, from := c.Token, "the token"
	if c.TokenFile != "" {
		content, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", fmt.Errorf("read the token: %w", err)
		}
		token, from = string(content), c.TokenFile
	}
	token = strings.TrimSpace(token)
	invalid := strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
	if invalid || len(token) > maxToken || token == "" && from == c.TokenFile {
		return "", fmt.Errorf("%s has no token: it must be one line of letters, digits and underscores", from)
	}
	return token, nil
}

// bearer adds a token to each call. A file is read each time, so that a token can be replaced while it is used.
type bearer struct{ from Credentials }

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := b.from.ReadToken()
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return true }
