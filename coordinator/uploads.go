package coordinator

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/api"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
)

// An upload must bring uploadPace bytes in every uploadInterval on average, once the first has passed. The slowest
// modem does.
const (
	uploadPace     = 64 << 10
	uploadInterval = time.Minute
)

// uploads bounds the artifacts that are being received: their number, and the bytes of them that are on the disk. An
// upload above a limit is refused, and its worker tries again.
type uploads struct{ number, bytes *quota.Quota }

func newUploads(limits Limits) *uploads {
	const help = "retry in a moment"
	return &uploads{
		number: quota.New(quota.Limit{
			Name: "uploads", Noun: "unfinished uploads", Help: help, InAll: limits.Uploads, Each: limits.UploadsEach,
		}),
		bytes: quota.New(quota.Limit{
			Name: "upload-bytes", Noun: "bytes of unfinished uploads", Help: help,
			InAll: limits.UploadBytes, Each: limits.UploadBytesEach,
		}),
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
	// Nothing is received after the handler has returned, but what it has been told to receive may still come.
	defer func() { u.bytes.Give(who, counted.count.End()) }()
	return handler(service, counted)
}

// upload is the stream of an upload.
type upload struct {
	grpc.ServerStream
	bytes *quota.Quota
	who   string
	began time.Time
	count quota.Count
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
	total, open := u.count.Add(piece)
	if !open {
		u.bytes.Give(u.who, piece)
		return status.Error(codes.Canceled, "the upload has ended")
	}
	if took := time.Since(u.began); took > uploadInterval && float64(total) < uploadPace*took.Minutes() {
		return status.Errorf(codes.DeadlineExceeded, "only %d bytes of the artifact have arrived in %v, and an upload must "+
			"bring %d a minute", total, took.Round(time.Second), uploadPace)
	}
	return nil
}
