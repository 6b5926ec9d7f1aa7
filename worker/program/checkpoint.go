package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"trellis/worker/archive"
)

// packCheckpoint packs a folder that the program has reported.
func (a *attempt) packCheckpoint(ctx context.Context, epoch int, name string) (*Checkpoint, error) {
	folder, err := a.openCheckpoint(name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	// A name of its own, also if an epoch has two: the receiver may not have uploaded the first.
	base := fmt.Sprintf("attempt-%d-epoch-%d-*.tar.zst", a.config.Attempt, epoch)
	file, err := os.CreateTemp(a.config.Checkpoints, base)
	if err != nil {
		return nil, broken("pack a checkpoint", err)
	}
	info, err := archive.PackUnchanged(ctx, file, folder, checkpointLimits(a.config))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return nil, unpacked(name, err)
	}
	return &Checkpoint{Epoch: epoch, Path: file.Name(), Info: info}, nil
}

// unpacked is the error of a checkpoint that could not be packed: the worker's if its disk is full.
func unpacked(name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return broken(fmt.Sprintf("pack checkpoint %q", name), err)
	}
	return fmt.Errorf("checkpoint %q: %w", name, err)
}

// openCheckpoint opens a folder within the working folder.
func (a *attempt) openCheckpoint(name string) (*os.Root, error) {
	relative := filepath.Clean(name)
	if filepath.IsAbs(relative) {
		var inside bool
		if relative, inside = strings.CutPrefix(relative, a.folder.work+"/"); !inside {
			return nil, fmt.Errorf("checkpoint %q lies outside the attempt's folder, %s", name, a.folder.work)
		}
	}
	switch {
	case !filepath.IsLocal(relative):
		return nil, fmt.Errorf("checkpoint %q lies outside the attempt's folder", name)
	case relative == ".":
		return nil, fmt.Errorf("checkpoint %q is the attempt's folder itself; it needs a folder within it", name)
	}
	folder, err := a.work.OpenRoot(relative)
	switch {
	case err == nil:
		return folder, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("checkpoint %q does not exist: %w", name, err)
	default:
		return nil, fmt.Errorf("checkpoint %q is not a folder within the attempt's folder: %w", name, err)
	}
}
