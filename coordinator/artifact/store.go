package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Errors of artifacts, for errors.Is.
var (
	// ErrNotFound means that there is no artifact with the digest.
	ErrNotFound = errors.New("no such artifact")
	// ErrTooLarge means that an artifact exceeds the limit on its size.
	ErrTooLarge = errors.New("the artifact is too large")
	// ErrCorrupt means that an artifact's bytes do not match its name.
	ErrCorrupt = errors.New("the artifact is corrupt")
	// ErrNoSpace means that the store is full, or so nearly full that the rest is reserved for the log.
	ErrNoSpace = errors.New("no space left for artifacts")
	// ErrDigest means that a text is not a digest of 64 lower-case hexadecimal digits.
	ErrDigest = errors.New("not a SHA-256 of 64 lower-case hexadecimal digits")
	// ErrNoStore means that this node stores no artifacts.
	ErrNoStore = errors.New("there is no artifact store")
	// ErrUnasked means that some nodes could not be asked for an artifact that the others don't have.
	ErrUnasked = errors.New("some could not be asked")
)

// Artifact is one copy of an artifact. There may be several copies of the same content.
type Artifact struct {
	// SHA256 is the content's digest, 64 lower-case hexadecimal digits.
	SHA256 string
	// Copy distinguishes this copy from others: 16 random hexadecimal digits, never used twice.
	Copy string
	// Size is how many bytes it has.
	Size int64
	// Modified is when the copy was put, by the clock of the file system or service.
	Modified time.Time
}

// Compare orders copies: older before younger. No two copies are equal.
func (a Artifact) Compare(b Artifact) int {
	return cmp.Or(a.Modified.Compare(b.Modified), strings.Compare(a.Copy, b.Copy), strings.Compare(a.SHA256, b.SHA256))
}

// Name returns the name of the copy, which no other copy ever has.
func (a Artifact) Name() string { return a.SHA256 + "-" + a.Copy }

func (a Artifact) key() string { return a.SHA256[:2] + "/" + a.Name() }

// namePattern has two groups: digest and copy.
var namePattern = regexp.MustCompile(`^([0-9a-f]{64})-([0-9a-f]{16})$`)

// parseKey returns the artifact with the key, without size and time. It returns false for a key of another form.
func parseKey(key string) (Artifact, bool) {
	folder, name, _ := strings.Cut(key, "/")
	parts := namePattern.FindStringSubmatch(name)
	if parts == nil || folder != name[:2] {
		return Artifact{}, false
	}
	return Artifact{SHA256: parts[1], Copy: parts[2]}, true
}

// driver stores and reads the bytes of artifacts.
type driver interface {
	// put stores content under the key that key returns after content has been read to its end. The content is durable
	// when put returns, and not there if put fails.
	put(ctx context.Context, content io.Reader, key func() string) error
	// open returns the content of the key, or ErrNotFound if there is none.
	open(ctx context.Context, key string) (io.ReadCloser, error)
	// list yields the artifacts whose keys have the prefix, in any order. The prefix is empty, or begins with the first
	// two digits and the slash.
	list(ctx context.Context, prefix string) iter.Seq2[Artifact, error]
	// remove deletes a key. It returns nil if the key does not exist.
	remove(ctx context.Context, key string) error
	close() error
}

// Store is a set of artifacts. It is safe for concurrent use.
type Store struct{ driver driver }

// Open returns the store at a URL or path: see the package documentation. It fails if the store can't be reached.
func Open(ctx context.Context, location string) (*Store, error) {
	driver, err := open(ctx, location)
	if err != nil {
		return nil, fmt.Errorf("open the artifact store %q: %w", redact(location), err)
	}
	return &Store{driver}, nil
}

func open(ctx context.Context, location string) (driver, error) {
	if location == "" {
		return nil, errors.New("empty location: must be a folder or a URL")
	}
	if !strings.Contains(location, "://") {
		return openFolder(location)
	}
	parsed, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	if parsed.Scheme != "file" {
		return openBucket(ctx, parsed)
	}
	if parsed.Host != "" && parsed.Host != "localhost" || parsed.Path == "" || parsed.RawQuery != "" {
		return nil, errors.New("a folder's URL must have three slashes, an absolute path, and nothing else: " +
			"file:///var/lib/artifacts")
	}
	return openFolder(parsed.Path)
}

// redact removes the password from a location, for messages.
func redact(location string) string {
	if parsed, err := url.Parse(location); err == nil && parsed.User != nil {
		return parsed.Redacted()
	}
	return location
}

