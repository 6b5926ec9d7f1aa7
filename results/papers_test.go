package results

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/paper"
)

// newPaper is a report with a figure, whose picture has the digest.
func newPaper(name, digest string) *trellisv1.PaperReport {
	return &trellisv1.PaperReport{
		Name: name, Title: "A paper", State: trellisv1.PaperState_PAPER_STATE_RUNNING,
		Stages: []*trellisv1.PaperStage{{Study: "s", Model: "synthetic"}},
		Sections: []*trellisv1.PaperSection{{
			Title: "Section",
			Figures: []*trellisv1.PaperFigure{
				{Number: 1, Picture: &trellisv1.PaperPicture{Sha256: digest, Size: 9}}, {Number: 2},
			},
			Results: []*trellisv1.PaperResult{{What: "loss", Paper: "1", Pending: true}},
		}},
	}
}

func digestOf(letter string) string { return strings.Repeat(letter, 64) }

// A report takes the place of the one before it, which keeps its creator and the time when it was created. Its pictures
// are kept as long as it has them.
func TestPapers(t *testing.T) {
	store := newStore(t)
	hash := mustHash(t, store.Snapshot())
	pictures := func(want string) {
		t.Helper()
		digests, err := store.Snapshot().Artifacts()
		ok(t, err)
		if len(digests) != len(want) || want != "" && !digests[digestOf(want)] {
			t.Errorf("pictures %v, want %s", digests, want)
		}
	}
	given := newPaper("p", digestOf("a"))
	given.Creator = ann
	ok(t, store.PutPaper(1, at(1), given))
	if given.CreateTime != nil {
		t.Error("the command's report was changed")
	}
	pictures("a")
	again := newPaper("p", digestOf("b"))
	again.Title = "It again"
	again.Creator = &trellisv1.Principal{Role: trellisv1.Role_ROLE_ADMIN, Name: "bob"}
	ok(t, store.PutPaper(2, at(2), again))
	pictures("b")
	ok(t, store.PutPaper(3, at(3), newPaper("o", digestOf("b"))))
	want := proto.CloneOf(again)
	want.Creator, want.CreateTime, want.UpdateTime = ann, at(1), at(2)
	got, err := store.Snapshot().Paper("p")
	ok(t, err)
	equal(t, "the report", got, want)

	restored := newStore(t)
	ok(t, restored.Restore(bytes.NewReader(written(t, store))))
	if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
		t.Error("the restored store has another hash")
	}
	all, err := restored.Snapshot().Papers()
	ok(t, err)
	if len(all) != 2 || all[0].Name != "o" {
		t.Errorf("restored %v", all)
	}
	equal(t, "the restored report", all[1], want)

	ok(t, store.DeletePaper(4, "p"))
	ok(t, store.DeletePaper(5, "o"))
	pictures("")
	if err := store.DeletePaper(6, "p"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if mustHash(t, store.Snapshot()) != hash {
		t.Error("without reports the hash is another one than before there were any")
	}
}

// There are so many reports at most, however many times one is written.
func TestPapersAreBounded(t *testing.T) {
	store := newStore(t)
	for i := range paper.Max {
		ok(t, store.PutPaper(uint64(1+i), at(1), newPaper(fmt.Sprint(i), digestOf("a"))))
	}
	if err := store.PutPaper(1000, at(2), newPaper("more", digestOf("a"))); !errors.Is(err, ErrIllegalMove) ||
		!strings.Contains(err.Error(), "there are 100 reports") {
		t.Errorf("one more: %v", err)
	}
	ok(t, store.PutPaper(1001, at(2), newPaper("7", digestOf("b"))))
	ok(t, store.DeletePaper(1002, "8"))
	ok(t, store.PutPaper(1003, at(3), newPaper("more", digestOf("a"))))
}

// The largest report that is taken can be replaced by another writer, and restored.
func TestTheLargestPaper(t *testing.T) {
	store := newStore(t)
	largest := func(writer *trellisv1.Principal) *trellisv1.PaperReport {
		p := newPaper("p", digestOf("a"))
		p.Summary = strings.Repeat("x", paper.MaxBytes-proto.Size(p)-4)
		if size := proto.Size(p); size != paper.MaxBytes {
			t.Fatalf("it has %d bytes", size)
		}
		p.Creator = writer
		return p
	}
	ok(t, store.PutPaper(1, at(1), largest(&trellisv1.Principal{Name: strings.Repeat("long", 50)})))
	ok(t, store.PutPaper(2, at(2), largest(ann)))
	ok(t, newStore(t).Restore(bytes.NewReader(written(t, store))))
	larger := largest(ann)
	larger.Summary += "x"
	if err := store.PutPaper(3, at(3), larger); !errors.Is(err, ErrInvalid) {
		t.Errorf("one byte more: %v", err)
	}
}

