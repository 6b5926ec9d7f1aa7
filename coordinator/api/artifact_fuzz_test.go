package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// A step of FuzzUpload is a byte that says what to do, a size in two bytes, and so many bytes.
const (
	// uploadChunk sends the bytes as a part of the artifact.
	uploadChunk = iota
	// uploadRaw sends the bytes as a message, whatever they are.
	uploadRaw
	// uploadWait lets as many seconds pass as there are bytes.
	uploadWait
	// uploadEnd ends the upload, and begins another.
	uploadEnd
	// uploadBreak breaks it off, and begins another.
	uploadBreak
	uploadSteps
)

func uploadStep(kind byte, content ...byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(content))), content...)
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

// FuzzUpload: whatever messages come, in whatever pieces, exactly the uploads that are whole are stored, as they were.
func FuzzUpload(f *testing.F) {
	message, err := proto.Marshal(&trellisv1.UploadArtifactRequest{Data: []byte("raw")})
	if err != nil {
		f.Fatal(err)
	}
	unknown := append(slices.Clone(message), 0x78, 1)
	chunk, end := uploadStep(uploadChunk, []byte("part")...), uploadStep(uploadEnd)
	for _, steps := range [][][]byte{
		{end},
		{chunk, end},
		{chunk, uploadStep(uploadChunk), chunk, end, chunk, end, chunk, chunk, end},
		{uploadStep(uploadRaw, message...), chunk, uploadStep(uploadRaw), end, uploadStep(uploadRaw, unknown...), end},
		{chunk, uploadStep(uploadRaw, 10, 200, 1, 2), end, chunk, end},
		{uploadStep(uploadRaw, 0xff), chunk, end},
		{chunk, uploadStep(uploadBreak), chunk, end},
		{chunk, uploadStep(uploadWait, make([]byte, 59)...), chunk, end},
		{chunk, uploadStep(uploadWait, make([]byte, 61)...), chunk, end, chunk, end},
	} {
		f.Add(bytes.Join(steps, nil))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		store := artifacttest.New()
		serveArtifacts(t, store, func(s *artifactsTest) {
			u := &uploads{artifactsTest: s}
			for u.begin(); len(input) >= 3 && u.begun < 30; {
				size := int(binary.BigEndian.Uint16(input[1:]))
				kind, content := input[0]%uploadSteps, input[3:min(len(input), 3+size)]
				input = input[3+len(content):]
				u.play(kind, content)
			}
			u.cancel()
			synctest.Wait()
			want := map[string]bool{}
			for _, content := range u.whole {
				digest := artifacttest.DigestOf(content)
				want[digest] = true
				found, err := artifacttest.Download(s.ctx, s.client, digest)
				if err != nil || !bytes.Equal(found, content) {
					t.Errorf("%x comes back as %x, %v", content, found, err)
				}
			}
			if puts := store.Puts(); puts != len(u.whole) {
				t.Errorf("%d are stored, want %d", puts, len(u.whole))
			}
		})
	})
}

// uploads does what an input of FuzzUpload says.
type uploads struct {
	*artifactsTest
	stream grpc.ClientStream
	cancel context.CancelFunc
	// content is what has been sent. refused is the code that the upload must end with.
	content []byte
	refused codes.Code
	// whole are the contents of the uploads that must be stored.
	whole [][]byte
	begun int
}

func (u *uploads) begin() {
	ctx, cancel := context.WithCancel(u.ctx)
	stream, err := u.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true},
		trellisv1.ArtifactService_UploadArtifact_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		u.Fatal(err)
	}
	u.stream, u.cancel, u.content, u.refused, u.begun = stream, cancel, nil, codes.OK, u.begun+1
}

func (u *uploads) play(kind byte, content []byte) {
	switch kind {
	case uploadChunk:
		message, err := proto.Marshal(&trellisv1.UploadArtifactRequest{Data: content})
		if err != nil {
			u.Fatal(err)
		}
		u.send(message)
	case uploadRaw:
		u.send(content)
	case uploadWait:
		synctest.Wait() // What has been sent has arrived.
		time.Sleep(time.Duration(len(content)) * time.Second)
		if time.Duration(len(content))*time.Second >= uploadTimeout && u.refused == codes.OK {
			u.refused = codes.DeadlineExceeded
		}
	case uploadEnd:
		u.end()
		u.begin()
	case uploadBreak:
		u.cancel()
		u.begin()
	}
	synctest.Wait()
}

func (u *uploads) send(message []byte) {
	_ = u.stream.SendMsg(message)
	request := &trellisv1.UploadArtifactRequest{}
	switch err := proto.Unmarshal(message, request); {
	case u.refused != codes.OK:
	case err != nil:
		u.refused = codes.Internal
	default:
		u.content = append(u.content, request.GetData()...)
	}
}

// end ends the upload, and wants the answer that it must have.
func (u *uploads) end() {
	defer u.cancel()
	_ = u.stream.CloseSend()
	var answer []byte
	err := u.stream.RecvMsg(&answer)
	response := &trellisv1.UploadArtifactResponse{}
	if err == nil {
		err = proto.Unmarshal(answer, response)
	}
	if status.Code(err) != u.refused {
		u.Fatalf("the upload ends with %v, want %v", err, u.refused)
	}
	if err != nil {
		return
	}
	u.whole = append(u.whole, u.content)
	want := fmt.Sprint(artifacttest.DigestOf(u.content), len(u.content))
	if got := fmt.Sprint(response.GetSha256(), response.GetSize()); got != want {
		u.Errorf("got %s, want %s", got, want)
	}
}