// Put stores the content of r, at most limit bytes, and returns its digest and size. Once it has returned without an
// error, the artifact is durable. Every Put stores a new copy, even of content that is already there.
func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (digest string, size int64, err error) {
	arriving := &arriving{ctx: ctx, from: r, limit: limit, hash: sha256.New()}
	err = s.driver.put(ctx, arriving, func() string {
		return Artifact{SHA256: hex.EncodeToString(arriving.hash.Sum(nil)), Copy: newCopy()}.key()
	})
	if err != nil {
		return "", 0, fmt.Errorf("store an artifact: %w", err)
	}
	return hex.EncodeToString(arriving.hash.Sum(nil)), arriving.size, nil
}

// Get returns an artifact's content and its size in bytes. The last Read fails with ErrCorrupt if the content does not
// match the digest. If there is no such artifact, the error is ErrNotFound.
func (s *Store) Get(ctx context.Context, digest string) (content io.ReadCloser, size int64, err error) {
	copies, err := s.copies(ctx, digest)
	if err != nil {
		return nil, 0, fmt.Errorf("find artifact %s: %w", digest, err)
	}
	for _, artifact := range copies {
		content, err := s.driver.open(ctx, artifact.key())
		if errors.Is(err, ErrNotFound) {
			continue // It was deleted since it was listed.
		}
		if err != nil {
			return nil, 0, fmt.Errorf("open artifact %s: %w", digest, err)
		}
		return &verified{ReadCloser: content, digest: digest, hash: sha256.New()}, artifact.Size, nil
	}
	return nil, 0, fmt.Errorf("find artifact %s: %w", digest, ErrNotFound)
}

// Has says whether there is an artifact with the digest.
func (s *Store) Has(ctx context.Context, digest string) (bool, error) {
	copies, err := s.copies(ctx, digest)
	if err != nil {
		return false, fmt.Errorf("find artifact %s: %w", digest, err)
	}
	return len(copies) > 0, nil
}

// copies returns all copies of an artifact, youngest first.
func (s *Store) copies(ctx context.Context, digest string) ([]Artifact, error) {
	if _, err := hex.DecodeString(digest); err != nil || len(digest) != 2*sha256.Size ||
		strings.ToLower(digest) != digest {
		return nil, ErrDigest
	}
	var copies []Artifact
	for artifact, err := range s.driver.list(ctx, digest[:2]+"/"+digest+"-") {
		if err != nil {
			return nil, err
		}
		copies = append(copies, artifact)
	}
	slices.SortFunc(copies, func(a, b Artifact) int { return b.Compare(a) })
	return copies, nil
}

// List yields all copies of all artifacts, in no particular order. Copies that are put or deleted in the meantime may
// or may not be among them. List ends after an error.
func (s *Store) List(ctx context.Context) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		for artifact, err := range s.driver.list(ctx, "") {
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Artifact{}, fmt.Errorf("list the artifacts: %w", err))
				return
			}
			if !yield(artifact, nil) {
				return
			}
		}
	}
}

// Delete deletes one copy of an artifact, as List has yielded it. It returns nil if the copy does not exist. Readers of
// the copy can continue in a folder, and may fail in a bucket.
func (s *Store) Delete(ctx context.Context, artifact Artifact) error {
	if !namePattern.MatchString(artifact.Name()) {
		return fmt.Errorf("delete artifact %q: %w", artifact.Name(), ErrDigest)
	}
	if err := s.driver.remove(ctx, artifact.key()); err != nil {
		return fmt.Errorf("delete artifact %s: %w", artifact.SHA256, err)
	}
	return nil
}

// Close releases the store's resources. No other call may be in progress.
func (s *Store) Close() error { return s.driver.close() }

// arriving is an incoming artifact. It hashes what is read, and fails beyond the limit and when the context is done.
type arriving struct {
	ctx   context.Context
	from  io.Reader
	limit int64
	hash  hash.Hash
	size  int64
}

func (a *arriving) Read(p []byte) (int, error) {
	if err := context.Cause(a.ctx); err != nil {
		return 0, err
	}
	n, err := a.from.Read(p)
	a.size += int64(n)
	if a.size > a.limit {
		return 0, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, a.limit)
	}
	a.hash.Write(p[:n])
	return n, err
}

// verified is an outgoing artifact. It hashes what is read.
type verified struct {
	io.ReadCloser
	digest string
	hash   hash.Hash
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if found := hex.EncodeToString(v.hash.Sum(nil)); found != v.digest {
			return n, fmt.Errorf("%w: %s has the content of %s", ErrCorrupt, v.digest, found)
		}
	}
	return n, err
}
