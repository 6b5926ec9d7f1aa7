package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/klauspost/compress/gzhttp"
)

const (
	// headerTime and bodyTime are how long a request's headers and its body may take, and idleTime how long a connection may
	// be open without a request.
	headerTime = 10 * time.Second
	bodyTime   = 30 * time.Second
	idleTime   = 2 * time.Minute
	// writeTime is how long a client may take nothing of a response.
	writeTime = time.Minute
	// maxHeaders bounds a request's headers in bytes.
	maxHeaders = 32 << 10
	// maxStreams bounds the concurrent requests of one HTTP/2 connection.
	maxStreams = 64
	// compressFrom is the smallest response in bytes that is compressed.
	compressFrom = 1 << 10
	// shutdownTime is how long pending requests may take to end when the server stops.
	shutdownTime = 2 * time.Second
)

// Config configures a Server.
type Config struct {
	// Connect hands the gRPC server a connection, inner, on behalf of an HTTP connection, outer. It may wait. Required.
	Connect func(inner, outer net.Conn)
	// Authenticates says that each call needs a credential. Without, requests are accepted for Hosts only.
	Authenticates bool
	// Hosts are the names at which people reach this node, besides localhost and IP addresses.
	Hosts []string
	// MaxBody bounds a body of JSON in bytes. Required.
	MaxBody int64
	// Page has the files of the web page, whose entry is index.html. Default: there is none.
	Page fs.FS
	// Logger logs what is wrong with connections. Default: nothing is logged.
	Logger *slog.Logger
}

// Server serves the API over HTTP.
type Server struct {
	config Config
	routes []Route
	calls  *runtime.ServeMux
	// decode has as many items as large bodies are being decoded.
	decode chan struct{}
	shared shared
	packed packed
	server *http.Server
}

// New returns a server.
func New(config Config) (*Server, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	routes, err := Routes()
	if err != nil {
		return nil, fmt.Errorf("read the paths of calls: %w", err)
	}
	s := &Server{config: config, routes: routes, decode: make(chan struct{}, decoding), packed: newPacked()}
	if err := s.route(); err != nil {
		return nil, err
	}
	handler, err := s.handler()
	if err != nil {
		return nil, err
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	// Connections are decrypted below this server, so that those with HTTP/2 look as if they had no encryption.
	protocols.SetUnencryptedHTTP2(true)
	s.server = &http.Server{
		Handler: handler, Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaders,
		ConnContext: withConn, ErrorLog: slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Serve serves the connections of a listener until Stop is called. Then it returns nil.
func (s *Server) Serve(from net.Listener) error {
	if err := s.server.Serve(listener{from, s.config.Connect}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %v: %w", from.Addr(), err)
	}
	return nil
}

// Stop lets pending requests end for a moment, and closes all connections. Streams end with the gRPC server's.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
}

// route registers the calls. The later of two whose patterns match is served, so those with verbs come last: a study's name
// could end in ":pause".
func (s *Server) route() error {
	s.calls = runtime.NewServeMux(
		runtime.WithDisablePathLengthFallback(),
		// The path is unescaped already.
		runtime.WithUnescapingMode(runtime.UnescapingModeLegacy),
		runtime.WithRoutingErrorHandler(s.unrouted),
		runtime.WithErrorHandler(func(
			_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error,
		) {
			refuse(w, http.StatusBadRequest, "%v", err)
		}),
	)
	for verb, serve := range map[string]http.HandlerFunc{http.MethodPost: s.logIn, http.MethodDelete: s.logOut} {
		if err := s.calls.HandlePath(verb, sessionPath, handled(serve)); err != nil {
			return fmt.Errorf("serve %s %s: %w", verb, sessionPath, err)
		}
	}
	for _, verbs := range []bool{false, true} {
		for _, one := range s.routes {
			if one.hasVerb() != verbs {
				continue
			}
			if err := s.calls.HandlePath(one.Verb, one.Path, s.serve(one)); err != nil {
				return fmt.Errorf("serve %s %s: %w", one.Verb, one.Path, err)
			}
			if one.Verb == http.MethodGet && !one.descriptor.IsStreamingServer() {
				if err := s.calls.HandlePath(http.MethodHead, one.Path, s.serve(one)); err != nil {
					return fmt.Errorf("serve HEAD %s: %w", one.Path, err)
				}
			}
		}
	}
	return nil
}

// serve returns what serves a call.
func (s *Server) serve(route Route) runtime.HandlerFunc {
	serve := s.unary
	switch {
	case route.descriptor.IsStreamingClient():
		serve = s.upload
	case route.isFile():
		serve = s.download
	case route.descriptor.IsStreamingServer():
		serve = s.stream
	}
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		switch {
		case s.isOther(route, r.URL.Path):
			s.unrouted(r.Context(), nil, nil, w, r, http.StatusMethodNotAllowed)
		case !probed(r):
			serve(w, r, route, path)
		}
	}
}

// handled returns what serves a path that is no call's.
func handled(serve http.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		if !probed(r) {
			serve(w, r)
		}
	}
}

// handler returns what serves all requests.
func (s *Server) handler() (http.Handler, error) {
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.ContentTypes([]string{
		"application/json", problemType, "text/html", "text/css", "text/javascript", "image/svg+xml",
	}))
	if err != nil {
		return nil, fmt.Errorf("make the compression: %w", err)
	}
	all := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1" || strings.HasPrefix(r.URL.Path, "/api/v1/") {
			s.calls.ServeHTTP(w, r)
			return
		}
		s.page(w, r)
	})
	return paced(s.recovered(s.secured(compress(all)))), nil
}

// recovered answers a request whose handling panicked.
func (s *Server) recovered(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so.
				panic(cause)
			}
			s.config.Logger.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", cause)
			refuse(w, http.StatusInternalServerError, "internal error in the coordinator: see its log")
		}()
		handler.ServeHTTP(w, r)
	})
}

// piece is how many bytes of a response are written at a time.
const piece = 64 << 10

// paced ends the connection of a client that takes nothing of a response for too long.
func paced(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(&pacedWriter{w, http.NewResponseController(w)}, r)
	})
}

type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Unwrap returns what net/http knows more of.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader writes the head of a response.
func (w *pacedWriter) WriteHeader(httpStatus int) {
	w.extend()
	w.ResponseWriter.WriteHeader(httpStatus)
}

// Write writes a body piece by piece, as long as the client takes each in time.
func (w *pacedWriter) Write(body []byte) (written int, err error) {
	for len(body) > 0 && err == nil {
		w.extend()
		var n int
		n, err = w.ResponseWriter.Write(body[:min(len(body), piece)])
		written, body = written+n, body[n:]
	}
	return written, err
}

// Flush sends what has been written.
func (w *pacedWriter) Flush() {
	w.extend()
	_ = w.control.Flush()
}

func (w *pacedWriter) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(writeTime)) }
