package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"

	trellisv1 "trellis/proto/trellis/v1"
)

// maxPage bounds a page in a spool, in bytes: far more than a coordinator sends.
const maxPage = 256 << 20

// Row is a trial and the run that its result comes from. Run is nil if the coordinator has not sent it.
type Row struct {
	Trial *trellisv1.Trial
	Run   *trellisv1.Run
}

// Spool keeps pages of a listing of trials on disk until all is known that stands before the first of them: which
// columns there are. So a study is read once, whatever its size, and all that an export writes is of the same trials.
type Spool struct {
	folder  string
	file    *os.File
	encoder *zstd.Encoder
	out     *bufio.Writer
	names   *names
	trials  uint64
}

// NewSpool makes a spool, whose file lies in a folder and has no name there.
func NewSpool(folder string) (*Spool, error) {
	file, err := os.CreateTemp(folder, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("keep trials: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("keep trials: %w", err), file.Close())
	}
	encoder, err := zstd.NewWriter(file, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep trials: %w", err), file.Close())
	}
	return &Spool{
		folder: folder, file: file, encoder: encoder, out: bufio.NewWriterSize(encoder, 1<<16), names: newNames(),
	}, nil
}

// Add keeps a page.
func (s *Spool) Add(page *trellisv1.ListTrialsResponse) error {
	for _, trial := range page.GetTrials() {
		s.names.learn(trial)
	}
	s.trials += uint64(len(page.GetTrials()))
	if _, err := protodelim.MarshalTo(s.out, page); err != nil {
		return fmt.Errorf("keep trials: %w", err)
	}
	return nil
}

// Finish says that there are no more pages.
func (s *Spool) Finish() error {
	if err := errors.Join(s.out.Flush(), s.encoder.Close()); err != nil {
		return fmt.Errorf("keep trials: %w", err)
	}
	return nil
}

// Trials is how many there are.
func (s *Spool) Trials() uint64 { return s.trials }

// Rows returns what was added, in the same order, after Finish. It may be called again, but two of its sequences must
// not be read at the same time.
func (s *Spool) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if err := s.each(func(row Row) bool { return yield(row, nil) }); err != nil {
			yield(Row{}, fmt.Errorf("read kept trials: %w", err))
		}
	}
}

func (s *Spool) each(yield func(Row) bool) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	decoder, err := zstd.NewReader(s.file, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer decoder.Close()
	in := bufio.NewReaderSize(decoder, 1<<16)
	for {
		page := new(trellisv1.ListTrialsResponse)
		err := protodelim.UnmarshalOptions{MaxSize: maxPage}.UnmarshalFrom(in, page)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		runs := make(map[string]*trellisv1.Run, len(page.GetRuns()))
		for _, run := range page.GetRuns() {
			runs[run.GetId()] = run
		}
		for _, trial := range page.GetTrials() {
			if !yield(Row{trial, runs[trial.GetRun()]}) {
				return nil
			}
		}
	}
}

// Close frees the disk.
func (s *Spool) Close() error { return s.file.Close() }
