package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"trellis/command/exit"
	"trellis/coordinator"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// dataSets serves the data sets of a library in the API's terms.
type dataSets struct {
	library dataset.Library
	// life ends downloads. Whoever asked for one may leave earlier: others wait for it too.
	life context.Context
	// searches are shared by those who look for the same data set at the same time.
	searches singleflight.Group

	// mu guards what follows. It is never held while files are read or downloaded.
	mu sync.Mutex
	// found are the sets that have been found, by digest.
	found map[string]*dataset.Set
	// read are the sets that were read last, by name: they are not read again as long as their files look the same.
	read map[string]reading
	// failure is why the last download failed, at failedAt. It is nil if none has.
	failure  error
	failedAt time.Time
}

// reading is a data set, and what its files looked like when they were read.
type reading struct {
	look string
	set  *dataset.Set
}

var _ coordinator.DataSets = (*dataSets)(nil)

// downloadPause is how long FindDigest starts no other download after one has failed.
const downloadPause = time.Minute

// newDataSets returns the data sets of a library. Downloads end with ctx.
func newDataSets(ctx context.Context, options *DataOptions) (*dataSets, error) {
	d := &dataSets{
		library: options.Library(),
		life:    ctx,
		found:   make(map[string]*dataset.Set),
		read:    make(map[string]reading),
	}
	if options.dataSets != "" {
		if info, err := os.Stat(options.dataSets); errors.Is(err, fs.ErrNotExist) {
			return nil, exit.Usagef("%s: folder %s not found", options.dataSetsNamed(), options.dataSets)
		} else if err != nil {
			return nil, exit.Usagef("%s: %w", options.dataSetsNamed(), err)
		} else if !info.IsDir() {
			return nil, exit.Usagef("%s: %s is not a folder", options.dataSetsNamed(), options.dataSets)
		}
	}
	return d, nil
}

// Find returns the verified data set of that name. If MNIST has to be downloaded, it waits; all callers share one
// download.
func (d *dataSets) Find(ctx context.Context, name string) (*trellisv1.DataSet, error) {
	if name != dataset.MNIST {
		// Its files may have changed a moment ago: what others have begun to read is not good enough.
		set, err := d.search(name)
		if err != nil {
			return nil, err
		}
		return describeDataSet(set), nil
	}
	set, err := d.findLocal(ctx, name)
	if errors.Is(err, dataset.ErrNotDownloaded) {
		set, err = await(ctx, d.download())
	}
	if err != nil {
		return nil, err
	}
	return describeDataSet(set), nil
}

// FindDigest returns the data set of that digest: the one of that name, or of another. It waits for no download: if
// MNIST is missing, one begins, and a later call finds it.
func (d *dataSets) FindDigest(
	ctx context.Context, digest, name string,
) (*trellisv1.DataSet, *trellisv1.WaitingFor) {
	named, err := d.findLocal(ctx, name)
	if err == nil && named.Digest == digest {
		return describeDataSet(named), nil
	}
	for _, other := range d.others(name) {
		if set, err := d.findLocal(ctx, other); err == nil && set.Digest == digest {
			return describeDataSet(set), nil
		}
	}
	if errors.Is(err, dataset.ErrNotDownloaded) {
		err = d.downloadLater(err)
	}
	if err != nil {
		return nil, &trellisv1.WaitingFor{
			Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING, Message: err.Error(),
		}
	}
	return nil, &trellisv1.WaitingFor{
		Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED, Found: named.Digest,
	}
}

// others are the folders of the library besides the one of that name.
func (d *dataSets) others(name string) (names []string) {
	available, err := d.library.Available()
	if err != nil {
		return nil // What is wrong with the folder is told of the name.
	}
	for _, folder := range available {
		if folder.Name != name && folder.Name != dataset.MNIST && folder.Err == nil {
			names = append(names, folder.Name)
		}
	}
	return names
}

// findLocal finds a data set on this machine. It does not read one again whose files look the same.
func (d *dataSets) findLocal(ctx context.Context, name string) (*dataset.Set, error) {
	d.mu.Lock()
	read, known := d.read[name]
	d.mu.Unlock()
	if known && read.look != "" && read.look == d.look(name, read.set) && d.remember(name, read) {
		return read.set, nil
	}
	return await(ctx, d.searches.DoChan("local "+name, func() (any, error) { return d.search(name) }))
}

