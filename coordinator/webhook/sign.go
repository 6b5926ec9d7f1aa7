package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// A secret is whsec_ and a key in base64, as the Standard Webhooks specification has it: its libraries take it as it is.
const (
	secretPrefix = "whsec_"
	keyBytes     = 32
	minKeyBytes  = 24
	maxKeyBytes  = 64
)

// NewSecret returns a new secret.
func NewSecret() string {
	key := make([]byte, keyBytes)
	rand.Read(key) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// Key returns the key in a secret. Its errors do not repeat the secret.
func Key(secret string) ([]byte, error) {
	encoded, prefixed := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !prefixed || err != nil || len(key) < minKeyBytes || len(key) > maxKeyBytes {
		return nil, fmt.Errorf("invalid secret: must be %s and %d to %d bytes in base64", secretPrefix, minKeyBytes,
			maxKeyBytes)
	}
	return key, nil
}

// sign returns the signature of a message: of its id, the time of the attempt in seconds, and its body.
func sign(key []byte, id, seconds string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + seconds + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
