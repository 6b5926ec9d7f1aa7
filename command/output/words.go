package output

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Verb chooses the form of a verb, or of any other word, by a number.
func Verb(number int, one, many string) string {
	if number == 1 {
		return one
	}
	return many
}

// Largest names the things with the largest numbers, the largest first: at most three, and how many more there are.
func Largest(numbers map[string]uint64) string {
	const named = 3
	names := slices.SortedFunc(maps.Keys(numbers), func(a, b string) int {
		if c := cmp.Compare(numbers[b], numbers[a]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	if more := len(names) - named; more > 0 {
		names = append(names[:named], fmt.Sprintf("%d more", more))
	}
	return Enumerate(names)
}

// Enumerate writes names as "a, b and c".
func Enumerate(names []string) string { return join(names, " and ") }

// Alternatives writes names as "a, b or c".
func Alternatives(names []string) string { return join(names, " or ") }

// join writes names with commas between them, and with last before the last one.
func join(names []string, last string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	before := len(names) - 1
	return strings.Join(names[:before], ", ") + last + names[before]
}

// Shorten cuts text to at most limit bytes.
func Shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}

// Plural is more than one of a thing: trials, studies, maximum epochs.
func Plural(thing string) string {
	switch {
	case strings.HasSuffix(thing, "s"):
		return thing
	case strings.HasSuffix(thing, "y") && !strings.HasSuffix(thing, "ay"):
		return strings.TrimSuffix(thing, "y") + "ies" // But decays.
	default:
		return thing + "s"
	}
}

// Count writes a number of things: 1 trial, 2 trials.
func Count(number uint64, thing string) string {
	if number == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %s", number, Plural(thing))
}

// OneLine fits a text into a cell of a table.
func OneLine(text string) string { return Shorten(strings.Join(strings.Fields(text), " "), 60) }

// Sentence begins a text with a capital letter.
func Sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// Grouped writes a number with commas: 1,000,000.
func Grouped(number uint64) string {
	digits := strconv.FormatUint(number, 10)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