// search reads a data set on this machine.
func (d *dataSets) search(name string) (*dataset.Set, error) {
	look := d.look(name, nil)
	set, err := d.library.FindLocal(d.life, name)
	if err != nil {
		return nil, err
	}
	d.note(name, look, set)
	return set, nil
}

// note notes what has been read. MNIST shows where its files are only now.
func (d *dataSets) note(name, look string, set *dataset.Set) {
	if name == dataset.MNIST {
		look = set.Look()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found[set.Digest] = set
	d.read[name] = reading{look, set}
}

// remember makes a set that was read the one that Open serves, unless it has been forgotten meanwhile.
func (d *dataSets) remember(name string, read reading) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.read[name] != read {
		return false
	}
	d.found[read.set.Digest] = read.set
	return true
}

// forget makes the next search read a set's files, however they look.
func (d *dataSets) forget(set *dataset.Set) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found[set.Digest] == set {
		delete(d.found, set.Digest)
	}
	for name, read := range d.read {
		if read.set == set {
			delete(d.read, name)
		}
	}
}

// download downloads MNIST, or joins those who do.
func (d *dataSets) download() <-chan singleflight.Result {
	return d.searches.DoChan("download", func() (any, error) {
		set, err := d.library.Find(d.life, dataset.MNIST)
		if err == nil {
			d.note(dataset.MNIST, "", set)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failure, d.failedAt = err, time.Now()
		return set, err
	})
}

// downloadLater begins to download MNIST unless that has just failed. It returns why MNIST is missing meanwhile.
func (d *dataSets) downloadLater(missing error) error {
	d.mu.Lock()
	failure, failedAt := d.failure, d.failedAt
	d.mu.Unlock()
	if failure != nil && time.Since(failedAt) < downloadPause {
		return failure
	}
	d.download()
	return fmt.Errorf("%w; a download is under way", missing)
}

// await waits for a search.
func await(ctx context.Context, search <-chan singleflight.Result) (*dataset.Set, error) {
	select {
	case result := <-search:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*dataset.Set), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// look is what the files of a data set look like: those in its folder, or MNIST's wherever they were found. It is empty
// if that can't be told.
func (d *dataSets) look(name string, set *dataset.Set) string {
	if name == dataset.MNIST {
		if set == nil {
			return ""
		}
		return set.Look()
	}
	path := filepath.Join(d.library.Dir, name)
	entries, err := os.ReadDir(path)
	if err != nil || d.library.Dir == "" {
		return ""
	}
	var look strings.Builder
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(path, entry.Name())) // It follows links.
		if err != nil {
			return ""
		}
		fmt.Fprintf(&look, "%q %d %d\n", entry.Name(), info.Size(), info.ModTime().UnixNano())
	}
	return look.String()
}

// Open returns a file of a data set that Find or FindDigest has returned. If it can't be read, or has changed, the data
// set is forgotten: the next search reads what is there.
func (d *dataSets) Open(_ context.Context, digest, sha256 string) (io.ReadCloser, error) {
	d.mu.Lock()
	set := d.found[digest]
	d.mu.Unlock()
	if set == nil {
		return nil, fmt.Errorf("no data set of digest %s has been found: %w", digest, dataset.ErrUnknown)
	}
	content, err := set.Open(sha256)
	if err != nil {
		if !errors.Is(err, dataset.ErrUnknown) {
			d.forget(set)
		}
		return nil, err
	}
	return &servedFile{content, func() { d.forget(set) }}, nil
}

// servedFile is a file of a data set.
type servedFile struct {
	io.ReadCloser
	// failed is called when reading fails, also because the content is not what it was.
	failed func()
}

func (f *servedFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		f.failed()
	}
	return n, err
}

func describeDataSet(set *dataset.Set) *trellisv1.DataSet {
	described := &trellisv1.DataSet{
		Name: set.Name, Digest: set.Digest, Height: uint32(set.Height), Width: uint32(set.Width),
		TrainImages: uint32(set.TrainImages), TestImages: uint32(set.TestImages), Classes: new(uint32(set.Classes)), Channels: uint32(set.Channels),
	}
	for _, file := range set.Files {
		described.Files = append(described.Files,
			&trellisv1.DataFile{Name: file.Name, Sha256: file.SHA256, Size: uint64(file.Size)})
	}
	return described
}
