package paper

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
)

// What reports may have at most.
const (
	// Max is how many reports there are.
	Max = 100
	// MaxEach is how many of them one submitter has.
	MaxEach = 20
	// MaxBytes is the size of a report without its pictures.
	MaxBytes = 256 << 10
	// MaxStages is how many studies a report has, MaxFigures how many figures, and MaxTitle how many characters its
	// title has.
	MaxStages  = 100
	MaxFigures = 100
	MaxTitle   = 200
	// MaxPictureBytes is the size of a picture, and MaxPicturesBytes that of all pictures of a report.
	MaxPictureBytes  = 8 << 20
	MaxPicturesBytes = 64 << 20
	// MinRenewal and MaxRenewal say how often a report may promise to be written anew.
	MinRenewal, MaxRenewal = time.Second, 24 * time.Hour
)

var (
	validName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	validDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// CheckName returns what is wrong with the name of a report, or nil.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("invalid name %.80q: must have 1 to 63 letters, digits and . _ -, and start with a letter or digit", name)
	}
	return nil
}

// Check returns what is wrong with a report, or nil. Its name is for CheckName.
func Check(r *trellisv1.PaperReport) error {
	// Its writer is not charged for what the coordinator adds: a report that is replaced or restored has as much as it had.
	size := proto.Size(r) - proto.Size(&trellisv1.PaperReport{
		Creator: r.GetCreator(), CreateTime: r.GetCreateTime(), UpdateTime: r.GetUpdateTime(),
	})
	switch {
	case strings.TrimSpace(r.GetTitle()) == "":
		return errors.New("missing title")
	case utf8.RuneCountInString(r.GetTitle()) > MaxTitle:
		return fmt.Errorf("invalid title: must have at most %d characters", MaxTitle)
	case size > MaxBytes:
		return fmt.Errorf("it has %d bytes without its pictures: must have at most %d", size, MaxBytes)
	case r.GetState() == trellisv1.PaperState_PAPER_STATE_LOST:
		return errors.New("invalid state lost, which the coordinator finds itself: must be running, completed or stopped")
	case r.Renewal != nil && !validRenewal(r.Renewal):
		return fmt.Errorf("invalid renewal %s: must be from %s to %s", r.Renewal.AsDuration(), MinRenewal, MaxRenewal)
	case len(r.GetStages()) > MaxStages:
		return fmt.Errorf("it has %d stages: must have at most %d", len(r.GetStages()), MaxStages)
	}
	studies := map[string]bool{}
	for _, stage := range r.GetStages() {
		if studies[stage.GetStudy()] || stage.GetStudy() == "" {
			return fmt.Errorf("stage %q: each stage must have a study of its own", stage.GetStudy())
		}
		studies[stage.GetStudy()] = true
	}
	numbers, pictures := map[uint32]bool{}, uint64(0)
	for _, section := range r.GetSections() {
		for _, figure := range section.GetFigures() {
			its := figure.GetPicture()
			err := checkFigure(figure, numbers)
			if pictures += its.GetSize(); err == nil && pictures > MaxPicturesBytes {
				err = fmt.Errorf("the report's pictures have more than %d bytes", MaxPicturesBytes)
			}
			if err != nil {
				return fmt.Errorf("section %q: %w", section.GetTitle(), err)
			}
			numbers[figure.GetNumber()] = true
		}
		if err := checkTable(section.GetTable()); err != nil {
			return fmt.Errorf("section %q: %w", section.GetTitle(), err)
		}
	}
	return nil
}

func checkTable(table *trellisv1.PaperTable) error {
	for _, row := range table.GetRows() {
		if len(row.GetValues()) != len(table.GetColumns()) {
			return fmt.Errorf("table row %q has %d values: must have one for each of the %d columns", row.GetWhat(),
				len(row.GetValues()), len(table.GetColumns()))
		}
	}
	return nil
}

func validRenewal(its *durationpb.Duration) bool {
	return its.CheckValid() == nil && its.AsDuration() >= MinRenewal && its.AsDuration() <= MaxRenewal
}

// missed is how many times a report must not have been written anew for it to be lost: one may be late.
const missed = 2

// Lost says of a report that is running whether it was not written anew as often as promised. since is when somebody
// could have written it first, as the coordinator was there.
func Lost(r *trellisv1.PaperReport, since, now time.Time) bool {
	if r.GetState() != trellisv1.PaperState_PAPER_STATE_RUNNING || r.Renewal == nil {
		return false
	}
	if last := r.GetUpdateTime().AsTime(); last.After(since) {
		since = last
	}
	return now.Sub(since) > missed*r.Renewal.AsDuration()
}

func checkFigure(figure *trellisv1.PaperFigure, others map[uint32]bool) error {
	its := figure.GetPicture()
	switch {
	case figure.GetNumber() == 0:
		return fmt.Errorf("figure 0 (%q): its number must be at least 1", figure.GetCaption())
	case others[figure.GetNumber()]:
		return fmt.Errorf("figure %d occurs twice: each figure must have its own number", figure.GetNumber())
	case len(others) >= MaxFigures:
		return fmt.Errorf("a report has at most %d figures", MaxFigures)
	case its == nil:
		return nil
	case !validDigest.MatchString(its.GetSha256()):
		return fmt.Errorf("figure %d: invalid digest %.80q of its picture", figure.GetNumber(), its.GetSha256())
	case its.GetSize() == 0 || its.GetSize() > MaxPictureBytes:
		return fmt.Errorf("figure %d: its picture has %d bytes: must have 1 to %d", figure.GetNumber(), its.GetSize(),
			MaxPictureBytes)
	}
	return nil
}

// Pictures returns the digests of a report's pictures.
func Pictures(r *trellisv1.PaperReport) []string {
	var digests []string
	for _, section := range r.GetSections() {
		for _, figure := range section.GetFigures() {
			if its := figure.GetPicture(); its != nil {
				digests = append(digests, its.GetSha256())
			}
		}
	}
	return digests
}
