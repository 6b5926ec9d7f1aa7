package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/coordinator/access"
)

// TokenVariable has a token itself. There is no flag for that: other users of a machine see command lines.
const TokenVariable = "TRELLIS_TOKEN"

// CredentialFlags adds --authority, --certificate, --key and --token-file.
func CredentialFlags(cmd *cobra.Command, credentials *client.Credentials) {
	cmd.Flags().StringVar(&credentials.Authority, "authority", "",
		"`file` with the certificate of the coordinator's authority (default the system's authorities)")
	cmd.Flags().StringVar(&credentials.Certificate, "certificate", "", "`file` with your certificate")
	cmd.Flags().StringVar(&credentials.Key, "key", "", KeyUsage)
	cmd.Flags().StringVar(&credentials.TokenFile, "token-file", "",
		"`file` with your token, instead of a certificate (default the token in "+TokenVariable+")")
}

// KeyUsage is the text of --key.
const KeyUsage = "`file` with the key of --certificate, in the same folder (default beside it, ending in .key instead of " +
	".crt)"

// CompleteKey names the key of a certificate where --key does not.
func CompleteKey(certificate string, key *string) {
	if name, ok := strings.CutSuffix(certificate, ".crt"); ok && *key == "" {
		*key = name + ".key"
	}
}

// CompleteCredentials fills in what the flags of CredentialFlags leave out: the key, and the token of TokenVariable. Of
// a certificate and a token from different origins it leaves one: a flag wins over a variable, a variable over the
// file. With --insecure on the command line, TokenVariable is left out: no token is sent without encryption. It returns
// where the token comes from, or nothing if none is used.
func CompleteCredentials(cmd *cobra.Command, credentials *client.Credentials) (tokenFrom string, err error) {
	certificate := configuration.OriginOf(cmd, "certificate")
	if certificate > configuration.OriginOf(cmd, "key") {
		// A key from elsewhere belongs to another certificate.
		credentials.Key = ""
	}
	CompleteKey(credentials.Certificate, &credentials.Key)
	token := configuration.OriginOf(cmd, "token-file")
	tokenFrom = credentials.TokenFile
	switch token {
	case configuration.FromVariable:
		tokenFrom += ", as " + configuration.Variable("token-file") + " says"
	case configuration.FromFile:
		tokenFrom += ", as " + configuration.Path(cmd) + " says"
	}
	plain := credentials.Insecure && configuration.Given(cmd, "insecure")
	if text := os.Getenv(TokenVariable); text != "" && token <= configuration.FromVariable && !plain {
		credentials.Token, credentials.TokenFile = text, ""
		token, tokenFrom = configuration.FromVariable, TokenVariable
	}
	if credentials.Authority != "" {
		if err := RefuseKey("authority", credentials.Authority); err != nil {
			return "", err
		}
	}
	hasToken, hasCertificate := credentials.Token+credentials.TokenFile != "", credentials.Certificate != ""
	switch {
	case !hasToken && hasCertificate:
		_, err := ReadCertificate(credentials.Certificate, credentials.Key)
		return "", err
	case !hasToken:
		return "", nil
	case hasCertificate && token == configuration.FromFlag && certificate == configuration.FromFlag:
		return "", exit.Usagef("use one of --token-file and --certificate: each of them says who you are")
	case hasCertificate && certificate > token:
		credentials.Token, credentials.TokenFile = "", ""
		_, err := ReadCertificate(credentials.Certificate, credentials.Key)
		return "", err
	case hasCertificate && certificate < token:
		credentials.Certificate, credentials.Key = "", ""
	}
	return tokenFrom, checkToken(*credentials, tokenFrom)
}

// checkToken refuses what can't be a token, and says what would be right. It never shows a token.
func checkToken(credentials client.Credentials, from string) error {
	if file := strings.TrimSpace(credentials.TokenFile); IsSecret(file) {
		return exit.Usagef("the value of --token-file is a token, not a file: write the token to a file that only you "+
			"can read and name that, or set %s", TokenVariable)
	}
	token, err := credentials.ReadToken()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exit.Usagef("there is no token file %s: set --token-file to the file of your token, or log in: "+
			"trellis login --help", from)
	case err != nil:
		return exit.Usagef("%w", err)
	case !IsSecret(token):
		return exit.Usagef("%s has no token: a token is one line that begins with trellis_, as trellis tokens create "+
			"writes it", from)
	}
	return nil
}

// IsSecret says whether a text has the form of a token.
func IsSecret(text string) bool {
	_, ok := access.SecretID(text)
	return ok
}

// NameToken adds to the refusal of a token where that comes from.
func NameToken(err error, from string) error {
	if from == "" || status.Code(err) != codes.Unauthenticated {
		return err
	}
	return fmt.Errorf("%w; the token is from %s", err, from)
}
