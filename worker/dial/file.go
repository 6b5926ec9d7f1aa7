package dial

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// fileScheme is the scheme of an address that is in a file, as file:/shared/trellis/address: that of a coordinator
// which a scheduler starts now on this machine and then on that one.
const fileScheme = "file"

// maxAddress bounds the size of a file with an address.
const maxAddress = 1 << 10

// wrongFile is like wrong, for an address in a file.
func wrongFile(target *url.URL) string {
	switch {
	case target.Host != "" || !filepath.IsAbs(target.Path) || strings.HasSuffix(target.Path, "/"):
		return "names no file: use file:/shared/trellis/address, with the whole path"
	case strings.ContainsAny(target.String(), "%?#"):
		return "has one of the characters % ? # in its path: use another path"
	}
	return ""
}

// fileOf returns the path of the file that has an address, or "" if the address is one itself.
func fileOf(address string) string {
	path, found := strings.CutPrefix(address, fileScheme+":/")
	if !found {
		return ""
	}
	return "/" + strings.TrimLeft(path, "/")
}

// Located returns the host:port that is in the file of an address such as file:/shared/trellis/address, now. Other
// addresses are returned as they are.
func Located(address string) (string, error) {
	path := fileOf(address)
	if path == "" {
		return address, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("find the coordinator's address: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxAddress))
	if err != nil {
		return "", fmt.Errorf("find the coordinator's address: %w", err)
	}
	found := strings.TrimSpace(string(text))
	if found == "" {
		return "", fmt.Errorf("find the coordinator's address: %s is empty: "+
			"a coordinator with --address-file %[1]s writes it", path)
	}
	if problem := wrongHostPort(found); problem != "" {
		return "", fmt.Errorf("find the coordinator's address: %s has %q, which %s", path, found, problem)
	}
	return found, nil
}

// locatedConn is a connection to an address that was in a file. The node's certificate is for that address.
type locatedConn struct {
	net.Conn
	address string
}
