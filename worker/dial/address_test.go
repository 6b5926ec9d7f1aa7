package dial

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// What can't be an address is refused with what would be right: an outage that never ends is what it would look like.
func TestNodes(t *testing.T) {
	for _, test := range []struct {
		addresses string
		want      []string
		wrong     string
	}{
		{"host:7070", []string{"host:7070"}, ""},
		{":7070", []string{":7070"}, ""},
		{"[::1]:7070", []string{"[::1]:7070"}, ""},
		{"[fe80::1%eth0]:7070", []string{"[fe80::1%eth0]:7070"}, ""},
		{"node_1.intern:7070", []string{"node_1.intern:7070"}, ""},
		{"dns:7070", []string{"dns:7070"}, ""},
		{"a:1,b:2, c:3", []string{"a:1", "b:2", "c:3"}, ""},
		{"dns:///host:7070", []string{"dns:///host:7070"}, ""},
		{"dns://8.8.8.8/host:7070", []string{"dns://8.8.8.8/host:7070"}, ""},
		{"passthrough:///host:7070", []string{"passthrough:///host:7070"}, ""},
		{"unix:/run/trellis", []string{"unix:/run/trellis"}, ""},
		{"unix:///run/trellis", []string{"unix:///run/trellis"}, ""},
		{"unix:trellis.sock", []string{"unix:trellis.sock"}, ""},
		{"file:/shared/address", []string{"file:/shared/address"}, ""},
		{"file:///shared/address", []string{"file:///shared/address"}, ""},
		{"file:7070", []string{"file:7070"}, ""},
		{"file://shared/address", nil, `names no file: use file:/shared/trellis/address`},
		{"file:/shared/", nil, `names no file`},
		{"file:/shared/a?b", nil, `has one of the characters % ? # in its path`},
		{"a:1,file:/shared/address", nil, `names a resolver, which only a single address can`},
		{"", nil, "the address is empty: use host:7070"},
		{"host", nil, `"host" has no port: use host:7070`},
		{"host:", nil, `"host:" has no port: use host:7070`},
		{"host:0", nil, `"host:0" has port 0, and ports go from 1 to 65535`},
		{"host:65536", nil, `"host:65536" has port 65536, and ports go from 1 to 65535`},
		{"host:http", nil, `"host:http" has a port "http" that is not a number: use host:7070`},
		{"host:-1", nil, `"host:-1" has a port "-1" that is not a number`},
		{"a b:1", nil, `"a b:1" has a space in it`},
		{"::1", nil, `"::1" has no port, and an IPv6 address needs brackets: use [::1]:7070`},
		{"[::1]", nil, `"[::1]" has no port: use [::1]:7070`},
		{"host:7070:7071", nil, `"host:7070:7071" has too many colons`},
		{"http://host:7070", nil, `"http://host:7070" begins with http://: use host:7070`},
		{"https://host", nil, `"https://host" begins with https://: use host:7070`},
		{"grpc://host:7070/", nil, `begins with grpc://: use host:7070`},
		{"tcp://10.0.0.1:7070", nil, `use 10.0.0.1:7070`},
		{"http://user:secret@host:7070/path?q#f", nil, `use host:7070`},
		{"http://[::1]:7070", nil, `use [::1]:7070`},
		{"http://", nil, `use localhost:7070`},
		{"xds:///host:7070", nil, `begins with xds://: use host:7070`},
		{"DNS:///host:7070", nil, `names a resolver incorrectly: use dns:///host:7070`},
		{"host:7070/", nil, `"host:7070/" has a path: use host:7070`},
		{"host:7070/v1", nil, `has a path: use host:7070`},
		{"host/", nil, `has a path: use host:7070`},
		{"//host:7070", nil, `has a path: use host:7070`},
		{"me@host:7070", nil, `has a user's name: use host:7070`},
		{"dns://host:7070", nil, `"dns://host:7070" has too few slashes: use dns:///host:7070`},
		{"dns:///host", nil, `"dns:///host" names "host", which has no port: use host:7070`},
		{"dns:///host:7070/", nil, `names "host:7070/", which`},
		{"dns:///host:70700", nil, `which has port 70700, and ports go from 1 to 65535`},
		{"unix://", nil, `names no socket`},
		{"a:1,", nil, `"a:1," has a comma without an address beside it`},
		{"a:1,b", nil, `"b" has no port: use b:7070`},
		{"a:1;b:2", nil, `"a:1;b:2" has too many colons`},
		{"a;b:2", nil, `"a;b:2" has a host "a;b" that can't be one`},
		{"a:1,http://b:2", nil, `"http://b:2" begins with http://: use b:2`},
		{"a:1,b:2,a:1", nil, `"a:1" is in the list twice`},
		{"a:1,dns:///b:2", nil, `"dns:///b:2" names a resolver, which only a single address can`},
		{"dns:///a:1,b:2", nil, `"dns:///a:1" names a resolver`},
	} {
		got, err := Nodes(test.addresses)
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.addresses, got, test.want)
		}
		if test.wrong == "" && err != nil ||
			test.wrong != "" && (!errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%q: got error %v, want %q", test.addresses, err, test.wrong)
		}
		if _, _, targetErr := targetOf(test.addresses, First); (targetErr != nil) != (err != nil) {
			t.Errorf("%q: targetOf returned %v", test.addresses, targetErr)
		}
	}
}

// FuzzNodes: whatever is suggested in place of a wrong address is right.
func FuzzNodes(f *testing.F) {
	for _, text := range []string{"host", "http://host", "::1", "a@b/c", "//", ":", "http://a:b:c", "x:99999/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if problem := wrongHostPort(suggestion(text)); problem != "" {
			t.Errorf("%q: suggested %q, which %s", text, suggestion(text), problem)
		}
	})
}
