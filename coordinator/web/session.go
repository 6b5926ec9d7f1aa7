package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// sessionCookie has a browser's token. Its prefix makes browsers accept it only over TLS, from this host, for all of it.
	sessionCookie = "__Host-trellis"
	// sessionPath is where sessions begin and end.
	sessionPath = "/api/v1/session"
	// maxToken bounds a token in bytes, and what is read of a request that has one.
	maxToken = 4 << 10
)

// authorizations returns those of a request: its headers or, if it has none, the token of the page's session.
func (s *Server) authorizations(r *http.Request) []string {
	if given := r.Header.Values("Authorization"); len(given) > 0 || !s.config.Authenticates {
		return given
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil && cookie.Value != "" {
		return []string{"Bearer " + cookie.Value}
	}
	return nil
}

// logIn begins a session: the browser keeps a token in a cookie that scripts can't read and other sites can't send. The answer
// says whose it is.
func (s *Server) logIn(w http.ResponseWriter, r *http.Request) {
	if err := checkType(r, jsonType); err != nil {
		fail(w, err)
		return
	}
	if !s.config.Authenticates {
		refuse(w, http.StatusBadRequest, "this coordinator asks nobody who they are: there is nothing to log in to")
		return
	}
	var sent struct {
		Token string `json:"token"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxToken))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&sent); err != nil && !errors.Is(err, io.EOF) {
		refuse(w, http.StatusBadRequest, `the body must be {"token": "..."}: %v`, err)
		return
	}
	if sent.Token == "" || strings.ContainsFunc(sent.Token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		fail(w, fieldError("token", "missing or invalid token: create one with trellis tokens create"))
		return
	}
	// Only this says whose token it is, in the way in which every call asks.
	asking := r.Clone(r.Context())
	asking.Method, asking.Body, asking.ContentLength = http.MethodGet, http.NoBody, 0
	asking.Header = http.Header{"Authorization": {"Bearer " + sent.Token}}
	response := &trellisv1.WhoAmIResponse{}
	route, err := s.routeFor(trellisv1.AccessService_WhoAmI_FullMethodName)
	if err == nil {
		err = s.call(w, asking, route, nil, response)
	}
	if err != nil {
		fail(w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: sent.Token, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	s.respond(w, r, response)
}

// logOut ends a session. The token stays valid.
func (s *Server) logOut(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
