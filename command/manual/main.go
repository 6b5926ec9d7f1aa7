// Command manual writes the manual's pages, in section 1, from the texts of the help: go run ./command/manual FOLDER, or
// FILE.tar.gz for an archive of them.
//
// It is a program of its own, so that what makes the pages is no part of the binary.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"trellis/command"
)

func main() {
	if err := write(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write writes all pages to the place that is named.
func write(args []string) error {
	if len(args) != 1 {
		return errors.New("expected one FOLDER or FILE.tar.gz")
	}
	pages, err := pages(command.Root())
	if err != nil {
		return err
	}
	if strings.HasSuffix(args[0], ".tar.gz") {
		return writeArchive(args[0], pages)
	}
	if err := os.MkdirAll(args[0], 0o777); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(args[0], name), page, 0o666); err != nil {
			return fmt.Errorf("write a page: %w", err)
		}
	}
	return nil
}

// writeArchive packs the pages, into the same bytes whenever that is.
func writeArchive(path string, pages map[string][]byte) error {
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		header := &tar.Header{Name: "man1/" + name, Mode: 0o644, Size: int64(len(pages[name]))}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := archive.Write(pages[name]); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return fmt.Errorf("pack the pages: %w", err)
	}
	return os.WriteFile(path, packed.Bytes(), 0o666)
}

// pages are those of a command and all below it, by file name.
func pages(root *cobra.Command) (map[string][]byte, error) {
	pages := make(map[string][]byte)
	var visit func(*cobra.Command) error
	visit = func(command *cobra.Command) error {
		if command.Hidden || command.Name() == "help" && command.Parent() != root {
			// Making the page of a command with others below it gives it a help of its own.
			return nil
		}
		command.DisableAutoGenTag = true
		prepare(command)
		var page bytes.Buffer
		header := &doc.GenManHeader{Section: "1", Source: "Trellis " + root.Version, Manual: "Trellis"}
		if err := doc.GenMan(command, header, &page); err != nil {
			return fmt.Errorf("make the page of %s: %w", command.CommandPath(), err)
		}
		pages[strings.ReplaceAll(command.CommandPath(), " ", "-")+".1"] = page.Bytes()
		for _, child := range command.Commands() {
			if err := visit(child); err != nil {
				return err
			}
		}
		return nil
	}
	return pages, visit(root)
}

// prepare makes Markdown, which pages are made from, of a command's texts.
func prepare(command *cobra.Command) {
	command.Long = markdown(command.Long)
	visit := func(flag *pflag.Flag) { flag.Usage = special.Replace(flag.Usage) }
	command.LocalNonPersistentFlags().VisitAll(visit)
	if !command.HasParent() {
		command.PersistentFlags().VisitAll(visit)
	}
}

// special are the characters that mean something in Markdown.
var special = strings.NewReplacer("<", `\<`, ">", `\>`, "*", `\*`, "_", `\_`)

// aligned is what is set in columns, or indented.
var aligned = regexp.MustCompile(`(?m)^ |\S {3,}\S`)

// markdown leaves paragraphs in columns as they are, and fills others.
func markdown(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, paragraph := range paragraphs {
		if aligned.MatchString(paragraph) {
			paragraphs[i] = "    " + strings.ReplaceAll(paragraph, "\n", "\n    ")
		} else {
			paragraphs[i] = special.Replace(paragraph)
		}
	}
	return strings.Join(paragraphs, "\n\n")
}
