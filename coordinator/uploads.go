package coordinator

import (
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/api"
	"trellis/coordinator/artifact"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/paper"
)

// An upload must bring uploadPace bytes in every uploadInterval on average, once the first has passed. The slowest
// modem does.
const (
	uploadPace     = 64 << 10
	uploadInterval = time.Minute
	// unusedTime is how long an upload counts that no study names: by then the collector has removed it.
	unusedTime = artifact.Grace + artifact.Grace/3
	// unusedPause is how often it is asked which artifacts studies name.
	unusedPause = 5 * time.Second
)

// uploads bounds the artifacts that are being received: their number, and the bytes of them that are on the disk. An
// upload above a limit is refused, and its worker tries again.
type uploads struct {
	number, bytes *quota.Quota
	unused        *unused
}

// newUploads returns the bounds. named returns the digests of artifacts that studies name.
func newUploads(limits Limits, named func() (map[string]bool, error)) *uploads {
	const help = "retry in a moment"
	return &uploads{
		number: quota.New(quota.Limit{
			Name: "uploads", Noun: "unfinished uploads", Help: help, InAll: limits.Uploads, Each: limits.UploadsEach,
		}),
		bytes: quota.New(quota.Limit{
			Name: "upload-bytes", Noun: "bytes of unfinished uploads", Help: help,
			InAll: limits.UploadBytes, Each: limits.UploadBytesEach,
		}),
		unused: newUnused(limits, named),
	}
}

// bound counts a stream that is an upload.
func (u *uploads) bound(
	service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	if info.FullMethod != trellisv1.ArtifactService_UploadArtifact_FullMethodName {
		return handler(service, stream)
	}
	who, err := claimConnection(stream.Context())
	if err != nil {
		return err
	}
	if err := u.number.Take(who, 1); err != nil {
		return api.Status(err)
	}
	defer u.number.Give(who, 1)
	counted := &upload{ServerStream: stream, bytes: u.bytes, who: who, began: time.Now()}
	if caller := access.Of(stream.Context()); caller.Role == trellisv1.Role_ROLE_SUBMITTER ||
		caller.Role == trellisv1.Role_ROLE_ADMIN {
		counted.unused = u.unused
	}
	err = handler(service, counted)
	// Nothing is received after the handler has returned, but what it has been told to receive may still come.
	total := counted.count.End()
	u.bytes.Give(who, total)
	counted.unused.keep(who, counted.digest, total)
	return err
}

// upload is the stream of an upload.
type upload struct {
	grpc.ServerStream
	bytes *quota.Quota
	who   string
	began time.Time
	count quota.Count
	// unused is nil for workers, whose checkpoints are reported at once, and where nobody is authenticated.
	unused *unused
	// digest is set once the artifact is stored.
	digest string
}

// SendMsg notes what was stored.
func (u *upload) SendMsg(message any) error {
	if response, ok := message.(*trellisv1.UploadArtifactResponse); ok {
		u.digest = response.GetSha256()
	}
	return u.ServerStream.SendMsg(message)
}

// RecvMsg receives the next piece.
func (u *upload) RecvMsg(message any) error {
	if err := u.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	request, ok := message.(*trellisv1.UploadArtifactRequest)
	if !ok {
		return nil
	}
	piece := int64(len(request.GetData()))
	if err := u.bytes.Take(u.who, piece); err != nil {
		return api.Status(err)
	}
	if err := u.unused.take(u.who, piece); err != nil {
		u.bytes.Give(u.who, piece)
		return api.Status(err)
	}
	total, open := u.count.Add(piece)
	if !open {
		u.bytes.Give(u.who, piece)
		u.unused.give(u.who, piece)
		return status.Error(codes.Canceled, "the upload has ended")
	}
	if took := time.Since(u.began); took > uploadInterval && float64(total) < uploadPace*took.Minutes() {
		return status.Errorf(codes.DeadlineExceeded, "only %d bytes of the artifact have arrived in %v, and an upload must "+
			"bring %d a minute", total, took.Round(time.Second), uploadPace)
	}
	return nil
}

// unused bounds the artifacts that were uploaded and that no study names. Nil bounds nothing.
type unused struct {
	bytes *quota.Quota
	named func() (map[string]bool, error)

	mu sync.Mutex
	// kept are the uploads that count, and asked is when it was last asked which of them studies name.
	kept  []keptUpload
	asked time.Time
}

// keptUpload is an upload that nothing named when it ended.
type keptUpload struct {
	who, digest string
	bytes       int64
	until       time.Time
}

func newUnused(limits Limits, named func() (map[string]bool, error)) *unused {
	return &unused{named: named, bytes: quota.New(quota.Limit{
		Name: "unused-bytes", Noun: "bytes of uploads that no study names",
		Help:  "submit a study that names them, or retry in an hour, when they are removed",
		InAll: limits.UnusedBytes, Each: limits.UnusedBytesEach,
	})}
}

// take counts a piece of an upload. If there is no room, it looks for what has come into use or was removed.
func (u *unused) take(who string, piece int64) error {
	if u == nil {
		return nil
	}
	refusal := u.bytes.Take(who, piece)
	if refusal != nil && u.release() {
		refusal = u.bytes.Take(who, piece)
	}
	return refusal
}

// give gives back what was taken.
func (u *unused) give(who string, bytes int64) {
	if u != nil {
		u.bytes.Give(who, bytes)
	}
}

// keep ends an upload: if it was stored, and so has a digest, its bytes count until a study names it, or it was removed.
// Whether its uploader has waited for the answer does not matter.
func (u *unused) keep(who, digest string, bytes int64) {
	if u == nil {
		return
	}
	if digest == "" {
		u.bytes.Give(who, bytes)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = append(u.kept, keptUpload{who, digest, bytes, time.Now().Add(unusedTime)})
}

// release gives back what does not count any more, and says whether anything did.
func (u *unused) release() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	named := map[string]bool{}
	if now.Sub(u.asked) >= unusedPause {
		u.asked = now
		if digests, err := u.named(); err == nil {
			named = digests
		}
	}
	still := u.kept[:0]
	for _, kept := range u.kept {
		if named[kept.digest] || now.After(kept.until) {
			u.bytes.Give(kept.who, kept.bytes)
			continue
		}
		still = append(still, kept)
	}
	released := len(still) < len(u.kept)
	u.kept = still
	return released
}

// namedArtifacts returns the digests of the artifacts that studies and reports on papers name: what submitters upload.
func namedArtifacts(store *results.Store) (map[string]bool, error) {
	snapshot := store.Snapshot()
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return nil, err
	}
	papers, err := snapshot.Papers()
	if err != nil {
		return nil, err
	}
	digests := map[string]bool{}
	for _, study := range studies {
		digests[study.GetSpec().GetProgram().GetFiles().GetSha256()] = true
		digests[study.GetPretrained().GetSha256()] = true
	}
	for _, report := range papers {
		for _, digest := range paper.Pictures(report) {
			digests[digest] = true
		}
	}
	return digests, nil
}
