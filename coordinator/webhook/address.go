package webhook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
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
	return errors.New("invalid url: http is not encrypted: use https, or set allow_http (--allow-http on the command line)")
}

// CheckAuthority returns what is wrong with a hook's authority, or nil.
func CheckAuthority(pem string) error {
	if pem != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		return errors.New("invalid authority: there is no certificate in PEM")
	}
	return nil
}

// onlyTo says to which addresses a hook's requests may go, once its host's name is resolved: to none where clouds answer
// with credentials, and with http to this machine only, if the hook may not go elsewhere unencrypted.
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
		if forbidden(ip) || local && !ip.IsLoopback() {
			return fmt.Errorf("hooks are not sent to %s", ip)
		}
		return nil
	}
}

// credentials are where clouds answer with credentials, beside addresses of the link.
var credentials = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),          // Amazon: ::254, and ::23 for pods.
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google.
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle.
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba.
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure.
}

// translated are the prefixes of IPv6 below which IPv4 addresses are, with the byte at which one begins. Of the prefix
// that networks choose for their own NAT64, only the usual form is known.
var translated = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2}, // 6to4.
	{netip.MustParsePrefix("::/96"), 12},
}

// forbidden says whether nothing is sent to an address, also in another form of it.
func forbidden(ip netip.Addr) bool {
	ip = ip.WithZone("") // No prefix contains an address with one.
	if ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		slices.ContainsFunc(credentials, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return true
	}
	for _, its := range translated {
		if its.prefix.Contains(ip) {
			all := ip.As16()
			return forbidden(netip.AddrFrom4([4]byte(all[its.at:])))
		}
	}
	return false
}
