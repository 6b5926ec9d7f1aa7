package client

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// What is downloaded is what the digest says; a download that breaks off begins again.
func TestDownloadArtifact(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 100000)
	saved := &trellisv1.Checkpoint{Sha256: fmt.Sprintf("%x", sha256.Sum256(content)), Size: uint64(len(content))}
	var answer func(try int, send func([]byte) error) error
	tries := 0
	fake := &fake.Coordinator{OnDownload: func(
		request *trellisv1.DownloadArtifactRequest, stream trellisv1.ArtifactService_DownloadArtifactServer,
	) error {
		tries++
		if request.GetSha256() != saved.GetSha256() {
			t.Errorf("asked for %s", request.GetSha256())
		}
		return answer(tries, func(data []byte) error {
			return stream.Send(&trellisv1.DownloadArtifactResponse{Data: data})
		})
	}}
	c := connect(t, fake.Serve(t))
	whole := func(_ int, send func([]byte) error) error {
		if err := send(content[:1<<20]); err != nil {
			return err
		}
		return send(content[1<<20:])
	}
	for _, test := range []struct {
		name   string
		answer func(try int, send func([]byte) error) error
		tries  int
		wrong  string
	}{
		// The content is no checkpoint, as decoding finds out at last.
		{"whole", whole, 1, "checkpoint is corrupt"},
		{"breaks off", func(try int, send func([]byte) error) error {
			if try < 3 {
				send(content[:1000])
				return status.Error(codes.Unavailable, "restarting")
			}
			return whole(try, send)
		}, 3, "checkpoint is corrupt"},
		{"too short", func(_ int, send func([]byte) error) error { return send(content[1:]) }, 1, "is damaged"},
		{"too long", func(try int, send func([]byte) error) error {
			whole(try, send)
			return send([]byte("x"))
		}, 1, "is longer than its 1600000 bytes"},
		{
			"gone", func(int, func([]byte) error) error { return status.Error(codes.NotFound, "no such artifact") }, 1,
			"no such artifact: the coordinator does not find their checkpoint",
		},
	} {
		tries, answer = 0, test.answer
		_, err := c.LoadCheckpoint(t.Context(), saved)
		if err == nil || !strings.Contains(err.Error(), test.wrong) || tries != test.tries {
			t.Errorf("%s: got %v after %d tries; want %q after %d", test.name, err, tries, test.wrong, test.tries)
		}
	}
}
