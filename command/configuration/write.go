package configuration

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"trellis/command/exit"
	"trellis/command/output"
	"trellis/command/source"
)

// Path is the configuration file that a command reads, whether or not it is there; "" if it reads none.
func Path(cmd *cobra.Command) string {
	path, _ := locate(cmd)
	return path
}

// Write sets settings in the configuration file, whose mode becomes 0600, and removes those whose value is empty. The rest
// of the file stays as it is, with its comments.
func Write(cmd *cobra.Command, settings map[string]string) error {
	path := Path(cmd)
	if path == "" {
		return exit.Usagef("there is no configuration file to write: set --%s or %s", FileFlag, FileVariable)
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the configuration: %w", err)
	}
	text := source.NewText(path, data)
	if _, err := parse(text, names(cmd.Root())); err != nil {
		return err
	}
	document, err := text.Document()
	if err != nil {
		return err
	}
	if document == nil || document.Kind != yaml.MappingNode {
		document = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	for _, name := range names(cmd.Root()) {
		if value, ok := settings[name]; ok {
			put(document, name, value)
		}
	}
	written := []byte{}
	if len(document.Content) > 0 {
		if written, err = output.EncodeYAML(document); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the configuration's folder: %w", err)
	}
	_, err = output.WriteFile(path, 0o600, nil, func(out io.Writer) error {
		_, err := out.Write(written)
		return err
	})
	return err
}

// put sets a key of a mapping, or removes it if the value is empty.
func put(mapping *yaml.Node, key, value string) {
	scalar := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != key {
			continue
		}
		if value == "" {
			mapping.Content = append(mapping.Content[:i], mapping.Content[i+2:]...)
			return
		}
		scalar.LineComment = mapping.Content[i+1].LineComment
		mapping.Content[i+1] = scalar
		return
	}
	if value != "" {
		mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, scalar)
	}
}
