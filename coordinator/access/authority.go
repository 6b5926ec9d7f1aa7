package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// clockSkew is how much earlier than now certificates are valid, for machines whose clocks are behind.
const clockSkew = 5 * time.Minute

// Pair is a certificate and its private key, as PEM.
type Pair struct{ Certificate, Key []byte }

// Authority signs the certificates of principals.
type Authority struct {
	pair tls.Certificate
}

// NewAuthority makes an authority with a new key, valid until a time.
func NewAuthority(until time.Time) (*Authority, Pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Trellis authority", SerialNumber: rand.Text()},
		NotAfter:              until,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	pair, err := sign(template, nil)
	if err != nil {
		return nil, Pair{}, err
	}
	authority, err := ReadAuthority(pair)
	return authority, pair, err
}

// ReadAuthority returns the authority of a certificate and its key.
func ReadAuthority(pair Pair) (*Authority, error) {
	parsed, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return nil, err
	}
	if !parsed.Leaf.IsCA {
		return nil, errors.New("the certificate is not an authority's")
	}
	return &Authority{parsed}, nil
}

// Expires is until when the authority's certificate is valid.
func (a *Authority) Expires() time.Time { return a.pair.Leaf.NotAfter }

// Issue makes a certificate of a principal with a new key, valid until a time, but not longer than the authority's own. A
// node's certificate is for the hosts at which it is reached: names and IP addresses.
func (a *Authority) Issue(principal Principal, hosts []string, until time.Time) (Pair, error) {
	if err := principal.Validate(); err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: principal.Name},
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if a.Expires().Before(until) {
		template.NotAfter = a.Expires()
	}
	template.URIs = append(template.URIs, principal.URI())
	if principal.Role == trellisv1.Role_ROLE_NODE {
		// Nobody else's certificate is good for a server.
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		for _, host := range hosts {
			if ip := net.ParseIP(host); ip != nil {
				template.IPAddresses = append(template.IPAddresses, ip)
			} else {
				template.DNSNames = append(template.DNSNames, host)
			}
		}
	}
	return sign(template, a)
}

// sign signs a certificate with a new key. Without an authority, it signs itself.
func sign(template *x509.Certificate, authority *Authority) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-clockSkew)
	}
	parent, signer := template, any(key)
	if authority != nil {
		parent, signer = authority.pair.Leaf, authority.pair.PrivateKey
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode the key: %w", err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}, nil
}
