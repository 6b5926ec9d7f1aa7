package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) suggestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suggest STUDY",
		Short: "Write the spec of a next study: zoomed round the best, widened where it lies on an edge",
		Long: `Write the spec of a next study: its grid is zoomed round the best configuration, and widened where that lies on an
edge of the old one. The reasons stand in it as comments. It is a suggestion to read and change, not an answer.`,
		Example: `  trellis suggest paper
  trellis suggest paper -o next.yaml
  trellis suggest paper | trellis submit -`,
		Args: operands("STUDY"),
	}
	options := clientFlags(cmd, DefaultWait)
	cmd.ValidArgsFunction = completeStudies(options)
	var path string
	cmd.Flags().StringVarP(&path, "output", "o", "-", "`file` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			response, err := call(ctx, callTimeout, c.SuggestStudy, &trellisv1.SuggestStudyRequest{Study: args[0]})
			if err != nil {
				return err
			}
			text, err := suggestionText(args[0], response)
			if err != nil {
				return err
			}
			_, err = writeOutput(path, 0o666, cli.stdout, func(out io.Writer) error {
				_, err := out.Write(text)
				return err
			})
			if err == nil && path != "-" {
				fmt.Fprintf(cli.stderr, "Wrote %s. What it would cost: trellis submit --dry-run %s%s\n", path, path,
					elsewhere(c.address))
			}
			return err
		})
	}
	return cmd
}

// commentWidth is how long a line of comment is at most.
const commentWidth = 110

// suggestionText is a suggested spec as YAML, with the reasons above it. It is checked by reading it back.
func suggestionText(study string, suggestion *trellisv1.SuggestStudyResponse) ([]byte, error) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "# Suggested by trellis suggest %s, after what that study has found:\n#\n", study)
	for _, reason := range suggestion.GetReasons() {
		text.WriteString(comment("- ", reason))
	}
	written, err := specYAML(suggestion.GetSpec())
	if err != nil {
		return nil, err
	}
	text.Write(written)
	read, err := parseSpec("the suggestion", text.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the suggested spec is not valid: %w", err)
	}
	if !proto.Equal(read, suggestion.GetSpec()) {
		return nil, fmt.Errorf("the suggested spec reads back as another one: %v, not %v", read, suggestion.GetSpec())
	}
	return text.Bytes(), nil
}

// comment breaks a text into lines of comment. The first begins with a mark, the others are indented by as much.
func comment(mark, text string) string {
	var lines strings.Builder
	line := "# " + mark
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && len(line)+1+len(word) > commentWidth {
			lines.WriteString(line + "\n")
			line, empty = "# "+strings.Repeat(" ", len(mark)), true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	return lines.String() + line + "\n"
}

// specYAML writes a spec as people do: axes as lists, a single grid without a list round it, nothing that is not set.
func specYAML(spec *trellisv1.StudySpec) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write the spec: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("turn JSON into YAML: %w", err)
	}
	top := document.Content[0]
	blockStyle(top)
	plainNumbers(top)
	shortenSpec(top)
	return encodeYAML(top)
}

// plainNumbers writes all numbers as the other listings do.
func plainNumbers(node *yaml.Node) {
	if node.Tag == "!!float" {
		if value, err := strconv.ParseFloat(node.Value, 64); err == nil {
			node.Value = plainNumber(value)
		}
	}
	for _, child := range node.Content {
		plainNumbers(child)
	}
}

// shortenSpec turns what has a short form into it, writes what is below the axes in one line, and a model's own axes beside the
// others.
func shortenSpec(node *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if key == "grid" && len(value.Content) == 1 {
			*value = *value.Content[0]
		}
		switch {
		case key == "grid" && value.Kind == yaml.SequenceNode:
			for _, grid := range value.Content {
				shortenSpec(grid)
			}
		case key == "grid", key == "axes":
			shortenSpec(value)
		case value.Kind == yaml.MappingNode && len(value.Content) == 2 && value.Content[0].Value == "values":
			*value = *value.Content[1]
		case value.Kind == yaml.MappingNode:
			value.Style = yaml.FlowStyle
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "axes" {
			node.Content = slices.Replace(node.Content, i, i+2, node.Content[i+1].Content...)
			return
		}
	}
}
