package cli

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"trellis/command/exit"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// ReadCertificate reads the certificate of --certificate with its key, and refuses what can't be used. The error is an
// exit.ErrUsage that says what would be right.
func ReadCertificate(path, key string) (*x509.Certificate, error) {
	if err := RefuseKey("certificate", path); err != nil {
		return nil, err
	}
	if key == "" {
		return nil, exit.Usagef("--certificate %s needs its key: add --key", path)
	}
	if _, err := os.Stat(key); errors.Is(err, fs.ErrNotExist) {
		return nil, exit.Usagef("there is no key %s of the certificate %s: set --key to it", key, path)
	}
	pair, err := tls.LoadX509KeyPair(path, key)
	if err != nil {
		return nil, exit.Usagef("read the certificate %s and its key %s: %s", path, key,
			strings.TrimPrefix(err.Error(), "tls: "))
	}
	certificate := pair.Leaf
	if certificate.IsCA {
		return nil, exit.Usagef("%s is the certificate of an authority: set --certificate to one that it has signed",
			path)
	}
	switch now := time.Now(); {
	case now.After(certificate.NotAfter):
		return nil, exit.Usagef("the certificate %s expired on %s: make it again: %s", path,
			certificate.NotAfter.Local().Format(time.DateOnly), makeAgain(certificate))
	case now.Before(certificate.NotBefore):
		return nil, exit.Usagef("the certificate %s is valid from %s: is this machine's clock right?", path,
			certificate.NotBefore.Local().Format(time.DateTime))
	}
	return certificate, nil
}

// makeAgain is the command that makes a certificate again.
func makeAgain(certificate *x509.Certificate) string {
	principal, err := access.FromCertificate(certificate)
	if err != nil {
		return "trellis certificates --help"
	}
	command := "trellis certificates "
	switch principal.Role {
	case trellisv1.Role_ROLE_NODE:
		hosts := certificate.DNSNames
		for _, ip := range certificate.IPAddresses {
			hosts = append(hosts, ip.String())
		}
		command += "node " + strings.Join(hosts, ",")
	case trellisv1.Role_ROLE_WORKER:
		command += "worker " + principal.Name
	default:
		command += fmt.Sprintf("client %s --role %s", principal.Name, access.RoleName(principal.Role))
	}
	return command + " --force"
}

// RefuseKey refuses a file that is a key where a certificate belongs.
func RefuseKey(flag, path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return exit.Usagef("there is no file %s: set --%s to the file of the certificate", path, flag)
	}
	if err != nil {
		return exit.Usagef("read the file of --%s: %w", flag, err)
	}
	block, _ := pem.Decode(content)
	if block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil
	}
	if name, ok := strings.CutSuffix(path, ".key"); ok {
		return exit.Usagef("%s is a key: set --%s to %s.crt", path, flag, name)
	}
	return exit.Usagef("%s is a key: set --%s to the file of its certificate", path, flag)
}
