package web

import (
	"net/http"
	"strings"
	"testing"
)

// A coordinator that asks nobody who they are answers for names that nobody else can point at it, so that no page of another
// site reads it under a name of its own.
func TestHosts(t *testing.T) {
	hosts := map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST": true, "a.localhost:1": true, "127.0.0.1:8080": true, "[::1]:80": true,
		"[fe80::1%25eth0]": true, "192.168.1.5:8080": true, "coordinator:8080": true, "known.example:8080": true,
		"evil.example": false, "evil.example:8080": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
		"evil.example.": false,
	}
	serve(t, Config{Hosts: []string{"known.example"}}, func(h *harness) {
		for host, own := range hosts {
			for _, path := range []string{"/", "/api", "/api/v1/nope"} {
				got, _ := h.send("GET", path, "", "Host", host)
				if (got != http.StatusMisdirectedRequest) != own {
					t.Errorf("%s for %s: %d", path, host, got)
				}
			}
		}
	})
	serve(t, Config{Authenticates: true}, func(h *harness) {
		if got, _ := h.send("GET", "/", "", "Host", "any.example"); got != 200 {
			t.Errorf("a coordinator that asks who calls: %d", got)
		}
	})
}

// A page of another site can change nothing, and hold nothing open. A link to here works.
func TestOtherSites(t *testing.T) {
	for _, one := range []struct {
		verb   string
		header []string
		fine   bool
	}{
		{"POST", nil, true}, // curl says nothing of sites.
		{"POST", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"POST", []string{"Sec-Fetch-Site", "none"}, true},
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, false},
		{"DELETE", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", []string{"Origin", "http://evil.example"}, false},
		{"POST", []string{"Origin", "null"}, false},
		{"POST", []string{"Origin", "http://localhost"}, true},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, false},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}, false},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, true},
	} {
		serve(t, Config{}, func(h *harness) {
			got, _ := h.send(one.verb, "/api/v1/studies", "{}", append(asJSON, one.header...)...)
			if (got != http.StatusForbidden) != one.fine {
				t.Errorf("%s with %v: %d", one.verb, one.header, got)
			}
		})
	}
}

// A session is a cookie that only this host gets, over TLS, and no script reads. What a request says itself goes before it.
func TestSession(t *testing.T) {
	serve(t, Config{Authenticates: true}, func(h *harness) {
		if got := h.problem("POST", sessionPath, `{"token":"bad"}`, asJSON...); got.Status != 401 {
			t.Errorf("a wrong token: %+v", got)
		}
		if got := h.problem("POST", sessionPath, `{"tokn":"good"}`, asJSON...); got.Status != 400 {
			t.Errorf("a wrong member: %+v", got)
		}
		if got := h.problem("POST", sessionPath, `{"token":"a\nb"}`, asJSON...); got.Status != 400 {
			t.Errorf("a token with a line break: %+v", got)
		}
		response := h.request("POST", sessionPath, `{"token":"good"}`, asJSON...)
		response.Body.Close()
		cookie := response.Header.Get("Set-Cookie")
		if want := "__Host-trellis=good; Path=/; HttpOnly; Secure; SameSite=Strict"; response.StatusCode != 200 || cookie != want {
			t.Fatalf("%d with the cookie %q, want %q", response.StatusCode, cookie, want)
		}
		for header, want := range map[string]int{"__Host-trellis=good": 200, "__Host-trellis=bad": 401, "": 401} {
			if got, text := h.send("GET", "/api/v1/whoami", "", "Cookie", header); got != want {
				t.Errorf("with the cookie %q: %d %s", header, got, text)
			}
		}
		if got, _ := h.send("GET", "/api/v1/whoami", "", "Cookie", "__Host-trellis=good", "Authorization", "Bearer bad"); got != 401 {
			t.Errorf("a wrong token with a good cookie: %d", got)
		}
		response = h.request("DELETE", sessionPath, "")
		response.Body.Close()
		if cookie := response.Header.Get("Set-Cookie"); response.StatusCode != 204 || !strings.Contains(cookie, "Max-Age=0") {
			t.Errorf("logging out: %d with the cookie %q", response.StatusCode, cookie)
		}
	})
	serve(t, Config{}, func(h *harness) {
		if got := h.problem("POST", sessionPath, `{"token":"good"}`, asJSON...); got.Status != 400 {
			t.Errorf("where nobody is asked: %+v", got)
		}
		if _, _ = h.send("GET", "/api/v1/whoami", "", "Cookie", "__Host-trellis=good"); len(h.authorization) > 0 {
			t.Errorf("where nobody is asked, a cookie became %v", h.authorization)
		}
	})
}
