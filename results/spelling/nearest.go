package spelling

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// shown is how many characters of an unknown word an error shows. Longer words are not compared.
const shown = 60

// Unknown returns an error text for a word that is none of the names. It says which name was probably meant, or which
// names there are: unknown field "objectve": did you mean "objective"?
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

// Nearest returns the names that were most probably meant by a word, or none if no name is near. A name is near if it
// differs by few typing mistakes, if one contains the other, or if the word abbreviates it. It returns several names if
// they are equally near.
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

// mistyped returns the names at the smallest edit distance from a word: the number of characters inserted, left out or
// replaced. Two swapped neighbors count as two.
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

// initials returns the initials of a name: "lr" for "learning_rate".
func initials(name string) string {
	var letters strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		letters.WriteString(part[:min(1, len(part))])
	}
	return letters.String()
}
