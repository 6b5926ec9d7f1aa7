package node

import (
	"net"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

// CheckFlags says which of --authority, --certificate and --key is missing, or is not what belongs there.
func CheckFlags(files access.Files) error {
	switch {
	case !files.Given():
		return nil
	case files.Certificate == "":
		return exit.Usagef("add --certificate with this coordinator's certificate, to use TLS: make one with trellis " +
			"certificates node HOST")
	case files.Authority == "":
		return exit.Usagef("add --authority with the certificate of the authority that signs those of nodes, workers " +
			"and people, to use TLS")
	case files.Key == "":
		_, err := cli.ReadCertificate(files.Certificate, files.Key)
		return err
	}
	if err := cli.RefuseKey("authority", files.Authority); err != nil {
		return err
	}
	certificate, err := cli.ReadCertificate(files.Certificate, files.Key)
	if err != nil || len(certificate.URIs) == 0 { // Certificates of public authorities name nobody.
		return err
	}
	if principal, err := access.FromCertificate(certificate); err != nil || principal.Role != trellisv1.Role_ROLE_NODE {
		return exit.Usagef("%s is not a node's certificate, but that of %v: make one with trellis certificates node HOST",
			files.Certificate, certificate.URIs[0])
	}
	return nil
}

// certifiedAddress is the address that others are told, given the one to listen on and what became of it: the host of the first
// was a name perhaps, and the certificate may be for that name alone.
func certifiedAddress(files access.Files, listen, address string) string {
	if !files.Given() {
		return address
	}
	certificate, err := cli.ReadCertificate(files.Certificate, files.Key)
	if err != nil {
		return address // checkCertificate says so.
	}
	name, _, err := net.SplitHostPort(listen)
	if err != nil {
		return address
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || certificate.VerifyHostname(host) == nil || certificate.VerifyHostname(name) != nil {
		return address
	}
	return net.JoinHostPort(name, port)
}

// checkCertificate says what is wrong with the certificate of a coordinator that others reach at an address, and what
// would be right.
func checkCertificate(files access.Files, advertised string) error {
	if !files.Given() {
		return nil
	}
	certificate, err := cli.ReadCertificate(files.Certificate, files.Key)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(advertised)
	if err != nil {
		return exit.Usagef("--advertise: %w", err)
	}
	if certificate.VerifyHostname(host) != nil {
		return exit.Usagef("others are told to reach this coordinator at %s, but its certificate %s is for %s: set "+
			"--advertise to an address of the certificate, or make another: trellis certificates node %s", advertised,
			files.Certificate, client.HostsOf(certificate), host)
	}
	return nil
}
