package web

import (
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// page serves the web page. Its views have addresses of their own, which are no files: the page itself reads them.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "%s is not allowed here: must be GET", r.Method)
		return
	}
	if s.serveDescription(w, r) {
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if strings.HasPrefix(name, "api/") {
		refuse(w, http.StatusNotFound, "there is no call at %.200q: see /api", r.URL.Path)
		return
	}
	if s.config.Page == nil {
		refuse(w, http.StatusNotFound, "this coordinator has no web page: its API is at /api")
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	if info, err := fs.Stat(s.config.Page, name); name == "" || err != nil || info.IsDir() {
		if path.Ext(name) != "" {
			refuse(w, http.StatusNotFound, "there is no file %.200q", r.URL.Path)
			return
		}
		name = "index.html"
	}
	if strings.HasPrefix(name, "assets/") {
		// Their names have the hashes of their content.
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeFileFS(w, r, s.config.Page, name)
}
