package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// logOptions are the flags that say what is logged and how.
type logOptions struct {
	level  logLevel
	format logFormat
}

// LogFlags adds --log-level, with what a command logs otherwise, and --log-format.
func LogFlags(cmd *cobra.Command, level slog.Level) *logOptions {
	options := &logOptions{level: logLevel(level), format: "text"}
	cmd.Flags().Var(&options.level, "log-level", "least level of log lines: debug, info, warn or error")
	cmd.Flags().Var(&options.format, "log-format", "form of log lines: text or json")
	Complete(cmd, "log-level", "debug", "info", "warn", "error")
	Complete(cmd, "log-format", "text", "json")
	return options
}

// NewLogger writes to out as the flags say.
func (o *logOptions) NewLogger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(o.level)}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// logLevel is a slog.Level as a flag.
type logLevel slog.Level

func (l *logLevel) String() string { return strings.ToLower(slog.Level(*l).String()) }

func (l *logLevel) Type() string { return "level" }

func (l *logLevel) Set(name string) error {
	if err := (*slog.Level)(l).UnmarshalText([]byte(name)); err != nil {
		return fmt.Errorf("there are debug, info, warn and error")
	}
	return nil
}

// logFormat is the form of log lines as a flag.
type logFormat string

func (f *logFormat) String() string { return string(*f) }

func (f *logFormat) Type() string { return "format" }

func (f *logFormat) Set(name string) error {
	if name != "text" && name != "json" {
		return fmt.Errorf("there are text and json")
	}
	*f = logFormat(name)
	return nil
}
