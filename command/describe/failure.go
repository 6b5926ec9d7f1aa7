package describe

import (
	"fmt"
	"slices"
	"strings"

	"trellis/command/output"
)

// LastLine shortens the message of a failure. Of a program's last output it keeps the last line, which mostly says most.
func LastLine(message string) string {
	const most = 200
	what, written, ok := strings.Cut(message, "; its last output:")
	if !ok {
		return output.Shorten(message, most)
	}
	// What a program writes is escaped by now, for the terminal.
	written = strings.TrimSpace(strings.ReplaceAll(written, `\n`, "\n"))
	return output.Shorten(what, most) + "; its last output: " + output.Shorten(written[strings.LastIndexByte(written, '\n')+1:], most)
}

// Trials names trials by their indices, which it sorts: trial 3, trials 0, 2 and 5 to 9.
func Trials(indices []uint64) string {
	const most = 10
	slices.Sort(indices)
	var parts []string
	for i := 0; i < len(indices); {
		last := i
		for last+1 < len(indices) && indices[last+1] == indices[last]+1 {
			last++
		}
		if last < i+2 {
			last = i // Two are named one by one.
		}
		if len(parts) == most {
			parts = append(parts, fmt.Sprintf("%d more", len(indices)-i))
			break
		}
		part := fmt.Sprint(indices[i])
		if last > i {
			part += fmt.Sprintf(" to %d", indices[last])
		}
		parts, i = append(parts, part), last+1
	}
	return output.Verb(len(indices), "trial ", "trials ") + output.Enumerate(parts)
}
