// Package web serves the API as JSON over HTTP, its description, and the web page.
//
// It checks nobody's access. A request becomes a gRPC call to this node's own server: each HTTP connection has a connection in
// memory to it, which the server sees as coming from the same peer, with the same certificate. So calls over HTTP are
// authenticated, limited, logged and forwarded by what does so for gRPC, and a request is refused before its body is read.
// The paths are the google.api.http annotations in proto/. A call without one is not served.
//
//	server.go      the listener's connections, and what applies to all requests
//	connection.go  an HTTP connection, and its connection in memory
//	routes.go      the calls and their paths
//	request.go     path, parameters and body become a request
//	call.go        calls with one response
//	stream.go      calls with many: server-sent events, and files
//	problem.go     errors as problem details (RFC 9457)
//	origin.go      who else's pages may not: hosts, origins, headers
//	session.go     the page's session, in a cookie
//	description.go the description of the API, for tools (OpenAPI) and for people
//	page.go        the page
package web
