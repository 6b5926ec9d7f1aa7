package output

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// A feed writes what comes at once, in each format. Columns of its table only become wider.
func TestFeed(t *testing.T) {
	columns := []Column[*trellisv1.Principal]{
		Both("role", func(p *trellisv1.Principal) string { return EnumWord(p.GetRole()) }),
		Both("name", (*trellisv1.Principal).GetName),
	}
	for format, want := range map[Format][]string{
		Table: {"ROLE    NAME\nviewer  a\nadmin   b\n", "", "node    c\n", "submitter  d\n", "node       c\n"},
		CSV:   {"role,name\nviewer,a\nadmin,b\n", "", "node,c\n", "submitter,d\n", "node,c\n"},
		JSON: {
			"{\"role\":\"viewer\",\"name\":\"a\"}\n{\"role\":\"admin\",\"name\":\"b\"}\n", "",
			"{\"role\":\"node\",\"name\":\"c\"}\n", "{\"role\":\"submitter\",\"name\":\"d\"}\n",
			"{\"role\":\"node\",\"name\":\"c\"}\n",
		},
		YAML: {
			"events:\n- role: viewer\n  name: a\n- role: admin\n  name: b\n", "", "- role: node\n  name: c\n",
			"- role: submitter\n  name: d\n", "- role: node\n  name: c\n",
		},
	} {
		var written strings.Builder
		feed := NewFeed(&written, format, "events", columns)
		for i, principals := range [][]*trellisv1.Principal{
			{principal(trellisv1.Role_ROLE_VIEWER, "a"), principal(trellisv1.Role_ROLE_ADMIN, "b")},
			nil,
			{principal(trellisv1.Role_ROLE_NODE, "c")},
			{principal(trellisv1.Role_ROLE_SUBMITTER, "d")},
			{principal(trellisv1.Role_ROLE_NODE, "c")},
		} {
			written.Reset()
			if err := feed.Add(principals...); err != nil {
				t.Fatal(err)
			}
			if got := written.String(); got != want[i] {
				t.Errorf("%s, part %d: got\n%s\nwant\n%s", format, i, got, want[i])
			}
		}
	}
}

func principal(role trellisv1.Role, name string) *trellisv1.Principal {
	return &trellisv1.Principal{Role: role, Name: name}
}
