package output

import "fmt"

// Format is the form in which a command writes its results.
type Format string

const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
	CSV   Format = "csv"
)

// FormatNames are the formats that --output takes.
var FormatNames = []string{string(Table), string(JSON), string(YAML), string(CSV)}

// String and Set make Format a flag.
func (f *Format) String() string { return string(*f) }

// Set refuses what is no format.
func (f *Format) Set(name string) error {
	for _, known := range FormatNames {
		if name == known {
			*f = Format(name)
			return nil
		}
	}
	return fmt.Errorf("there are %s", Enumerate(FormatNames))
}

// Type is what the help text calls the flag's value.
func (f *Format) Type() string { return "format" }
