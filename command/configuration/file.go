package configuration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"trellis/command/exit"
	"trellis/command/source"
	"trellis/results/spelling"
)

// FileFlag is the flag that names the file, FileVariable its variable.
const (
	FileFlag     = "config"
	FileVariable = "TRELLIS_CONFIG"
)

// AddFlag adds the flag that names the file to a command and all below it.
func AddFlag(root *cobra.Command) {
	root.PersistentFlags().String(FileFlag, "", "configuration `file` (default trellis/config.yaml in the user's "+
		"configuration folder)")
}

// Writes is the annotation of a command that writes the file, which need not be there yet.
const Writes = "trellis/writes-configuration"

// DefaultFile is the file that is read if no other is named, or "" if the user has no folder for it.
func DefaultFile() string {
	folder, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, "trellis", "config.yaml")
}

// file is what a configuration file says.
type file struct {
	text   *source.Text
	values map[string]*yaml.Node
}

// locate returns the file that is to be read, "" for none, and whether the user has named it.
func locate(cmd *cobra.Command) (path string, named bool) {
	path, named = os.LookupEnv(FileVariable)
	if flag := cmd.Flags().Lookup(FileFlag); flag != nil && flag.Changed {
		path, named = flag.Value.String(), true
	}
	if !named {
		path = DefaultFile()
	}
	return path, named
}

// readFile reads the file that is named, which must be there, or the default one, which need not. An empty name is none.
func readFile(cmd *cobra.Command) (file, error) {
	path, named := locate(cmd)
	if path == "" {
		return file{}, nil
	}
	data, err := os.ReadFile(path)
	if (!named || cmd.Annotations[Writes] != "") && errors.Is(err, fs.ErrNotExist) {
		return file{}, nil
	}
	if err != nil {
		return file{}, exit.Usagef("read the configuration: %w", err)
	}
	return parse(source.NewText(path, data), names(cmd.Root()))
}

// parse reads a mapping from the names of settings to their values.
func parse(text *source.Text, names []string) (file, error) {
	f := file{text: text, values: make(map[string]*yaml.Node)}
	document, err := text.Document()
	if err != nil || document == nil || document.Tag == "!!null" {
		return f, err
	}
	if document.Kind != yaml.MappingNode {
		return f, text.Error(at(document, "expected settings, for example coordinator: host:7070"))
	}
	var problems []source.Problem
	for i := 0; i+1 < len(document.Content); i += 2 {
		key, value := document.Content[i], document.Content[i+1]
		first := f.values[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(names, key.Value):
			problems = append(problems, at(key, spelling.Unknown("setting", key.Value, names)))
		case first != nil:
			problems = append(problems, at(key, fmt.Sprintf("%s is given twice, first on "+
				"line %d", key.Value, first.Line)))
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
			problems = append(problems, at(value, fmt.Sprintf("expected a value for %s", key.Value)))
		default:
			f.values[key.Value] = value
		}
	}
	return f, text.Error(problems...)
}

func at(node *yaml.Node, message string) source.Problem {
	return source.Problem{Line: node.Line, Column: node.Column, Message: message}
}
