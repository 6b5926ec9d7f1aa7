package access

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Secured is a connection that may be one over TLS.
type Secured interface {
	net.Conn
	// TLS is the state of the connection after its handshake, nil if it is not encrypted.
	TLS() *tls.ConnectionState
}

// ServerCredentials are those of a gRPC server whose connections are encrypted already when it gets them.
func ServerCredentials() credentials.TransportCredentials { return handshaken{} }

// handshaken tells gRPC about handshakes that are over.
type handshaken struct{}

var _ credentials.TransportCredentials = handshaken{}

// ServerHandshake says what the handshake found out.
func (handshaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(Secured)
	if !ok || secured.TLS() == nil {
		return nil, nil, errors.New("the connection is not encrypted")
	}
	return conn, credentials.TLSInfo{
		State:          *secured.TLS(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake fails: these are a server's.
func (handshaken) ClientHandshake(
	context.Context, string, net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Info says that this is TLS.
func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns the same.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// OverrideServerName does nothing, as servers have no use for it.
func (handshaken) OverrideServerName(string) error { return nil }

// FromPeer returns the principal of the certificate of a call's connection, if there is one. The error says what is wrong
// with the certificate.
func FromPeer(ctx context.Context) (principal Principal, given bool, err error) {
	caller, _ := peer.FromContext(ctx)
	if caller == nil {
		return Principal{}, false, nil
	}
	info, ok := caller.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Principal{}, false, nil
	}
	certificate := info.State.PeerCertificates[0]
	if time.Now().After(certificate.NotAfter) {
		return Principal{}, true, fmt.Errorf("the certificate expired at %v", certificate.NotAfter)
	}
	principal, err = FromCertificate(certificate)
	return principal, true, err
}
