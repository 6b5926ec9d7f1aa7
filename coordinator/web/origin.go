package web

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
)

// securityHeaders are set on all responses. The page and the description load nothing from elsewhere, and nobody shows them
// within a page of theirs.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; " +
		"frame-ancestors 'none'; object-src 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// secured refuses what pages of other sites have a browser send. Their scripts can't read responses, because no response has
// headers that would allow it, but they could change something, or hold connections open.
func (s *Server) secured(handler http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		if !s.config.Authenticates && !s.isOwnHost(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, "this coordinator does not answer for the host %.100q: use an IP "+
				"address or localhost, or start it with --advertise", r.Host)
			return
		}
		err := protection.Check(r)
		if err != nil || r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			refuse(w, http.StatusForbidden, "the request comes from a page of another site: only this coordinator's own "+
				"page may use it from a browser")
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// isOwnHost says whether a request is for this coordinator by what its client calls it. A page of another site can have a
// browser send requests here under a name of its own whose address it changes to ours, and would then read the responses. It
// has no such power over addresses, nor over names without dots.
func (s *Server) isOwnHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if address, _, _ := strings.Cut(host, "%"); net.ParseIP(address) != nil {
		return true
	}
	return host != "" && !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") ||
		slices.Contains(s.config.Hosts, host)
}

type probeKey struct{}

// probed says whether a request only asks whether there is a call for it.
func probed(r *http.Request) bool {
	found, ok := r.Context().Value(probeKey{}).(*bool)
	if ok {
		*found = true
	}
	return ok
}

// unrouted answers a request that is for no call.
func (s *Server) unrouted(
	_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int,
) {
	if _, ok := r.Context().Value(probeKey{}).(*bool); ok {
		return
	}
	var allowed []string
	for _, verb := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		found := false
		probe := r.Clone(context.WithValue(r.Context(), probeKey{}, &found))
		probe.Method = verb
		if verb != r.Method {
			s.calls.ServeHTTP(w, probe)
		}
		if found {
			allowed = append(allowed, verb)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, http.StatusMethodNotAllowed, "%s is not allowed here: must be %s", r.Method, strings.Join(allowed, " or "))
		return
	}
	if httpStatus == http.StatusMethodNotAllowed {
		httpStatus = http.StatusNotFound
	}
	refuse(w, httpStatus, "there is no call at %.200q: see /api", r.URL.Path)
}
