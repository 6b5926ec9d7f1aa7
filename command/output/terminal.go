package output

import (
	"os"

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
