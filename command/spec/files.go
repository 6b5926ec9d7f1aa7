package spec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"trellis/command/source"
)

// FilesFolder is the folder that a spec file names as program.files. The message has its digest instead, which is not
// known before it is packed.
type FilesFolder struct {
	// Folder is where it is: what the file says, relative to the file.
	Folder string
	// Line and Column are where the file says it.
	Line, Column int
}

// unpacked stands for the digest of files until they are packed.
var unpacked = strings.Repeat("0", 64)

// takeFiles takes the folder of a program's files out of the node, and puts the form of the message in its place.
func (r *specReader) takeFiles(program *yaml.Node) {
	if program.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(program.Content); i += 2 {
		value := program.Content[i+1]
		if program.Content[i].Value != "files" || value.Kind != yaml.ScalarNode || isNull(value) {
			continue
		}
		r.files = &FilesFolder{Folder: value.Value, Line: value.Line, Column: value.Column}
		at := yaml.Node{Kind: yaml.ScalarNode, Line: value.Line, Column: value.Column, Tag: "!!str"}
		key, digest := at, at
		key.Value, digest.Value = "sha256", unpacked
		program.Content[i+1] = &yaml.Node{
			Kind: yaml.MappingNode, Line: value.Line, Column: value.Column, Content: []*yaml.Node{&key, &digest},
		}
	}
}

// locateFiles says where the folder of a program's files is, if the spec names one. It returns a *source.Error if it is
// not there.
func (f *File) locateFiles(files *FilesFolder) error {
	if files == nil {
		return nil
	}
	f.Spec.Program.Files = nil
	f.Files = files
	if !filepath.IsAbs(files.Folder) && f.Path != stdinName {
		files.Folder = filepath.Join(filepath.Dir(f.Path), files.Folder)
	}
	info, err := os.Stat(files.Folder)
	switch {
	case os.IsNotExist(err):
		return f.Error(files, fmt.Sprintf("the folder %s does not exist", files.Folder))
	case err != nil:
		return f.Error(files, fmt.Sprintf("cannot read the folder: %v", err))
	case !info.IsDir():
		return f.Error(files, fmt.Sprintf("%s is not a folder: files takes the folder of the program's files, which are sent "+
			"to workers", files.Folder))
	}
	return nil
}

// Error returns what is wrong with a folder of files, where the spec names it.
func (f *File) Error(files *FilesFolder, message string) error {
	return source.NewText(f.Path, f.data).Error(source.Problem{
		Line: files.Line, Column: files.Column, Message: message,
	})
}
