package artifact

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeS3 answers what the S3 driver asks, with path-style addresses: one bucket, no versions, no credentials checked.
type fakeS3 struct {
	bucket string

	mu      sync.Mutex
	objects map[string]s3Object
	// parts has the parts of uploads under way, by upload.
	parts map[string]map[int][]byte
	// trouble is what a request comes to instead, if it is not nil.
	trouble http.HandlerFunc
}

type s3Object struct {
	content  []byte
	modified time.Time
}

// serveS3 returns the URL of an empty bucket.
func serveS3(t *testing.T) string {
	location, _ := serveTroubledS3(t)
	return location
}

// serveTroubledS3 returns the URL of an empty bucket, and how to change what becomes of requests; nil: what is asked for.
func serveTroubledS3(t *testing.T) (location string, trouble func(http.HandlerFunc)) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	fake := &fakeS3{bucket: "models", objects: map[string]s3Object{}, parts: map[string]map[int][]byte{}}
	server := httptest.NewServer(fake)
	t.Cleanup(func() {
		// The driver keeps its connections: see net/http.Transport.
		server.CloseClientConnections()
		server.Close()
	})
	return "s3://models/trellis?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL),
		func(handle http.HandlerFunc) {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			fake.trouble = handle
		}
}

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	trouble := s.trouble
	s.mu.Unlock()
	if trouble != nil {
		trouble(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	if bucket != s.bucket {
		s.fail(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	switch {
	case r.Method == http.MethodGet && key == "":
		s.list(w, query)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		object, found := s.objects[key]
		if !found {
			s.fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		http.ServeContent(w, r, "", object.modified, strings.NewReader(string(object.content)))
	case r.Method == http.MethodPut:
		body, err := s3Body(r)
		if err != nil {
			s.fail(w, http.StatusBadRequest, err.Error())
			return
		}
		w.Header().Set("ETag", `"tag"`)
		if upload := query.Get("uploadId"); upload != "" {
			number, _ := strconv.Atoi(query.Get("partNumber"))
			s.parts[upload][number] = body
			return
		}
		s.objects[key] = s3Object{body, time.Now()}
	case r.Method == http.MethodPost && query.Has("uploads"):
		upload := strconv.Itoa(len(s.parts))
		s.parts[upload] = map[int][]byte{}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId>"+
			"</InitiateMultipartUploadResult>", bucket, key, upload)
	case r.Method == http.MethodPost && query.Has("uploadId"):
		var content []byte
		parts := s.parts[query.Get("uploadId")]
		for number := 1; number <= len(parts); number++ {
			content = append(content, parts[number]...)
		}
		s.objects[key] = s3Object{content, time.Now()}
		fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>tag</ETag>"+
			"</CompleteMultipartUploadResult>", bucket, key)
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		s.fail(w, http.StatusNotImplemented, "NotImplemented")
	}
}

func (s *fakeS3) fail(w http.ResponseWriter, code int, name string) {
	w.WriteHeader(code)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", name, name)
}

// list answers in pages of at most ten, so that paging is used.
func (s *fakeS3) list(w http.ResponseWriter, query url.Values) {
	type contents struct {
		Key, LastModified string
		Size              int
	}
	answer := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		Contents              []contents
	}{}
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, query.Get("prefix")) && key > query.Get("continuation-token") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > 10 {
		keys = keys[:10]
		answer.IsTruncated, answer.NextContinuationToken = true, keys[9]
	}
	for _, key := range keys {
		object := s.objects[key]
		answer.Contents = append(answer.Contents, contents{
			key, object.modified.UTC().Format(time.RFC3339),
			len(object.content),
		})
	}
	_ = xml.NewEncoder(w).Encode(answer)
}

// s3Body returns what is put. The SDK may send it in chunks with a checksum behind them.
func s3Body(r *http.Request) ([]byte, error) {
	if !strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		return io.ReadAll(r.Body)
	}
	var body []byte
	reader := bufio.NewReader(r.Body)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		size, err := strconv.ParseInt(digits, 16, 64)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			_, err := io.Copy(io.Discard, reader)
			return body, err
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(reader, chunk); err != nil {
			return nil, err
		}
		if string(chunk[size:]) != "\r\n" {
			return nil, errors.New("a chunk has another length than it says")
		}
		body = append(body, chunk[:size]...)
	}
}

// A folder in a URL is one in the bucket.
func TestFolderOfABucket(t *testing.T) {
	location := serveS3(t)
	digest := mustPut(t, openTest(t, location), []byte("content"))
	other := openTest(t, strings.Replace(location, "/trellis?", "/other/?", 1))
	if has, err := other.Has(t.Context(), digest); err != nil || has {
		t.Errorf("an artifact of another folder is there: %v, %v", has, err)
	}
	all := openTest(t, strings.Replace(location, "/trellis?", "?prefix=trellis/&", 1))
	wantContent(t, all, []byte("content"))
	if _, err := Open(t.Context(), location+"&prefix=x"); err == nil ||
		!strings.Contains(err.Error(), "use one of them") {
		t.Errorf("a folder and a prefix: %v", err)
	}
}

