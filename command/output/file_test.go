package output

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is there whole or as it was, and nothing lies about beside it.
func TestWriteOutput(t *testing.T) {
	broken := errors.New("broken off")
	write := func(text string, err error) func(io.Writer) error {
		return func(out io.Writer) error {
			if _, err := io.WriteString(out, text); err != nil {
				return err
			}
			return err
		}
	}
	for _, test := range []struct {
		name, before, text string
		err                error
		want               string
	}{
		{"new", "", "new content", nil, "new content"},
		{"replaced", "old", "new content", nil, "new content"},
		{"broken off", "old", "new con", broken, "old"},
		{"broken off, new", "", "new con", broken, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if test.before != "" {
				if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			size, err := WriteFile(path, 0o600, nil, write(test.text, test.err))
			if !errors.Is(err, test.err) || err == nil && size != int64(len(test.text)) {
				t.Errorf("got %d, %v", size, err)
			}
			if err != nil && err.Error() != test.err.Error() {
				t.Errorf("what has broken off is not the file's fault: %v", err)
			}
			got, err := os.ReadFile(path)
			if string(got) != test.want || (err != nil) != (test.want == "") {
				t.Errorf("the file has %q, %v; want %q", got, err, test.want)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "file" {
				t.Errorf("the folder has %v, %v", entries, err)
			}
		})
	}
}

func TestWriteOutputElsewhere(t *testing.T) {
	var stdout bytes.Buffer
	hello := func(out io.Writer) error {
		_, err := io.WriteString(out, "hello")
		return err
	}
	if size, err := WriteFile("-", 0o600, &stdout, hello); size != 5 || err != nil || stdout.String() != "hello" {
		t.Errorf("got %d, %v, %q", size, err, stdout.String())
	}
	if size, err := WriteFile(os.DevNull, 0o600, nil, hello); size != 5 || err != nil {
		t.Errorf("to a device: %d, %v", size, err)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().IsRegular() {
		t.Fatalf("the device has become %v, %v", info, err)
	}
	for path, want := range map[string]string{
		t.TempDir(): "it is a folder",
		filepath.Join(t.TempDir(), "nosuch", "file"): "no such file or directory",
		"/dev/full": "cannot write /dev/full",
	} {
		if _, err := WriteFile(path, 0o600, nil, hello); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}
