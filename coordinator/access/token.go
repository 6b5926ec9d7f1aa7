package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"math/big"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A secret is trellis_ID_RANDOM: the prefix makes it easy to find for whoever looks for secrets that have leaked, and
// the id says which token to revoke then.
const (
	secretPrefix = "trellis_"
	idLetters    = "0123456789abcdefghijklmnopqrstuvwxyz"
	idLength     = 10
	// secretBytes is how much of a secret is random.
	secretBytes = 32
	// secretLength is how many digits of base 62 hold secretBytes.
	secretLength = 43
)

// NewSecret returns a new secret, the id in it, and the hash by which it is known. The secret has 256 random bits, so
// that a fast hash is enough.
func NewSecret() (secret, id string, hash []byte) {
	letters := make([]byte, idLength)
	for i := range letters {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(idLetters))))
		if err != nil {
			panic(err) // It never fails: see crypto/rand.
		}
		letters[i] = idLetters[n.Int64()]
	}
	random := make([]byte, secretBytes)
	rand.Read(random) // never fails
	digits := new(big.Int).SetBytes(random).Text(62)
	digits = strings.Repeat("0", secretLength-len(digits)) + digits
	id = string(letters)
	secret = secretPrefix + id + "_" + digits
	return secret, id, hashOf(secret)
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// SecretID returns the id in a secret. It is not ok if the text can't be a secret.
func SecretID(secret string) (id string, ok bool) {
	rest, prefixed := strings.CutPrefix(secret, secretPrefix)
	id, random, parted := strings.Cut(rest, "_")
	return id, prefixed && parted && len(id) == idLength && strings.Trim(id, idLetters) == "" &&
		len(random) == secretLength
}

// Matches says whether the secret is the token's.
func Matches(token *trellisv1.Token, secret string) bool {
	return subtle.ConstantTimeCompare(token.GetHash(), hashOf(secret)) == 1
}

// Expired says whether the token has expired by now.
func Expired(token *trellisv1.Token, now time.Time) bool {
	return token.GetExpireTime() != nil && !now.Before(token.GetExpireTime().AsTime())
}

// WithoutHash returns the token as clients may see it.
func WithoutHash(token *trellisv1.Token) *trellisv1.Token {
	if token == nil {
		return nil
	}
	return &trellisv1.Token{
		Id: token.GetId(), Principal: token.GetPrincipal(), CreateTime: token.GetCreateTime(),
		ExpireTime: token.GetExpireTime(), Creator: token.GetCreator(),
	}
}