// What is no report is refused, in a command as in a snapshot.
func TestInvalidPapers(t *testing.T) {
	for want, change := range map[string]func(*trellisv1.PaperReport){
		"invalid name":         func(p *trellisv1.PaperReport) { p.Name = "a/b" },
		"invalid state lost":   func(p *trellisv1.PaperReport) { p.State = trellisv1.PaperState_PAPER_STATE_LOST },
		"invalid renewal 1ms:": func(p *trellisv1.PaperReport) { p.Renewal = durationpb.New(time.Millisecond) },
		"invalid renewal 25h":  func(p *trellisv1.PaperReport) { p.Renewal = durationpb.New(25 * time.Hour) },
		"missing title":        func(p *trellisv1.PaperReport) { p.Title = " " },
		"at most 200":          func(p *trellisv1.PaperReport) { p.Title = strings.Repeat("x", 201) },
		"must have at most 26": func(p *trellisv1.PaperReport) { p.Summary = strings.Repeat("x", paper.MaxBytes) },
		"a study of its own": func(p *trellisv1.PaperReport) {
			p.Stages = append(p.Stages, &trellisv1.PaperStage{Study: "s"})
		},
		"101 stages": func(p *trellisv1.PaperReport) {
			p.Stages = nil
			for i := range paper.MaxStages + 1 {
				p.Stages = append(p.Stages, &trellisv1.PaperStage{Study: fmt.Sprint(i)})
			}
		},
		"figure 0":        func(p *trellisv1.PaperReport) { p.Sections[0].Figures[0].Number = 0 },
		"occurs twice":    func(p *trellisv1.PaperReport) { p.Sections[0].Figures[0].Number = 2 },
		"invalid digest":  func(p *trellisv1.PaperReport) { p.Sections[0].Figures[0].Picture.Sha256 = "../../etc" },
		"has 0 bytes":     func(p *trellisv1.PaperReport) { p.Sections[0].Figures[0].Picture.Size = 0 },
		"1 to 8388608":    func(p *trellisv1.PaperReport) { p.Sections[0].Figures[0].Picture.Size = 8<<20 + 1 },
		"at most 100 fig": func(p *trellisv1.PaperReport) { addFigures(p, 99, 1) },
		"more than 67108": func(p *trellisv1.PaperReport) { addFigures(p, 8, 8<<20) },
	} {
		p := newPaper("p", digestOf("a"))
		change(p)
		store := newStore(t)
		err := store.PutPaper(1, at(1), p)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		data := forged(payload(tablePapers, p), endMark(1))
		err = store.Restore(bytes.NewReader(data))
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("restored: %v, want %q", err, want)
		}
	}
	a, b := newPaper("a", digestOf("a")), newPaper("b", digestOf("a"))
	data := forged(payload(tablePapers, b, a), endMark(2))
	if err := newStore(t).Restore(bytes.NewReader(data)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("out of order: %v", err)
	}
}

func addFigures(p *trellisv1.PaperReport, figures uint32, size uint64) {
	for i := range figures {
		p.Sections[0].Figures = append(p.Sections[0].Figures, &trellisv1.PaperFigure{
			Number: 3 + i, Picture: &trellisv1.PaperPicture{Sha256: digestOf("a"), Size: size},
		})
	}
}

// One submitter leaves room for the reports of others.
func TestPapersOfOneSubmitter(t *testing.T) {
	store, index := newStore(t), uint64(0)
	put := func(name string, role trellisv1.Role, creator string) error {
		index++
		p := newPaper(name, digestOf("a"))
		p.Creator = &trellisv1.Principal{Role: role, Name: creator}
		return store.PutPaper(index, at(1), p)
	}
	for i := range paper.MaxEach {
		ok(t, put(fmt.Sprint(i), trellisv1.Role_ROLE_SUBMITTER, "sam"))
		ok(t, put(fmt.Sprint("admin", i), trellisv1.Role_ROLE_ADMIN, "sam"))
	}
	if err := put("more", trellisv1.Role_ROLE_SUBMITTER, "sam"); !errors.Is(err, ErrIllegalMove) ||
		!strings.Contains(err.Error(), `submitter "sam" has 20 reports`) {
		t.Errorf("one more: %v", err)
	}
	ok(t, put("7", trellisv1.Role_ROLE_SUBMITTER, "sam"))
	ok(t, put("more", trellisv1.Role_ROLE_ADMIN, "sam"))
	ok(t, put("hers", trellisv1.Role_ROLE_SUBMITTER, "sue"))
}
