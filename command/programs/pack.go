package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/archive"
	"trellis/worker/scratch"
)

// Packed are the files of a program in a file of their own, until Close.
type Packed struct {
	// Files is what the spec says of them, nil if there are none.
	Files *trellisv1.Files
	// Bytes is how many bytes they have unpacked.
	Bytes int64
	path  string
	// folder is where the file is.
	folder *scratch.Folder
}

// Pack packs the folder that a spec's program.files names, and puts its digest into the spec.
func Pack(ctx context.Context, file *spec.File) (*Packed, error) {
	packed := &Packed{}
	if file.Files == nil {
		return packed, nil
	}
	folder, err := scratch.Make(os.TempDir(), "trellis-files-")
	if err != nil {
		return nil, fmt.Errorf("pack the program's files: %w", err)
	}
	packed.folder, packed.path = folder, filepath.Join(folder.Path(), "files.tar.zst")
	temporary, err := os.Create(packed.path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pack the program's files: %w", err), packed.Close())
	}
	info, err := packFolder(ctx, temporary, file.Files.Folder, file.Path)
	if closed := temporary.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, errors.Join(explainPacking(file, err), packed.Close())
	}
	packed.Files = &trellisv1.Files{Sha256: info.SHA256, Size: uint64(info.Size), Count: uint32(info.Files)}
	packed.Bytes = info.Bytes
	file.Spec.Program.Files = packed.Files
	return packed, nil
}

func packFolder(ctx context.Context, to *os.File, folder, spec string) (archive.Info, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return archive.Info{}, err
	}
	defer root.Close()
	skip, err := ignore(root, placeIn(folder, spec))
	if err != nil {
		return archive.Info{}, err
	}
	return archive.Pack(ctx, to, root, archive.Limits{Files: archive.DefaultFiles, Bytes: archive.DefaultFileBytes}, skip)
}

// placeIn returns the path of a file within a folder, or "" if it is not there.
func placeIn(folder, file string) string {
	within, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	if file, err = filepath.Abs(file); err != nil {
		return ""
	}
	path, err := filepath.Rel(within, file)
	if err != nil || !filepath.IsLocal(path) {
		return ""
	}
	return filepath.ToSlash(path)
}

// explainPacking says which line of the spec has named what can't be packed, and what to do about it.
func explainPacking(file *spec.File, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	advice := ""
	if errors.Is(err, archive.ErrLimit) {
		advice = ": name what the program does not need in " + IgnoreFile
	}
	return file.Error(file.Files, fmt.Sprintf("cannot pack %s: %v%s", file.Files.Folder, err, advice))
}

// Close removes the file.
func (p *Packed) Close() error { return p.folder.Remove() }

// Describe says what is sent to workers.
func Describe(files *trellisv1.Files) string {
	return fmt.Sprintf("%s, %s packed", output.Count(uint64(files.GetCount()), "file"), output.ShortBytes(files.GetSize()))
}

// Upload uploads the files unless the coordinator has them.
func (p *Packed) Upload(ctx context.Context, env *cli.Environment, c *client.Client) error {
	if p.Files == nil {
		return nil
	}
	uploaded, err := c.EnsureArtifact(ctx, p.Files.GetSha256(), p.Files.GetSize(),
		func() (io.ReadCloser, error) { return os.Open(p.path) })
	if err != nil {
		return fmt.Errorf("cannot upload the program's files: %w", err)
	}
	if uploaded {
		fmt.Fprintf(env.Err, "Uploaded the program's files: %s.\n", Describe(p.Files))
	}
	return nil
}