func TestBucketThatIsNotThere(t *testing.T) {
	location := strings.Replace(serveS3(t), "s3://models", "s3://typo", 1)
	_, err := Open(t.Context(), location)
	if err == nil || !strings.Contains(err.Error(), `bucket "typo" not found`) {
		t.Errorf("open a bucket that is not there: %v", err)
	}
}

// Keys that the service refuses, and a service that goes away or stalls: the error says so, nothing half is there, and what was
// there is afterwards.
func TestBucketInTrouble(t *testing.T) {
	location, trouble := serveTroubledS3(t)
	store := openTest(t, location)
	before := mustPut(t, store, []byte("before"))
	put := func(ctx context.Context) (string, error) {
		digest, _, err := store.Put(ctx, bytes.NewReader([]byte("meanwhile")), 100)
		return digest, err
	}
	released := make(chan struct{})
	for _, test := range []struct {
		name   string
		handle http.HandlerFunc
		// patience is how long whoever asks waits. The SDK tries again for seconds.
		patience     time.Duration
		want, advice string
	}{
		{"wrong keys", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>Check your key.</Message></Error>")
		}, time.Minute, "artifact: the bucket's service refuses: SignatureDoesNotMatch (Check your key)", "): check the keys"},
		{"gone away", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, 300 * time.Millisecond, "", ": check that it is running"},
		{"stalled", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-released:
			}
		}, 300 * time.Millisecond, "deadline exceeded", ": check that it is running"},
	} {
		trouble(test.handle)
		ctx, cancel := context.WithTimeout(t.Context(), test.patience)
		if _, err := put(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: put: %v, want %q", test.name, err, test.want)
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), test.patience)
		if _, err := Open(ctx, location); err == nil || !strings.Contains(err.Error(), test.advice) {
			t.Errorf("%s: open: %v, want %q", test.name, err, test.advice)
		}
		cancel()
		trouble(nil)
		if has, err := store.Has(t.Context(), before); err != nil || !has {
			t.Errorf("%s: what was there before is there: %v, %v", test.name, has, err)
		}
		for found, err := range store.List(t.Context()) {
			if err != nil || found.SHA256 != before {
				t.Errorf("%s: left %v, %v", test.name, found, err)
			}
		}
	}
	close(released)
	wantContent(t, store, []byte("before"))
	digest, err := put(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if has, err := store.Has(t.Context(), digest); err != nil || !has {
		t.Errorf("what was put after the trouble is there: %v, %v", has, err)
	}
}

// Whoever has no keys is told how to give them.
func TestBucketWithoutKeys(t *testing.T) {
	location := serveS3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := Open(t.Context(), location)
	if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("open the artifact store %q: ask for the bucket: found no keys "+
		"for the bucket's service: check the keys (AWS_ACCESS_KEY_ID and ", location)) {
		t.Errorf("open without keys: %v", err)
	}
}

// Nobody waits for a service that does not answer, or stops in the middle of an object. One that was slow is asked again.
func TestSilentBucket(t *testing.T) {
	location, trouble := serveTroubledS3(t)
	store := openTest(t, location)
	digest := mustPut(t, store, []byte("content"))
	found, err := store.copies(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	driver := store.driver.(bucket)
	driver.silence = 200 * time.Millisecond
	impatient := &Store{driver}
	released := make(chan struct{})
	defer close(released)
	silent := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released: // The server does not see that a request with a body has ended.
		}
	}
	trouble(silent)
	_, err = impatient.Has(t.Context(), digest)
	wantSilent(t, "has", err)
	wantSilent(t, "delete", impatient.Delete(t.Context(), found[0]))
	_, err = driver.open(t.Context(), found[0].key())
	wantSilent(t, "open", err)
	_, _, err = impatient.Put(t.Context(), strings.NewReader("more"), 100)
	wantSilent(t, "put", err)
	trouble(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "7")
		fmt.Fprint(w, "cont")
		_ = http.NewResponseController(w).Flush()
		silent(w, r)
	})
	// It has time enough to begin.
	driver.silence = 2 * time.Second
	content, err := driver.open(t.Context(), found[0].key())
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(content)
	wantSilent(t, "read", err)
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	trouble(nil)
	wantContent(t, store, []byte("content"))
}

func wantSilent(t *testing.T, what string, err error) {
	t.Helper()
	var silent silentError
	if !errors.As(err, &silent) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer for ") {
		t.Errorf("%s: got error %v, want one that tells of the silence", what, err)
	}
}
