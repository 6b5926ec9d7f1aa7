package web

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
)

var (
	// openAPI describes the API: make generate writes it from the .proto files.
	//
	//go:embed openapi.json
	openAPI []byte

	//go:embed description.html
	descriptionPage string

	//go:embed description.css
	descriptionStyle []byte
)

// descriptionFile returns a file of the description, and its type. It returns nil if there is none at the path.
func descriptionFile(path string) (file []byte, kind string, err error) {
	switch path {
	case "/api":
		file, err = browsable()
		return file, "text/html; charset=utf-8", err
	case "/api/openapi.json":
		return openAPI, jsonType, nil
	case "/api/style.css":
		return descriptionStyle, "text/css; charset=utf-8", nil
	}
	return nil, "", nil
}

// serveDescription serves a file of the description. It says whether there is one.
func (s *Server) serveDescription(w http.ResponseWriter, r *http.Request) bool {
	file, kind, err := descriptionFile(strings.TrimSuffix(r.URL.Path, "/"))
	if err != nil {
		s.config.Logger.Error("the description of the API can't be shown", "error", err)
		refuse(w, http.StatusInternalServerError, "the description can't be shown: see /api/openapi.json")
		return true
	}
	if file == nil {
		return false
	}
	w.Header().Set("Content-Type", kind)
	tagged(w, r, file)
	return true
}

// browsable is the description for people.
var browsable = sync.OnceValues(func() ([]byte, error) {
	var d apiDescription
	if err := json.Unmarshal(openAPI, &d); err != nil {
		return nil, fmt.Errorf("read the description: %w", err)
	}
	page, err := template.New("description").Parse(descriptionPage)
	if err != nil {
		return nil, fmt.Errorf("read the description's page: %w", err)
	}
	var text bytes.Buffer
	if err := page.Execute(&text, &d); err != nil {
		return nil, fmt.Errorf("write the description's page: %w", err)
	}
	return text.Bytes(), nil
})

// apiDescription is what is shown of the description.
type apiDescription struct {
	Info struct{ Title, Version, Description string }
	Tags []struct{ Name, Description string }
	// Paths have operations by verb.
	Paths      ordered[ordered[apiOperation]]
	Components struct{ Schemas ordered[apiSchema] }
}

// apiOperation is a call.
type apiOperation struct {
	OperationID          string `json:"operationId"`
	Summary, Description string
	Tags                 []string
	Parameters           []apiParameter
	RequestBody          struct{ Content ordered[apiMedia] }
	Responses            ordered[struct{ Content ordered[apiMedia] }]

	// Verb and Path are where it is.
	Verb, Path string `json:"-"`
}

// apiParameter is a parameter of a call.
type apiParameter struct {
	Name, In, Description string
	Required              bool
	Schema                apiSchema
}

type apiMedia struct{ Schema apiSchema }

// apiSchema is what a value is like.
type apiSchema struct {
	Reference            string `json:"$ref"`
	Type, Description    string
	Format               string
	Enum, Required       []string
	Items                *apiSchema
	Properties           ordered[apiSchema]
	AdditionalProperties json.RawMessage
}

// Operations returns the calls of a tag, in the order of the .proto files.
func (d *apiDescription) Operations(tag string) (operations []apiOperation) {
	for _, path := range d.Paths {
		for _, one := range path.Value {
			if operation := one.Value; slices.Contains(operation.Tags, tag) {
				operation.Verb, operation.Path = strings.ToUpper(one.Name), path.Name
				operations = append(operations, operation)
			}
		}
	}
	return operations
}

// Returned returns what a call returns if it succeeds.
func (o apiOperation) Returned() ordered[apiMedia] {
	if len(o.Responses) == 0 {
		return nil
	}
	return o.Responses[0].Value.Content
}

// Anchor is the schema's place in the page: the name of the one that it refers to, or that its items do.
func (s apiSchema) Anchor() string {
	if s.Items != nil {
		return s.Items.Anchor()
	}
	if its := s.values(); its != nil {
		return its.Anchor()
	}
	return strings.TrimPrefix(s.Reference, "#/components/schemas/")
}

// values is the schema of a map's values.
func (s apiSchema) values() *apiSchema {
	its := &apiSchema{}
	if len(s.AdditionalProperties) == 0 || json.Unmarshal(s.AdditionalProperties, its) != nil {
		return nil
	}
	return its
}

// Kind says in a few words what a value is.
func (s apiSchema) Kind() string {
	switch {
	case s.Items != nil:
		return "list of " + s.Items.Kind()
	case s.values() != nil:
		return "map of " + s.values().Kind()
	case s.Reference != "":
		return s.Anchor()
	case s.Format != "":
		return s.Type + " (" + s.Format + ")"
	}
	return s.Type
}

// IsRequired says whether an object must have a member.
func (s apiSchema) IsRequired(name string) bool { return slices.Contains(s.Required, name) }

// ordered is a JSON object whose members stay in their order.
type ordered[T any] []struct {
	Name  string
	Value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *ordered[T]) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value T
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		text, _ := name.(string)
		*o = append(*o, struct {
			Name  string
			Value T
		}{text, value})
	}
	return nil
}
