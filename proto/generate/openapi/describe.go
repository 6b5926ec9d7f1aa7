package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const about = "Searches grids of hyperparameters. 64-bit integers are strings, as in all JSON of Protocol Buffers, " +
	"because JavaScript's numbers are too small for them. Members that are 0, false, empty or unset are left out of " +
	"responses: if it has x-optional, a missing one is unset, and not 0. A request with a member or parameter that " +
	"is not described here is refused. Responses to GET have an entity tag: send it as If-None-Match to be told " +
	"with 304 that nothing has changed."

const wholeBody = "*"

// description collects what is written.
type description struct {
	schemas schemas
	paths   object
	tags    []object
}

// describe returns the description of all calls of a file that have a path.
func describe(file protoreflect.FileDescriptor) (object, error) {
	d := description{schemas: schemas{
		written: map[protoreflect.FullName]bool{}, all: object{{number, numberSchema}, {"Problem", problemSchema}},
	}}
	for i := range file.Services().Len() {
		if err := d.service(file.Services().Get(i)); err != nil {
			return nil, err
		}
	}
	d.session()
	slices.SortStableFunc(d.schemas.all, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return object{}.with("openapi", "3.1.0").
		with("info", object{}.with("title", "Trellis").with("version", "v1").with("description", about)).
		with("servers", []object{object{}.with("url", "/")}).
		with("security", []object{
			object{}.with("token", []any{}), object{}.with("session", []any{}),
			object{}.with("certificate", []any{}), nil,
		}).
		with("tags", d.tags).with("paths", d.paths).
		with("components", object{}.with("schemas", d.schemas.all).with("securitySchemes", securitySchemes)), nil
}

var securitySchemes = object{}.
	with("token", object{}.with("type", "http").with("scheme", "bearer").
		with("description", "A token: trellis tokens create. A coordinator without TLS asks for none.")).
	with("session", object{}.with("type", "apiKey").with("in", "cookie").with("name", "__Host-trellis").
		with("description", "A token that the web page's session keeps.")).
	with("certificate", object{}.with("type", "mutualTLS").
		with("description", "A client certificate: trellis certificates."))

// problemSchema describes errors.
var problemSchema = object{}.with("type", "object").
	with("description", "An error, as RFC 9457 has it.").
	with("properties", object{}.
		with("type", object{}.with("type", "string").with("const", "about:blank")).
		with("title", object{}.with("type", "string").with("description", "The text of the HTTP status.")).
		with("status", object{}.with("type", "integer").with("minimum", 400).with("maximum", 599)).
		with("detail", object{}.with("type", "string").with("description", "What is wrong, and what would be right.")).
		with("code", object{}.with("type", "string").
			with("description", "The name of the gRPC code, such as NOT_FOUND.")).
		with("errors", object{}.with("type", "array").with("items", object{}.with("type", "object").
			with("properties", object{}.
				with("field", object{}.with("type", "string").
					with("description", `Its path in the request, such as spec.grid[0].axes["learning_rate"].`)).
				with("detail", object{}.with("type", "string")).
				with("line", object{}.with("type", "integer").
					with("description", "The line of the body, counted from 1.")).
				with("column", object{}.with("type", "integer"))).
			with("required", []string{"detail"})))).
	with("required", []string{"type", "title", "status", "detail", "code"})

// service describes the calls of a service.
func (d *description) service(service protoreflect.ServiceDescriptor) error {
	described := false
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
		if rule == nil {
			continue
		}
		verb, path := "", ""
		switch pattern := rule.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			verb, path = "get", pattern.Get
		case *annotations.HttpRule_Post:
			verb, path = "post", pattern.Post
		case *annotations.HttpRule_Delete:
			verb, path = "delete", pattern.Delete
		default:
			return fmt.Errorf("%s: a path for %T is not described", method.FullName(), pattern)
		}
		d.add(path, verb, d.operation(method, path, rule.GetBody()))
		described = true
	}
	if described {
		d.tags = append(d.tags, object{}.with("name", tagOf(service)).with("description", comment(service)))
	}
	return nil
}

// tagOf is what a service's calls are grouped under.
func tagOf(service protoreflect.Descriptor) string {
	return strings.TrimSuffix(string(service.Name()), "Service")
}

// add adds an operation to those of its path.
func (d *description) add(path, verb string, operation object) {
	for i := range d.paths {
		if d.paths[i].name == path {
			existing, _ := d.paths[i].value.(object)
			d.paths[i].value = append(existing, member{verb, operation})
			return
		}
	}
	d.paths = append(d.paths, member{path, object{{verb, operation}}})
}

var inPath = regexp.MustCompile(`\{(\w+)\}`)

// operation describes a call.
func (d *description) operation(method protoreflect.MethodDescriptor, path, body string) object {
	var parameters []object
	var leftOut []string
	for _, found := range inPath.FindAllStringSubmatch(path, -1) {
		field := method.Input().Fields().ByName(protoreflect.Name(found[1]))
		parameters = append(parameters, d.parameter(field, "path"))
		leftOut = append(leftOut, found[1])
	}
	operation := object{}.with("operationId", string(method.Name())).with("tags", []string{tagOf(method.Parent())}).
		with("summary", summary(method)).with("description", comment(method))
	var request object
	required := true
	switch {
	case method.IsStreamingClient():
		request = content("application/octet-stream", object{}.with("type", "string").with("format", "binary"))
	case body == wholeBody:
		schema := d.schemas.fields(method.Input(), leftOut)
		required = slices.ContainsFunc(schema, func(one member) bool { return one.name == "required" })
		request = content("application/json", schema)
	default:
		fields := method.Input().Fields()
		for i := range fields.Len() {
			field := fields.Get(i)
			if !slices.Contains(leftOut, string(field.Name())) && !isDeprecated(field) {
				parameters = append(parameters, d.parameter(field, "query"))
			}
		}
	}
	if len(parameters) > 0 {
		operation = operation.with("parameters", parameters)
	}
	if request != nil {
		operation = operation.with("requestBody", object{}.with("required", required).with("content", request))
	}
	return operation.with("responses", responses(d.response(method)))
}

