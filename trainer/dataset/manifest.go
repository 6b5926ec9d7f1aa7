package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// manifestName is the file that makes a folder of IDX files an imported data set.
	manifestName    = "data-set.json"
	manifestVersion = 1
	// maxManifest is far more than the checksums and names of the largest data set take.
	maxManifest = 16 << 20
)

// Format is what a data set was imported from.
type Format string

// The formats.
const (
	IDX      Format = "idx"
	NumPy    Format = "numpy"
	Pictures Format = "pictures"
	CIFAR    Format = "cifar10"
)

// Manifest is what is noted of a data set when it is imported. It does not change, and the same source gives the same one.
type Manifest struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
	Format  Format `json:"format"`
	// Height and Width are an image's, in pixels.
	Height   int `json:"height"`
	Width    int `json:"width"`
	Channels int `json:"channels"`
	// Classes are the names of the labels, from 0. Nil: they have none.
	Classes []string `json:"classes,omitempty"`
	// TestEvery says that the source had no test images: of each class, every image of this number became one. 0: it had.
	TestEvery  int            `json:"test_every,omitempty"`
	Statistics Statistics     `json:"statistics"`
	LeftOut    LeftOut        `json:"left_out"`
	Files      []manifestFile `json:"files"`
}

// Bytes is the size of all files together.
func (m *Manifest) Bytes() (bytes int64) {
	for _, f := range m.Files {
		bytes += f.Size
	}
	return bytes
}

// manifestFile is a file of the data set. The checksums of its blocks (CRC-32C) follow one another in Blocks, 8 hexadecimal
// digits each.
type manifestFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	Blocks string `json:"blocks"`
}

// sealed is the manifest's file. SHA256 is that of the manifest's JSON without white space.
type sealed struct {
	SHA256   string          `json:"sha256"`
	Manifest json.RawMessage `json:"manifest"`
}

// write writes the manifest into a folder.
func (m *Manifest) write(folder string) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	text, err := json.MarshalIndent(sealed{hex.EncodeToString(sum[:]), content}, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(folder, manifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	return errors.Join(err, file.Sync(), file.Close())
}

// locateImported returns the manifest of an imported data set, and its files with their places, sizes and checksums. The
// manifest is nil if the folder has none.
func locateImported(folder string) (*Manifest, []File, error) {
	path := filepath.Join(folder, manifestName)
	m, err := readManifest(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	files, err := m.files(folder)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, files, nil
}

func readManifest(path string) (*Manifest, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxManifest+1))
	if err != nil {
		return nil, err
	}
	return parseManifest(text)
}

func parseManifest(text []byte) (*Manifest, error) {
	var s sealed
	if len(text) > maxManifest || json.Unmarshal(text, &s) != nil || s.Manifest == nil {
		return nil, damaged("it is not what an import writes")
	}
	var content bytes.Buffer
	if err := json.Compact(&content, s.Manifest); err != nil {
		return nil, damaged("%w", err)
	}
	if sum := sha256.Sum256(content.Bytes()); hex.EncodeToString(sum[:]) != s.SHA256 {
		return nil, damaged("its checksum is wrong")
	}
	m := new(Manifest)
	if err := json.Unmarshal(content.Bytes(), m); err != nil {
		return nil, damaged("%w", err)
	}
	if m.Version != manifestVersion {
		return nil, invalidf("the data set was imported by another version of this program: its manifest has version %d, "+
			"want %d", m.Version, manifestVersion)
	}
	return m, nil
}

// damaged is an ErrInvalid about a manifest, with what to do.
func damaged(format string, args ...any) error {
	return invalidf("%w; remove the data set and import it again", fmt.Errorf(format, args...))
}

// files returns the files that the manifest names, in a folder.
func (m *Manifest) files(folder string) ([]File, error) {
	files := make([]File, len(m.Files))
	for i, f := range m.Files {
		sums, err := hex.DecodeString(f.Blocks)
		if err != nil || f.Size < 1 || int64(len(sums)) != 4*((f.Size+blockSize-1)/blockSize) {
			return nil, damaged("it does not have a checksum for each block of %s", f.Name)
		}
		files[i] = File{
			Name: f.Name, SHA256: f.SHA256, Size: f.Size,
			place: place(filepath.Join(folder, f.Name)), blocks: make([]uint32, len(sums)/4),
		}
		for j := range files[i].blocks {
			files[i].blocks[j] = uint32(sums[4*j])<<24 | uint32(sums[4*j+1])<<16 | uint32(sums[4*j+2])<<8 | uint32(sums[4*j+3])
		}
	}
	cache := Cache{MaxBytes: 1 << 62} // The library has a limit of its own.
	if err := cache.check(m.Digest, files); err != nil {
		return nil, damaged("%w", err)
	}
	return files, nil
}
