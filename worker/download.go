package worker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// errNotServed means that the coordinator does not have what a run needs at the moment, or has a changed or damaged
// one. The coordinator then waits for it: runs that need it are returned, and no attempt is to blame.
var errNotServed = errors.New("the coordinator can't serve it")

// notServed returns the error of a call, wrapped in errNotServed if it says so.
func notServed(err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.Unauthenticated: // The latter while someone is replacing the token.
		return fmt.Errorf("%w: %w", errNotServed, err)
	}
	return err
}

// downloader returns a function that gets data sets from the coordinator and stores them in the cache. Files that are
// in the cache are not downloaded again. Its calls wait until there is a connection. They have no deadline, because a
// file may have any size, and keepalive detects a dead connection.
func downloader(client trellisv1.DataSetServiceClient, cache *dataset.Cache) fetchFunc[string, *dataset.Data] {
	return func(ctx context.Context, digest string, moved func()) (*dataset.Data, error) {
		request := &trellisv1.GetDataSetRequest{Digest: digest}
		response, err := client.GetDataSet(ctx, request, grpc.WaitForReady(true))
		if err != nil {
			return nil, fmt.Errorf("ask the coordinator for its files: %w", notServed(err))
		}
		var files []dataset.File
		for _, f := range response.GetDataSet().GetFiles() {
			files = append(files, dataset.File{Name: f.GetName(), SHA256: f.GetSha256(), Size: int64(f.GetSize())})
		}
		set, err := cache.Fetch(ctx, digest, files, func(ctx context.Context, f dataset.File, w io.Writer) error {
			return downloadFile(ctx, client, &trellisv1.DownloadDataFileRequest{Digest: digest, Sha256: f.SHA256}, w, moved)
		})
		if err != nil {
			return nil, err
		}
		return set.Load()
	}
}

// downloadFile writes a file to w as it arrives, and calls moved after each piece.
func downloadFile(
	ctx context.Context, client trellisv1.DataSetServiceClient, request *trellisv1.DownloadDataFileRequest, w io.Writer,
	moved func(),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // If w fails, the call lasts until then.
	stream, err := client.DownloadDataFile(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return notServed(err)
		}
		if _, err := w.Write(response.GetData()); err != nil {
			return err
		}
		moved()
	}
}