// word matches a word of a name.
var word = regexp.MustCompile(`[A-Z][a-z]*`)

// summary is the first sentence of a call's comment, or its name in words.
func summary(method protoreflect.MethodDescriptor) string {
	text := comment(method)
	if text == "" {
		words := word.FindAllString(string(method.Name()), -1)
		verb, noun := words[0]+"s", strings.ToLower(strings.Join(words[1:], " "))
		switch words[0] {
		case "Get":
			verb, noun = "Returns", "the "+noun
		case "List":
		default:
			noun = "the " + noun
		}
		return verb + " " + noun + "."
	}
	first, _, found := strings.Cut(text, ". ")
	if !found {
		return text
	}
	return first + "."
}

func (d *description) parameter(field protoreflect.FieldDescriptor, in string) object {
	schema := d.schemas.field(field)
	text := ""
	schema = slices.DeleteFunc(schema, func(one member) bool {
		if one.name == "description" {
			text, _ = one.value.(string)
		}
		return one.name == "description"
	})
	parameter := object{}.with("name", string(field.Name())).with("in", in)
	if in == "path" {
		parameter = parameter.with("required", true)
	}
	return parameter.with("description", text).with("schema", schema)
}

func content(kind string, schema object) object {
	return object{{kind, object{}.with("schema", schema)}}
}

// response describes what a call answers.
func (d *description) response(method protoreflect.MethodDescriptor) object {
	output := method.Output()
	switch {
	case !method.IsStreamingServer():
		return content("application/json", d.schemas.message(output))
	case output.Name() == "DownloadPictureResponse":
		file := object{}.with("type", "string").with("format", "binary")
		return append(content("image/svg+xml", file), content("image/png", file)...)
	case output.Fields().Len() == 1 && output.Fields().Get(0).Kind() == protoreflect.BytesKind:
		return content("application/octet-stream", object{}.with("type", "string").with("format", "binary"))
	}
	events := content("text/event-stream", event(d.schemas.message(output), nameOf(output)))
	if output.Fields().ByName("omitted") != nil {
		events = append(events, content("text/plain", object{}.with("type", "string").with("description",
			"The output as it is, unless Accept asks for text/event-stream."))...)
	}
	return events
}

// event describes one event of a stream: OpenAPI 3.1 has no other place for it than the schema.
func event(data object, name string) object {
	text := object{}.with("type", "string")
	return object{}.with("type", "object").
		with("description", fmt.Sprintf("Server-sent events: this is one of them. Its data is a %s as JSON, and its "+
			"id says where to go on: send it as Last-Event-ID. An event named end says that there is no more, and one "+
			"named problem has the Problem that the stream has ended with.", name)).
		with("properties", object{}.with("id", text).with("event", text).
			with("data", text.with("contentMediaType", "application/json").with("contentSchema", data)))
}

func responses(content object) object {
	return object{}.
		with("200", object{}.with("description", "OK").with("content", content)).
		with("431", tooLong).with("default", problemResponse)
}

// tooLong is said by Go's HTTP server, before it knows what is asked for.
// In HTTP/2 it says so as HTML.
var tooLong = object{}.
	with("description", "The path, the query and the headers have more than about 32 KiB together. The body is not "+
		"problem details.").
	with("content", append(content("text/plain", text), content("text/html", text)...))

var text = object{}.with("type", "string")

var problemResponse = object{}.with("description", "What is wrong, and what would be right.").
	with("content", content("application/problem+json", reference("Problem")))

// session describes the page's session, which is no call.
func (d *description) session() {
	d.tags = append(d.tags, object{}.with("name", "Session").
		with("description", "The session of the web page. Other clients send their token with each request."))
	d.add("/api/v1/session", "post", object{}.with("operationId", "LogIn").with("tags", []string{"Session"}).
		with("summary", "Keeps a token in a cookie that scripts can't read.").
		with("description", "Keeps a token in a cookie that scripts can't read and other sites can't send. Returns "+
			"whose it is. Fails with INVALID_ARGUMENT at a coordinator that asks for no tokens.").
		with("requestBody", object{}.with("required", true).with("content", content("application/json",
			object{}.with("type", "object").with("properties", object{}.with("token", object{}.with("type", "string"))).
				with("required", []string{"token"}).with("additionalProperties", false)))).
		with("responses", responses(content("application/json", reference("WhoAmIResponse")))))
	d.add("/api/v1/session", "delete", object{}.with("operationId", "LogOut").with("tags", []string{"Session"}).
		with("summary", "Deletes the cookie.").with("description", "Deletes the cookie. The token stays valid.").
		with("responses", object{}.with("204", object{}.with("description", "The cookie is deleted.")).
			with("431", tooLong).with("default", problemResponse)))
}
