package programs

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// IgnoreFile names what of a program's folder is not sent to workers, with the patterns of .gitignore.
const IgnoreFile = ".trellisignore"

// ignoredAlways comes before the patterns of the file, which can take it back with !.
var ignoredAlways = []string{
	".git/", ".hg/", ".svn/", "__pycache__/", "*.pyc", ".venv/", ".ipynb_checkpoints/", ".mypy_cache/", ".pytest_cache/",
	".ruff_cache/", ".DS_Store",
}

// ignore returns what says of a path in a folder whether it is left out. spec is the path of the study's spec there, if
// that is not empty: it says how to search, and may change while the program stays the same.
func ignore(folder *os.Root, spec string) (func(path string, folder bool) bool, error) {
	patterns := make([]gitignore.Pattern, 0, len(ignoredAlways)+1)
	if spec != "" {
		patterns = append(patterns, gitignore.ParsePattern("/"+literal.Replace(spec), nil))
	}
	for _, line := range ignoredAlways {
		patterns = append(patterns, gitignore.ParsePattern(line, nil))
	}
	file, err := folder.Open(IgnoreFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", IgnoreFile, err)
	default:
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if line != "" && !strings.HasPrefix(line, "#") {
				patterns = append(patterns, gitignore.ParsePattern(line, nil))
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", IgnoreFile, err)
		}
	}
	matcher := gitignore.NewMatcher(patterns)
	return func(path string, isFolder bool) bool {
		return matcher.Match(strings.Split(path, "/"), isFolder) || isFolder && isDataDirectory(folder, path)
	}, nil
}

// literal escapes what has a meaning in patterns.
var literal = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

// isDataDirectory says whether a folder is the data directory of a coordinator: one that trellis run --data has made, most
// likely. It would grow with every study.
func isDataDirectory(folder *os.Root, path string) bool {
	for _, name := range []string{"log", "node.json"} {
		if _, err := folder.Stat(path + "/" + name); err != nil {
			return false
		}
	}
	return true
}
