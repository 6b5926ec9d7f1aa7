package webhook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	trellisv1 "trellis/proto/trellis/v1"
)

// CheckURL returns what is wrong with a hook's URL, or nil: it is https, or http to this machine or with leave.
func CheckURL(text string, allowHTTP bool) error {
	at, err := url.Parse(text)
	switch {
	case err != nil || at.Hostname() == "" || at.Opaque != "":
		return errors.New("invalid url: must be https://HOST/PATH")
	case at.User != nil:
		return errors.New("invalid url: must have no user and password, which lists would show")
	case at.Fragment != "":
		return errors.New("invalid url: must have no fragment")
	case at.Scheme == "https":
		return nil
	case at.Scheme != "http":
		return fmt.Errorf("invalid url: the scheme must be https, not %q", at.Scheme)
	}
	ip, err := netip.ParseAddr(at.Hostname())
	if allowHTTP || strings.EqualFold(at.Hostname(), "localhost") || err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return errors.New("invalid url: http is not encrypted: use https, or allow http")
}

// CheckAuthority returns what is wrong with a hook's authority, or nil.
func CheckAuthority(pem string) error {
	if pem != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		return errors.New("invalid authority: there is no certificate in PEM")
	}
	return nil
}

// onlyTo says to which addresses a hook's requests may go, once its host's name is resolved: to none of the link, where clouds
// answer with credentials, and with http to this machine only, if the hook may not go elsewhere unencrypted.
func onlyTo(h *trellisv1.Hook) func(network, address string, _ syscall.RawConn) error {
	local := strings.HasPrefix(strings.ToLower(h.GetUrl()), "http:") && !h.GetAllowHttp()
	return func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return err
		}
		ip = ip.Unmap()
		if ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || local && !ip.IsLoopback() {
			return fmt.Errorf("hooks are not sent to %s", ip)
		}
		return nil
	}
}
