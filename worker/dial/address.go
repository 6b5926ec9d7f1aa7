package dial

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ErrAddress means that a text is neither the address of a coordinator nor a list of such addresses.
var ErrAddress = errors.New("not an address of a coordinator")

// addressError is an ErrAddress that says what is wrong, without the text of ErrAddress.
type addressError string

func (e addressError) Error() string { return string(e) }

func (e addressError) Unwrap() error { return ErrAddress }

func refusef(format string, args ...any) error { return addressError(fmt.Sprintf(format, args...)) }

// defaultPort is the port in suggestions for an address without a port.
const defaultPort = "7070"

// resolvers are the schemes that gRPC resolves, and fileScheme. With an unknown or misspelled scheme, gRPC would look the address
// up as a host name again and again, as if the coordinator were away.
var resolvers = []string{"dns", "passthrough", "unix", "unix-abstract", fileScheme}

// Nodes splits a list of at least one address. Its error wraps ErrAddress, and says which address is wrong and what
// would be right.
func Nodes(addresses string) ([]string, error) {
	if strings.TrimSpace(addresses) == "" {
		return nil, refusef("the address is empty: use host:%s", defaultPort)
	}
	var nodes []string
	for node := range strings.SplitSeq(addresses, ",") {
		node = strings.TrimSpace(node)
		switch {
		case node == "":
			return nil, refusef("%q has a comma without an address beside it", addresses)
		case slices.Contains(nodes, node):
			return nil, refusef("%q is in the list twice", node)
		}
		if problem := wrong(node); problem != "" {
			return nil, refusef("%q %s", node, problem)
		}
		nodes = append(nodes, node)
	}
	if len(nodes) == 1 {
		return nodes, nil
	}
	if i := slices.IndexFunc(nodes, isTarget); i >= 0 {
		return nil, refusef("%q names a resolver, which only a single address can", nodes[i])
	}
	return nodes, nil
}

// isTarget reports whether a valid address names a resolver.
func isTarget(address string) bool {
	scheme, _, _ := strings.Cut(address, ":")
	_, rest, hasPath := strings.Cut(address, ":/")
	return slices.Contains(resolvers, scheme) && (hasPath && rest != "" || strings.HasPrefix(scheme, "unix"))
}

// wrong returns what is wrong with an address and what would be right, or "" if it is valid.
func wrong(address string) string {
	if strings.ContainsFunc(address, unicode.IsSpace) {
		return "has a space in it"
	}
	scheme, rest, hasScheme := strings.Cut(address, "://")
	switch {
	case isTarget(address):
		return wrongTarget(address)
	case hasScheme && slices.Contains(resolvers, strings.ToLower(scheme)):
		// Schemes of resolvers are in lower case, and the path begins with a third slash.
		return "names a resolver incorrectly: use dns:///" + suggestion(rest)
	case hasScheme:
		return fmt.Sprintf("begins with %s://: use %s", scheme, suggestion(rest))
	case strings.ContainsAny(address, "/?#"):
		return "has a path: use " + suggestion(address)
	case strings.Contains(address, "@"):
		return "has a user's name: use " + suggestion(address)
	}
	return wrongHostPort(address)
}

// wrongTarget is like wrong, for an address that names its resolver.
func wrongTarget(address string) string {
	target, err := url.Parse(address)
	if err != nil {
		return "can't be parsed: use dns:///host:" + defaultPort
	}
	path := strings.TrimPrefix(target.Path, "/")
	if target.Scheme == fileScheme {
		return wrongFile(target)
	}
	if strings.HasPrefix(target.Scheme, "unix") {
		if path == "" && target.Opaque == "" {
			return "names no socket: use unix:///run/trellis"
		}
		return ""
	}
	if path == "" {
		// In "dns://host:7070", host:7070 is the name server.
		return fmt.Sprintf("has too few slashes: use %s:///%s", target.Scheme, suggestion(target.Host))
	}
	if problem := wrongHostPort(path); problem != "" {
		return fmt.Sprintf("names %q, which %s", path, problem)
	}
	return ""
}

// wrongHostPort returns what is wrong with a host:port. The host may be empty, for this machine.
func wrongHostPort(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		var problem *net.AddrError
		if errors.As(err, &problem) && problem.Err == "too many colons in address" && net.ParseIP(address) != nil {
			return "has no port, and an IPv6 address needs brackets: use " + suggestion(address)
		}
		if strings.Count(address, ":") > 1 && !strings.HasPrefix(address, "[") {
			return "has too many colons: use host:" + defaultPort
		}
		return "has no port: use " + suggestion(address)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return strings.ContainsRune("\\;|<>\"'`(){}^=&*!$", r) }) {
		return fmt.Sprintf("has a host %q that can't be one", host)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case port == "":
		return "has no port: use " + suggestion(address)
	case err != nil && strings.Trim(port, "0123456789") != "":
		return fmt.Sprintf("has a port %q that is not a number: use %s", port, suggestion(address))
	case err != nil || number == 0:
		return fmt.Sprintf("has port %s, and ports go from 1 to 65535", port)
	}
	return ""
}

// suggestion returns the address that a text probably means.
func suggestion(text string) string {
	text, _, _ = strings.Cut(text, "?")
	text, _, _ = strings.Cut(text, "#")
	text, _, _ = strings.Cut(strings.TrimLeft(text, "/"), "/")
	text = text[strings.LastIndex(text, "@")+1:]
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.TrimSuffix(strings.Trim(text, "[]"), ":"), ""
	}
	switch {
	case host == "":
		host = "localhost"
	case net.ParseIP(host) == nil && strings.ContainsFunc(host, notOfNames):
		host = "host"
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(host, port)
}

// notOfNames reports whether a character can't be part of a host name.
func notOfNames(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
}
