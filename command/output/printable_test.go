package output

import "testing"

func TestEscapeControls(t *testing.T) {
	for text, want := range map[string]string{
		"epoch 1\r\n\tloss é 日本\n": "epoch 1\r\n\tloss é 日本\n",
		"\x1b[31mred\x1b[0m":       "\x1b[31mred\x1b[0m",
		"\x1b]0;title\x07":         `\x1b]0;title\x07`,
		"\x1b[2J\x1b[1A":           `\x1b[2J\x1b[1A`,
		"\u009b2J\x7f":             `\x9b2J\x7f`,
		"\x1b[38;5;1":              `\x1b[38;5;1`,
	} {
		if got := string(escapeControls([]byte(text))); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
