package spelling

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// shown is how much of an unknown word an error shows, in characters; nothing longer is compared.
const shown = 60

// Unknown says that a word is none of the names, and which one was likely meant or which there are: unknown field
// "objectve": did you mean "objective"?
func Unknown(what, word string, names []string) string {
	text := fmt.Sprintf("unknown %s %.*q", what, shown, word)
	near := Nearest(word, names)
	switch {
	case len(near) > 0:
		return fmt.Sprintf(`%s: did you mean "%s"?`, text, strings.Join(near, `" or "`))
	case len(names) > 0:
		return fmt.Sprintf("%s: must be one of %s", text, strings.Join(names, ", "))
	}
	return text
}

// Nearest returns the names that were most likely meant by a word, none if none is near: one typed with few mistakes,
// one that is part of it or has it as a part, or one that it abbreviates. Several are equally near.
func Nearest(word string, names []string) []string {
	if len(word) > shown {
		return nil
	}
	word = strings.ToLower(word)
	near := mistyped(word, names)
	if len(near) > 0 {
		return near
	}
	for _, name := range names {
		related := len(word) >= 3 && (strings.Contains(name, word) || strings.Contains(word, name))
		if related || word == initials(name) {
			near = append(near, name)
		}
	}
	return near
}

// mistyped returns the names that the fewest characters inserted, left out or replaced make of a word. Two neighbors
// exchanged count as two.
func mistyped(word string, names []string) (near []string) {
	distance := 1
	if len(word) >= 4 {
		distance = max(2, len(word)/3)
	}
	for _, name := range names {
		switch d := levenshtein.Distance(word, name, nil); {
		case d >= max(len(word), len(name)):
			// They have nothing in common.
		case d < distance:
			near, distance = []string{name}, d
		case d == distance:
			near = append(near, name)
		}
	}
	return near
}

// initials of learning_rate are lr.
func initials(name string) string {
	var letters strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		letters.WriteString(part[:min(1, len(part))])
	}
	return letters.String()
}
