package replication

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// libraryLogger forwards what raft and its stores log to slog, at debug level: they report as errors what is normal in
// a cluster. The Log itself logs what operators must know.
type libraryLogger struct {
	logger *slog.Logger
	name   string
	with   []any
}

var _ hclog.Logger = (*libraryLogger)(nil)

func newLibraryLogger(logger *slog.Logger) *libraryLogger {
	return &libraryLogger{logger: logger, name: "raft"}
}

// Log forwards a message. It formats arguments that hclog would format lazily.
func (l *libraryLogger) Log(level hclog.Level, message string, arguments ...any) {
	if !l.logger.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	all := append([]any{"library", l.name, "severity", level.String()}, l.with...)
	for _, argument := range arguments {
		if format, ok := argument.(hclog.Format); ok && len(format) > 0 {
			argument = fmt.Sprintf(fmt.Sprint(format[0]), format[1:]...)
		}
		all = append(all, argument)
	}
	l.logger.Debug(message, all...)
}

func (l *libraryLogger) Trace(message string, arguments ...any) {
	l.Log(hclog.Trace, message, arguments...)
}

func (l *libraryLogger) Debug(message string, arguments ...any) {
	l.Log(hclog.Debug, message, arguments...)
}

func (l *libraryLogger) Info(message string, arguments ...any) {
	l.Log(hclog.Info, message, arguments...)
}

func (l *libraryLogger) Warn(message string, arguments ...any) {
	l.Log(hclog.Warn, message, arguments...)
}

func (l *libraryLogger) Error(message string, arguments ...any) {
	l.Log(hclog.Error, message, arguments...)
}

func (l *libraryLogger) IsTrace() bool { return false }
func (l *libraryLogger) IsDebug() bool {
	return l.logger.Enabled(context.Background(), slog.LevelDebug)
}
func (l *libraryLogger) IsInfo() bool  { return l.IsDebug() }
func (l *libraryLogger) IsWarn() bool  { return l.IsDebug() }
func (l *libraryLogger) IsError() bool { return l.IsDebug() }

func (l *libraryLogger) ImpliedArgs() []any { return l.with }
func (l *libraryLogger) Name() string       { return l.name }

func (l *libraryLogger) With(arguments ...any) hclog.Logger {
	with := append(l.with[:len(l.with):len(l.with)], arguments...)
	return &libraryLogger{logger: l.logger, name: l.name, with: with}
}

func (l *libraryLogger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + "." + name) }

func (l *libraryLogger) ResetNamed(name string) hclog.Logger {
	return &libraryLogger{logger: l.logger, name: name, with: l.with}
}

func (l *libraryLogger) SetLevel(hclog.Level)  {}
func (l *libraryLogger) GetLevel() hclog.Level { return hclog.Debug }

func (l *libraryLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.logger.Handler(), slog.LevelDebug)
}

func (l *libraryLogger) StandardWriter(options *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(options).Writer()
}
