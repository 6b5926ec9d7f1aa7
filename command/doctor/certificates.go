package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"time"

	"trellis/command/client"
	"trellis/worker/dial"
)

// soonExpired is how long before a certificate expires it should be renewed.
const soonExpired = 14 * 24 * time.Hour

// checkCertificates is about how long the certificates are valid that connections to the cluster need: the files that the
// client has, and those that nodes show.
func checkCertificates(ctx context.Context, c *client.Client) []finding {
	var findings []finding
	for _, path := range []string{c.Credentials.Authority, c.Credentials.Certificate} {
		if path == "" {
			continue
		}
		certificate, err := readCertificate(path)
		if err != nil {
			findings = append(findings, finding{"certificate " + path, fault, err.Error(), ""})
			continue
		}
		advice := "make it again: trellis certificates --help"
		findings = append(findings, checkExpiry("certificate "+path, certificate, advice))
	}
	nodes, err := dial.Nodes(c.Address)
	if err != nil || !c.Credentials.Encrypts(nodes) {
		return findings
	}
	for _, address := range nodes {
		address, err := dial.Located(address)
		if err != nil {
			continue
		}
		certificate, err := shown(ctx, address)
		if err != nil {
			continue // That it can't be reached is said elsewhere.
		}
		host, _, _ := net.SplitHostPort(address)
		findings = append(findings, checkExpiry("node "+address+" certificate", certificate,
			"make it again: trellis certificates node "+host+" --force; the node takes it when its file changes"))
	}
	return findings
}

func readCertificate(path string) (*x509.Certificate, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s has no certificate in PEM form", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// shown returns the certificate that a node shows. It is only looked at: nothing is said to the node.
func shown(ctx context.Context, address string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeWait)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var leaf *x509.Certificate
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: host, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // It may have expired, which is to be found out.
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf = state.PeerCertificates[0]
			return nil
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if leaf != nil {
		err = nil
	}
	if conn != nil {
		conn.Close()
	}
	return leaf, err
}

func checkExpiry(name string, certificate *x509.Certificate, advice string) finding {
	f := finding{Check: name, State: fine, Found: "valid until " + certificate.NotAfter.Local().Format(time.DateOnly)}
	switch now := time.Now(); {
	case now.After(certificate.NotAfter):
		f.State, f.Found, f.Advice = fault, "expired on "+certificate.NotAfter.Local().Format(time.DateOnly), advice
	case now.Before(certificate.NotBefore):
		f.State, f.Found = fault, "valid only from "+certificate.NotBefore.Local().Format(time.DateTime)
		f.Advice = "is this machine's clock right?"
	case now.Add(soonExpired).After(certificate.NotAfter):
		f.State, f.Advice = warning, advice
	}
	return f
}
