package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/memblob" // mem://
	_ "gocloud.dev/blob/s3blob"  // s3://
	"gocloud.dev/gcerrors"
)

// bucket is a driver for the services that gocloud.dev/blob supports.
type bucket struct {
	*blob.Bucket
	silence time.Duration
	// ahead is how many bytes of an upload may have been read that the service has not taken.
	ahead int64
}

func openBucket(ctx context.Context, location *url.URL) (driver, error) {
	switch location.Scheme {
	case "mem":
	case "s3":
		// Our own checksums are stronger, and not every service supports those of S3.
		location = withOption(location, "response_checksum_validation", "when_required")
	case "gs":
		if !hasGCS {
			return nil, errors.New("this binary was built without Google Cloud Storage, because that would make it " +
				"half as large again: build one with -tags gcs, or use a folder or an s3:// URL")
		}
	default:
		return nil, fmt.Errorf("unknown scheme %q: must be a folder, or a URL that begins with file://, s3:// or gs://",
			location.Scheme)
	}
	if folder := strings.Trim(location.Path, "/"); folder != "" {
		if location.Query().Has("prefix") {
			return nil, fmt.Errorf("it has both a folder, %q, and a prefix: use one of them", folder)
		}
		location = withOption(location, "prefix", folder+"/")
	}
	if location.Scheme != "mem" && location.Host == "" {
		return nil, fmt.Errorf("it names no bucket: must be %s://BUCKET or %s://BUCKET/FOLDER", location.Scheme,
			location.Scheme)
	}
	opened, err := blob.OpenBucket(ctx, location.String())
	if err != nil {
		// The library's text begins with the URL, and with options that are not the user's.
		text := strings.TrimPrefix(err.Error(), "open bucket "+location.String()+": ")
		return nil, errors.New(strings.TrimPrefix(text, location.Scheme+"blob.OpenBucket: "))
	}
	asked := awaitAnswer(ctx, maxSilence)
	defer asked.end()
	switch there, err := opened.IsAccessible(asked); {
	case err != nil:
		err = asked.reason(err)
		err = fmt.Errorf("ask for the bucket: %w: %s", err, advice(err))
		return nil, errors.Join(err, opened.Close())
	case !there:
		err = fmt.Errorf("bucket %q not found, or not accessible: create it first, and check the credentials",
			location.Host)
		return nil, errors.Join(err, opened.Close())
	}
	return bucket{opened, maxSilence, readAhead}, nil
}

// withOption returns the URL with an option of its driver added, unless it is already there.
func withOption(location *url.URL, option, value string) *url.URL {
	query := location.Query()
	if query.Has(option) {
		return location
	}
	query.Set(option, value)
	changed := *location
	changed.RawQuery = query.Encode()
	return &changed
}

// put first writes the content to a temporary file, because an object has its name from the start.
func (b bucket) put(ctx context.Context, content io.Reader, key func() string) (err error) {
	spool, err := os.CreateTemp("", "trellis-artifact-")
	if err != nil {
		return err
	}
	// Without a name, the file disappears with the process, however that ends. Where open files can't be removed, this
	// fails, and the second attempt removes it.
	_ = os.Remove(spool.Name())
	defer func() {
		_ = spool.Close()
		_ = os.Remove(spool.Name())
	}()
	size, err := io.Copy(spool, content)
	if err != nil {
		err = fmt.Errorf("write it to a temporary file: %w", err)
		return advise(err, "make room in "+os.TempDir()+", or set TMPDIR to another folder")
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	name := key()
	artifact, _ := parseKey(name)
	// What is read back from the disk is checked again on its way to the bucket.
	checked := &verified{ReadCloser: io.NopCloser(spool), digest: artifact.SHA256, hash: sha256.New()}
	all := awaitAnswer(ctx, b.silence+takes(size))
	defer all.end()
	// A service that stops in the midst of a large artifact is noticed sooner: then no more of it is read.
	asked := awaitAnswer(all, b.silence+takes(min(size, b.ahead)))
	defer asked.end()
	return asked.reason(b.Upload(asked, name, sent{checked, asked}, &blob.WriterOptions{
		ContentType: "application/octet-stream", DisableContentTypeDetection: true,
	}))
}

// takes is how long the service takes for so many bytes at most.
func takes(size int64) time.Duration { return time.Duration(size/slowest) * time.Second }

// sent is what is being sent to the service. Each Read says that the service has taken what was read before, except for
// what is read ahead.
type sent struct {
	io.Reader
	to *answering
}

func (s sent) Read(p []byte) (int, error) {
	s.to.asked()
	return s.Reader.Read(p)
}

func (b bucket) open(ctx context.Context, key string) (io.ReadCloser, error) {
	asked := awaitAnswer(ctx, b.silence)
	reader, err := b.NewReader(asked, key, nil)
	asked.answered()
	if err == nil {
		return answer{reader, asked}, nil
	}
	defer asked.end()
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, ErrNotFound
	}
	return nil, asked.reason(err)
}

func (b bucket) list(ctx context.Context, prefix string) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		objects := b.List(&blob.ListOptions{Prefix: prefix})
		asked := awaitAnswer(ctx, b.silence)
		defer asked.end()
		for {
			asked.asked()
			object, err := objects.Next(asked)
			asked.answered()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Artifact{}, asked.reason(err))
				return
			}
			artifact, ours := parseKey(object.Key)
			if !ours {
				continue
			}
			artifact.Size, artifact.Modified = object.Size, object.ModTime
			if !yield(artifact, nil) {
				return
			}
		}
	}
}

func (b bucket) remove(ctx context.Context, key string) error {
	asked := awaitAnswer(ctx, b.silence)
	defer asked.end()
	if err := b.Delete(asked, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return asked.reason(err)
	}
	return nil
}

func (b bucket) close() error { return b.Close() }
