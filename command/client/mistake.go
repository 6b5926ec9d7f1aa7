package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"trellis/command/exit"
	"trellis/coordinator/access"
	"trellis/worker/dial"
)

// CheckEncryption returns an error if the nodes at the addresses use TLS and a coordinator with the files does not, or
// the other way round: it can never join them. It waits until one of them is there, or ctx is done.
func CheckEncryption(ctx context.Context, addresses []string, files access.Files) error {
	c, err := New(strings.Join(addresses, ","), Credentials{
		Authority: files.Authority, Certificate: files.Certificate, Key: files.Key, Insecure: !files.Given(),
	}, io.Discard)
	if err != nil {
		// An address that is in the list twice, for example, which matters to nobody else.
		return nil
	}
	defer c.Close()
	var mistake *dial.Mistake
	if err := c.reach(ctx, 0, false); !errors.As(err, &mistake) {
		// There is nothing to say, or someone else says it.
		return nil
	}
	switch mistake.Kind {
	case dial.Encrypted:
		return exit.Usagef("--join: %w, and --certificate to this coordinator's", Explain(mistake, ""))
	case dial.NotEncrypted:
		return exit.Usagef("--join: %w", Explain(mistake, "--authority and --certificate"))
	default:
		return nil
	}
}

// Explain returns what an error means to a person and what would be right, if it is the mistake of a secure connection.
// Other errors it returns as they are. encryptedBy names what has the connection use TLS, such as --authority: empty if that is
// because the coordinator is on another machine.
func Explain(err error, encryptedBy string) error {
	if errors.Is(err, dial.ErrPlainToken) {
		return plainToken("the coordinator")
	}
	var mistake *dial.Mistake
	if !errors.As(err, &mistake) {
		return err
	}
	at := "the coordinator at " + mistake.Node
	// The reason is in English already, behind the names of libraries.
	why := mistake.Err.Error()
	for _, prefix := range []string{"remote error: ", "tls: ", "failed to verify certificate: ", "x509: "} {
		if _, after, found := strings.Cut(why, prefix); found {
			why = after
		}
	}
	switch mistake.Kind {
	case dial.NotEncrypted:
		insteadOf := ""
		if encryptedBy != "" {
			insteadOf = " instead of " + encryptedBy
		}
		return exit.Usagef("%s does not use TLS: to connect without encryption, use --insecure%s", at, insteadOf)
	case dial.Encrypted:
		return exit.Usagef("%s uses TLS: set --authority to the file with its authority's certificate", at)
	case dial.UnknownAuthority:
		return exit.Usagef("the certificate of %s is signed by an unknown authority: set --authority to the file with "+
			"its authority's certificate", at)
	case dial.Expired:
		return exit.Usagef("the certificate of %s is not valid now: %s: renew it with trellis certificates node",
			at, why)
	case dial.WrongName:
		return exit.Usagef("the certificate of %s is for %s: use this in --coordinator, or make another with trellis "+
			"certificates node", at, hostsOf(err))
	case dial.Refused:
		return exit.Usagef("%s refuses the certificate in --certificate: %s", at, why)
	default:
		return exit.Usagef("the certificate of %s is not a coordinator's: %s", at, why)
	}
}

// maxHosts is how many of a certificate's hosts an error names.
const maxHosts = 3

// HostsOf are the hosts that a certificate is for: the first of many.
func HostsOf(certificate *x509.Certificate) string {
	hosts := slices.Clone(certificate.DNSNames)
	for _, ip := range certificate.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	switch {
	case len(hosts) == 0:
		return "no host"
	case len(hosts) > maxHosts:
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:maxHosts], ", "), len(hosts)-maxHosts)
	}
	return strings.Join(hosts, ", ")
}

// hostsOf are the hosts that a certificate is for, which is for another one.
func hostsOf(err error) string {
	var wrong x509.HostnameError
	if !errors.As(err, &wrong) {
		return "another host"
	}
	return HostsOf(wrong.Certificate)
}

// plainToken refuses to send a token without encryption.
func plainToken(address string) error {
	return exit.Usagef("a token is sent over TLS only, and the connection to %s would have none: set --authority to the file "+
		"with the certificate of the coordinator's authority, or give no token", address)
}
