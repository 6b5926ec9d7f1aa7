package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"trellis/command/exit"
)

// Interruptible returns a context that SIGINT, SIGTERM and, unless it is ignored (nohup), SIGHUP cancel, with ErrInterrupted
// as its cause.
func Interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		defer signal.Stop(signals)
		select {
		case <-signals:
			cancel(exit.ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
