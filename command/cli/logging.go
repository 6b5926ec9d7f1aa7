package cli

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"trellis/command/output"
)

// logOptions are the flags that say what is logged and how.
type logOptions struct{ level, format string }

// offLevel is a level of --log-level that no log line has.
const offLevel = slog.LevelError + 1

// logLevels are the words for levels.
var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError, "off": offLevel,
}

// LogFlags adds --log-level, with what a command logs otherwise, and --log-format.
func LogFlags(cmd *cobra.Command, level string) *logOptions {
	options := &logOptions{level: level, format: "text"}
	words := []string{"debug", "info", "warn", "error", "off"}
	cmd.Flags().Var(choice[string]{&options.level, words, "level"}, "log-level", "minimum log level: "+output.Alternatives(words))
	formats := []string{"text", "json"}
	cmd.Flags().Var(choice[string]{&options.format, formats, "format"}, "log-format", "format of log lines: text or json")
	Complete(cmd, "log-level", words...)
	Complete(cmd, "log-format", formats...)
	return options
}

// NewLogger writes to out as the flags say.
func (o *logOptions) NewLogger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevels[o.level]}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
