package web

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// Every path is described, and no other.
func TestAllIsDescribed(t *testing.T) {
	var d struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	for path, operations := range d.Paths {
		for verb, operation := range operations {
			described[strings.ToUpper(verb)+" "+path] = operation.OperationID
		}
	}
	routes, err := Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range routes {
		where := route.Verb + " " + route.Path
		if name := described[where]; !strings.HasSuffix(route.Method, "/"+name) || name == "" {
			t.Errorf("%s is described as %q, and is %s", where, name, route.Method)
		}
		delete(described, where)
	}
	for where, name := range described {
		if name != "LogIn" && name != "LogOut" {
			t.Errorf("%s, %s, is described and not served", where, name)
		}
	}
}

var (
	link   = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	anchor = regexp.MustCompile(`id="([^"]*)"`)
)

// The browsable description has every call, its links lead somewhere, and it loads nothing from elsewhere.
func TestBrowsableDescription(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		got, page := h.send("GET", "/api", "")
		if got != 200 || strings.Contains(page, "ZgotmplZ") {
			t.Fatalf("%d %.200s", got, page)
		}
		anchors := map[string]bool{}
		for _, found := range anchor.FindAllStringSubmatch(page, -1) {
			if anchors[found[1]] {
				t.Errorf("two places are called %s", found[1])
			}
			anchors[found[1]] = true
		}
		routes, err := Routes()
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range routes {
			if !anchors[string(route.descriptor.Name())] {
				t.Errorf("%s is missing", route.Method)
			}
		}
		for _, found := range link.FindAllStringSubmatch(page, -1) {
			if to, inside := strings.CutPrefix(found[1], "#"); inside {
				if !anchors[to] {
					t.Errorf("a link to %s leads nowhere", to)
				}
				continue
			}
			if got, _ := h.send("GET", found[1], ""); got != 200 {
				t.Errorf("%s: %d", found[1], got)
			}
		}
		if strings.Contains(page, "<script") || strings.Contains(page, "style=") || strings.Contains(page, "<style") {
			t.Error("it has what the content security policy forbids")
		}
	})
}

// The page's views have addresses that are no files; what would be a file is one or is missing.
func TestPage(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		for path, want := range map[string]string{
			"/": "<p>the page", "/studies/x": "<p>the page", "/studies/x/runs/1": "<p>the page", "/assets/page-1.js": "page()",
		} {
			if got, text := h.send("GET", path, ""); got != 200 || text != want {
				t.Errorf("%s: %d %q", path, got, text)
			}
		}
		for _, path := range []string{"/assets/none.js", "/favicon.ico", "/api/none", "/../go.mod"} {
			if got := h.problem("GET", path, ""); got.Status != 404 {
				t.Errorf("%s: %+v", path, got)
			}
		}
		if got := h.problem("POST", "/", ""); got.Status != 405 {
			t.Errorf("POST /: %+v", got)
		}
		response := h.request("GET", "/assets/page-1.js", "")
		response.Body.Close()
		if got := response.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("an asset is kept as %q", got)
		}
	})
}
