package output

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// IsTerminal says whether a stream is a terminal that can redraw lines.
func IsTerminal(stream any) (*os.File, bool) {
	file, ok := stream.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || !IsTerminalFile(file) {
		return nil, false
	}
	return file, true
}

// IsTerminalFile says whether a file is a terminal of any kind.
func IsTerminalFile(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

// terminalWidth is how many columns the terminal has that a stream is, 0 if it is none or does not say.
func terminalWidth(stream any) int {
	file, ok := stream.(*os.File)
	if !ok || !IsTerminalFile(file) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Printable returns a writer to the stream. If that is a terminal, control characters are escaped, which could move its
// cursor or rename its window: all but ends of lines, tabs, and the sequences that set colors.
func Printable(stream io.Writer) io.Writer {
	file, ok := stream.(*os.File)
	if !ok || !IsTerminalFile(file) {
		return stream
	}
	return printable{file}
}

type printable struct{ out io.Writer }

func (p printable) Write(text []byte) (int, error) {
	if _, err := p.out.Write(escapeControls(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// control matches a control character, or a whole sequence that sets colors.
var control = regexp.MustCompile(`\x1b\[[0-9;]*m|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}]`)

func escapeControls(text []byte) []byte {
	return control.ReplaceAllFunc(text, func(found []byte) []byte {
		if found[0] == '\x1b' && len(found) > 1 {
			return found
		}
		r, _ := utf8.DecodeRune(found)
		return fmt.Appendf(nil, `\x%02x`, r)
	})
}

// EscapeLine returns a text with its control characters escaped as in Go, for example "\n" and "\x1b". It also escapes
// the ends of lines and the changes of direction of Unicode.
func EscapeLine(text string) string {
	if strings.IndexFunc(text, isControl) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !isControl(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func isControl(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}
