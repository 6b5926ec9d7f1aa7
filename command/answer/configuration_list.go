package answer

import (
	"io"

	"trellis/command/client"
	"trellis/command/output"
)

// configurationList writes configurations with a column for each metric that one of the first page has.
type configurationList struct {
	out     io.Writer
	format  output.Format
	columns []output.Column[configuration]

	held []configuration
	// list is nil until the columns are known.
	list *output.List[configuration]
}

// Add writes one configuration, or holds it back.
func (l *configurationList) Add(c configuration) error {
	if l.list != nil {
		return l.list.Add(c)
	}
	if l.held = append(l.held, c); len(l.held) < client.PageSize {
		return nil
	}
	return l.release()
}

func (l *configurationList) release() error {
	if l.list != nil {
		return nil
	}
	l.list = output.NewList(l.out, l.format, "configurations", withMeanMetrics(l.columns, l.held))
	for _, c := range l.held {
		if err := l.list.Add(c); err != nil {
			return err
		}
	}
	l.held = nil
	return nil
}

// Close ends the document. A table of nothing is the sentence empty instead.
func (l *configurationList) Close(empty string) error {
	if err := l.release(); err != nil {
		return err
	}
	return l.list.Close(empty)
}
