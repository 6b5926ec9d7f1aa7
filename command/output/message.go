package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

// WriteMessage writes one message as a JSON or YAML document.
func WriteMessage(out io.Writer, format Format, message proto.Message) error {
	var data []byte
	var err error
	if format == YAML {
		data, err = marshalYAML(message)
	} else {
		data, err = marshalJSON(message, "")
		data = append(data, '\n')
	}
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// WriteOne writes one message by itself: in CSV as a row under its header, in a table likewise.
func WriteOne[T proto.Message](out io.Writer, format Format, item T, columns []Column[T]) error {
	if format == JSON || format == YAML {
		return WriteMessage(out, format, item)
	}
	list := NewList(out, format, "", columns)
	if err := list.Add(item); err != nil {
		return err
	}
	return list.Close("")
}

// compactJSON writes a message in one line.
func compactJSON(message proto.Message) ([]byte, error) {
	data, err := appendMessage(nil, message.ProtoReflect())
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", message.ProtoReflect().Descriptor().Name(), err)
	}
	return data, nil
}

// WriteLine writes one message as one line of JSON.
func WriteLine(out io.Writer, message proto.Message) error {
	data, err := compactJSON(message)
	if err != nil {
		return err
	}
	_, err = out.Write(append(data, '\n'))
	return err
}

// marshalJSON writes a message over several lines, each after the first with prefix before it.
func marshalJSON(message proto.Message, prefix string) ([]byte, error) {
	data, err := compactJSON(message)
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, prefix, "  "); err != nil {
		return nil, fmt.Errorf("indent JSON: %w", err)
	}
	return indented.Bytes(), nil
}

// marshalYAML writes a message with the keys and values of its JSON.
func marshalYAML(message proto.Message) ([]byte, error) {
	node, err := yamlNode(message)
	if err != nil {
		return nil, err
	}
	return EncodeYAML(node)
}

// yamlNode returns a message's JSON, which is YAML too, in YAML's own style.
func yamlNode(message proto.Message) (*yaml.Node, error) {
	data, err := compactJSON(message)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("turn JSON into YAML: %w", err)
	}
	BlockStyle(document.Content[0])
	return document.Content[0], nil
}

// BlockStyle writes mappings over several lines and lists of plain values in one.
func BlockStyle(node *yaml.Node) {
	switch node.Kind {
	case yaml.ScalarNode:
		node.Style = 0
	case yaml.MappingNode:
		node.Style = 0
	case yaml.SequenceNode:
		node.Style = yaml.FlowStyle
		if len(node.Content) > 0 && node.Content[0].Kind != yaml.ScalarNode {
			node.Style = 0
		}
	}
	for _, child := range node.Content {
		BlockStyle(child)
	}
}

// WriteDocument writes a document that is no message as JSON or YAML, by the tags of its fields.
func WriteDocument(out io.Writer, format Format, document any) error {
	if format == JSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(document)
	}
	data, err := EncodeYAML(document)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// EncodeYAML writes a document, or a part of one, as YAML.
func EncodeYAML(document any) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), encoder.Close()
}
