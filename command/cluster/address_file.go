package cluster

import (
	"context"
	"fmt"
	"io"
	"os"

	"trellis/command/node"
	"trellis/command/output"
)

// publish writes the coordinator's address to a file once it answers, and removes the file when ctx is done, unless it has the
// address of another coordinator by then: one that the scheduler has started instead of this one.
func publish(ctx context.Context, c *node.Coordinator, path string) error {
	if _, err := c.AwaitOpen(ctx); err != nil {
		return nil //nolint:nilerr // It has ended, and Serve says why.
	}
	text := c.Advertise + "\n"
	if _, err := output.WriteFile(path, 0o644, io.Discard, func(out io.Writer) error {
		_, err := io.WriteString(out, text)
		return err
	}); err != nil {
		return fmt.Errorf("write the coordinator's address (--address-file): %w", err)
	}
	<-ctx.Done()
	if found, err := os.ReadFile(path); err != nil || string(found) != text {
		return nil //nolint:nilerr // It is not this coordinator's any more.
	}
	return os.Remove(path)
}
