package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	trellisv1 "trellis/proto/trellis/v1"
)

// wholeBody is the annotations' word for a body that has the whole request.
const wholeBody = "*"

// Route is a call that is served over HTTP.
type Route struct {
	// Method is the full name of the call: /trellis.v1.StudyService/GetStudy.
	Method string
	// Verb is the HTTP method, and Path its path: /api/v1/studies/{study}:pause.
	Verb, Path string

	// body is the field that the body is, wholeBody for the whole request, or "" for none.
	body       string
	descriptor protoreflect.MethodDescriptor
	request    protoreflect.MessageType
	response   protoreflect.MessageType
}

// Routes returns all calls that are served, ordered by path. It fails if an annotation is not what this package can serve.
func Routes() ([]Route, error) {
	var routes []Route
	services := trellisv1.File_trellis_v1_service_proto.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			route, served, err := routeOf(methods.Get(j))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", methods.Get(j).FullName(), err)
			}
			if served {
				routes = append(routes, route)
			}
		}
	}
	slices.SortFunc(routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Verb, b.Verb))
	})
	return routes, nil
}

// routeOf returns the route of a call, if it has one.
func routeOf(method protoreflect.MethodDescriptor) (route Route, served bool, err error) {
	rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return Route{}, false, nil
	}
	route = Route{
		Method: fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name()), body: rule.GetBody(),
		descriptor: method,
	}
	switch pattern := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		route.Verb, route.Path = http.MethodGet, pattern.Get
	case *annotations.HttpRule_Post:
		route.Verb, route.Path = http.MethodPost, pattern.Post
	case *annotations.HttpRule_Delete:
		route.Verb, route.Path = http.MethodDelete, pattern.Delete
	default:
		return Route{}, false, fmt.Errorf("a path for %T is not served", pattern)
	}
	if len(rule.GetAdditionalBindings()) > 0 || rule.GetResponseBody() != "" {
		return Route{}, false, fmt.Errorf("more than one path, or a part of the response, is not served")
	}
	if route.body != "" && route.body != wholeBody && !method.IsStreamingClient() {
		return Route{}, false, fmt.Errorf("a body that is a part of a request is not served")
	}
	if route.request, err = protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName()); err == nil {
		route.response, err = protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	}
	return route, err == nil, err
}

// isFile says whether a call's responses are pieces of a file.
func (r Route) isFile() bool {
	fields := r.response.Descriptor().Fields()
	return r.descriptor.IsStreamingServer() && fields.Len() == 1 && fields.Get(0).Kind() == protoreflect.BytesKind
}

// inPath says whether a field of the request is in the path.
func (r Route) inPath(field protoreflect.Name) bool {
	return strings.Contains(r.Path, "{"+string(field)+"}")
}

// hasVerb says whether the path ends in a word that says what to do: {study}:pause.
func (r Route) hasVerb() bool { return strings.Contains(r.Path, ":") }

// isOther says whether a path that matches a route's belongs to another, whose own goes on with a word: a name in a path
// may have a colon, but not {study}:pause.
func (s *Server) isOther(route Route, path string) bool {
	return slices.ContainsFunc(s.routes, func(other Route) bool {
		word, found := strings.CutPrefix(other.Path, route.Path+":")
		return found && strings.HasSuffix(path, ":"+word)
	})
}

// parameters are the fields of the request that may stand in the address, after the question mark.
func (r Route) parameters() []protoreflect.FieldDescriptor {
	if r.body == wholeBody {
		return nil
	}
	var parameters []protoreflect.FieldDescriptor
	fields := r.request.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !r.inPath(field.Name()) && string(field.Name()) != r.body && !isDeprecated(field) {
			parameters = append(parameters, field)
		}
	}
	return parameters
}

func isDeprecated(field protoreflect.FieldDescriptor) bool {
	options, ok := field.Options().(interface{ GetDeprecated() bool })
	return ok && options.GetDeprecated()
}

// routeFor returns the route of a call.
func (s *Server) routeFor(method string) (Route, error) {
	for _, route := range s.routes {
		if route.Method == method {
			return route, nil
		}
	}
	return Route{}, fmt.Errorf("%s has no path", method)
}
