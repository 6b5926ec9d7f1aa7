package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/results/spelling"
)

const (
	jsonType = "application/json"
	fileType = "application/octet-stream"
	// maxObjects and maxStrings bound the JSON objects and strings of a body. Each takes few bytes of it but many of memory,
	// and the server counts what it accepts only after this package has decoded it.
	maxObjects = 32_768
	maxStrings = 131_072
	// decoding is how many large bodies are decoded at the same time, and largeBody the size of one in bytes.
	decoding  = 2
	largeBody = 64 << 10
)

// newRequest returns the request of a call from the path, the parameters and the body.
func (s *Server) newRequest(
	w http.ResponseWriter, r *http.Request, route Route, path map[string]string,
) (proto.Message, error) {
	request, err := fromAddress(r, route, path)
	if err != nil || route.descriptor.IsStreamingClient() {
		return request, err
	}
	if route.body == "" {
		return request, checkNoBody(r)
	}
	if err := checkType(r, jsonType); err != nil {
		return nil, err
	}
	return request, s.readBody(w, r, request, route, path)
}

// fromAddress returns a request with what the address says.
func fromAddress(r *http.Request, route Route, path map[string]string) (proto.Message, error) {
	request := route.request.New().Interface()
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "invalid parameters: "+err.Error())
	}
	allowed := route.parameters()
	for name, values := range query {
		at := slices.IndexFunc(allowed, func(f protoreflect.FieldDescriptor) bool { return string(f.Name()) == name })
		if at < 0 {
			names := make([]string, len(allowed))
			for i, field := range allowed {
				names[i] = string(field.Name())
			}
			return nil, fieldError(name, spelling.Unknown("parameter", name, names))
		}
		if len(values) != 1 && !allowed[at].IsList() {
			return nil, fieldError(name, fmt.Sprintf("parameter %q is given %d times", name, len(values)))
		}
		if i := slices.IndexFunc(values, func(value string) bool { return !utf8.ValidString(value) }); i >= 0 {
			return nil, fieldError(name, badValue(route, name, values[i]))
		}
		one := map[string][]string{name: values}
		if err := runtime.PopulateQueryParameters(request, one, utilities.NewDoubleArray(nil)); err != nil {
			return nil, fieldError(name, badValue(route, name, values[0]))
		}
	}
	return request, setPath(request, route, path)
}

// setPath sets the fields that are in the path.
func setPath(request proto.Message, route Route, path map[string]string) error {
	for name, value := range path {
		if err := runtime.PopulateFieldFromPath(request, name, value); err != nil || !utf8.ValidString(value) {
			return fieldError(name, badValue(route, name, value))
		}
	}
	return nil
}

// badValue says what a parameter has to be.
func badValue(route Route, name, value string) string {
	must := "a text of valid UTF-8"
	switch field := route.request.Descriptor().Fields().ByName(protoreflect.Name(name)); field.Kind() {
	case protoreflect.BoolKind:
		must = "true or false"
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		must = "a number"
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		must = "a whole number, 0 or more"
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		must = "a whole number"
	}
	return fmt.Sprintf("invalid value %.100q of %s: must be %s", value, name, must)
}

// fieldError returns the problem of one field of a request.
func fieldError(field, detail string) error {
	p := newProblem(http.StatusBadRequest, detail)
	p.Errors = []fieldProblem{{Field: field, Detail: detail}}
	return p
}

// checkType refuses a body of another type than the call takes. A page of another site can send some types without asking.
func checkType(r *http.Request, want string) error {
	// Nothing is an empty object, but no empty file.
	if want == jsonType && r.ContentLength == 0 && r.Header.Get("Content-Type") == "" {
		return nil
	}
	given, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := parameters["charset"]
	if err != nil || given != want || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return newProblem(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Type is %.100q: must be %s",
			r.Header.Get("Content-Type"), want))
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		return newProblem(http.StatusUnsupportedMediaType, fmt.Sprintf(
			"Content-Encoding is %.100q: send the body without compression", encoding))
	}
	return nil
}

// checkNoBody refuses a body where a call takes none, unless it is empty.
func checkNoBody(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	start, err := io.ReadAll(io.LimitReader(r.Body, 16))
	if err != nil {
		return badBody(err)
	}
	// Clients that send JSON with all their changes have nothing to say here.
	if text := string(bytes.TrimSpace(start)); text != "" && text != "{}" {
		return newProblem(http.StatusBadRequest, "this call takes no body: leave it out")
	}
	return nil
}

// readBody reads the body of a call and sets the request's fields from it, and then again those of the path.
func (s *Server) readBody(
	w http.ResponseWriter, r *http.Request, request proto.Message, route Route, path map[string]string,
) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	if err != nil {
		return badBody(err)
	}
	if len(body) == 0 {
		return nil
	}
	if err := checkParts(body); err != nil {
		return err
	}
	if len(body) > largeBody {
		select {
		case s.decode <- struct{}{}:
			defer func() { <-s.decode }()
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	sent := request
	if len(path) > 0 {
		sent = request.ProtoReflect().New().Interface()
	}
	if err := protojson.Unmarshal(body, sent); err != nil {
		return hinted(badJSON(err, body), route.request.Descriptor())
	}
	if len(path) == 0 {
		return nil
	}
	for name, value := range path {
		field := route.request.Descriptor().Fields().ByName(protoreflect.Name(name))
		if got := sent.ProtoReflect().Get(field).String(); sent.ProtoReflect().Has(field) && got != value {
			return fieldError(name, fmt.Sprintf("%s is %.100q in the body and %.100q in the path: leave it out of the body",
				name, got, value))
		}
	}
	proto.Merge(request, sent)
	return nil
}

// badBody says why a body could not be read.
func badBody(err error) error {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit))
	}
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("the body took longer than %v", bodyTime))
	}
	return newProblem(http.StatusBadRequest, "the body ended early")
}

// checkParts counts the objects and strings of a JSON text.
func checkParts(body []byte) error {
	objects, quotes, inString := 0, 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			inString = !inString
			quotes++
		case inString && c == '\\':
			i++
		case !inString && c == '{':
			objects++
		}
	}
	if objects > maxObjects || quotes/2 > maxStrings {
		return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d objects or %d strings, "+
			"the most that a coordinator accepts: divide the request", maxObjects, maxStrings))
	}
	return nil
}

// hinted adds to an unknown field's problem which was probably meant.
func hinted(p problem, message protoreflect.MessageDescriptor) problem {
	if len(p.Errors) != 1 || p.Errors[0].Field == "" {
		return p
	}
	one := &p.Errors[0]
	near := spelling.Nearest(one.Field, fieldNames(message, map[protoreflect.FullName]bool{}))
	if len(near) > 0 {
		hint := fmt.Sprintf(`: did you mean "%s"?`, strings.Join(slices.Compact(slices.Sorted(slices.Values(near))), `" or "`))
		one.Detail, p.Detail = one.Detail+hint, p.Detail+hint
	}
	return p
}

// fieldNames returns the names of all fields that a message and those in it have.
func fieldNames(message protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) (names []string) {
	if seen[message.FullName()] {
		return nil
	}
	seen[message.FullName()] = true
	fields := message.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if isDeprecated(field) {
			continue
		}
		if !message.IsMapEntry() {
			names = append(names, string(field.Name()))
		}
		if field.Message() != nil {
			names = append(names, fieldNames(field.Message(), seen)...)
		}
	}
	return names
}
