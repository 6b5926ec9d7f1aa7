package answer

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/proto"

	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
)

// commentWidth is how long a line of comment is at most.
const commentWidth = 110

// suggestionText is a suggested spec as YAML, with the reasons above it. It is checked by reading it back.
func suggestionText(study string, suggestion *trellisv1.SuggestStudyResponse) ([]byte, error) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "# Suggested by trellis suggest %s from the results of that study:\n#\n", study)
	for _, reason := range describeSuggestion(suggestion) {
		text.WriteString(comment("- ", reason))
	}
	if suggestion.GetSpec().GetProgram().GetFiles() != nil {
		text.WriteString(comment("- ", "the program's files are those of study "+study+", which the coordinator has: trellis submit works "+
			"as it is. For trellis run and try, or to send changed files, name their folder, for example files: ."))
	}
	written, err := spec.YAML(suggestion.GetSpec())
	if err != nil {
		return nil, err
	}
	text.Write(written)
	read, err := spec.Parse("the suggestion", text.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the suggested spec is not valid: %w", err)
	}
	if !proto.Equal(spec.Models().WithDefaults(read), spec.Models().WithDefaults(suggestion.GetSpec())) {
		return nil, fmt.Errorf("the suggested spec changes when it is read back: %v, "+
			"not %v", read, suggestion.GetSpec())
	}
	return text.Bytes(), nil
}

// comment breaks a text into lines of comment. The first begins with a mark, the others are indented by as much.
func comment(mark, reason string) string {
	start, indent := "# "+mark, "# "+strings.Repeat(" ", len(mark))
	wrapped := text.WrapSoft(strings.Join(strings.Fields(reason), " "), commentWidth-len(start))
	var lines strings.Builder
	for line := range strings.SplitSeq(wrapped, "\n") {
		lines.WriteString(start + strings.TrimRight(line, " ") + "\n")
		start = indent
	}
	return lines.String()
}
