package results

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/account"
	"trellis/results/catalog"
	"trellis/results/kept"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// A trial gets a row when it gets its result. Until then, the trial is derived from its run: see Snapshot.trialAt. So a
// report writes only trials that get their results, no matter how many trials the run serves.

// trialAt returns the trial with the index, or ErrNotFound.
func (r reader) trialAt(c *catalog.Catalog, index uint64) (*trellisv1.Trial, error) {
	place, milestone, ok := c.Trial(index)
	if !ok {
		return nil, ErrNotFound
	}
	member, err := r.memberAt(nil, c, place)
	if err != nil {
		return nil, err
	}
	return member.Trial(milestone, index), nil
}

// catalog returns a study's catalog, or ErrNotFound.
func (s *Snapshot) catalog(study string) (*catalog.Catalog, error) {
	c, err := first[*catalog.Catalog](s.reader, nil, tableCatalogs, indexID, textKey(study))
	if err == nil && c == nil {
		err = fmt.Errorf("study %q %w", study, ErrNotFound)
	}
	return c, err
}

// Trial returns a trial, or ErrNotFound.
func (s *Snapshot) Trial(study string, index uint64) (*trellisv1.Trial, error) {
	trial, err := s.trial(study, index)
	if err != nil {
		return nil, fmt.Errorf("trial %d of study %q: %w", index, study, err)
	}
	return trajectory.Presented(trial), nil
}

func (s *Snapshot) trial(study string, index uint64) (*trellisv1.Trial, error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	return s.trialAt(c, index)
}

// Best returns the trial that ranks first among those that have been answered: see Compare. It is DIVERGED if all of
// them are. ErrNoAnswer if there is none, ErrNotFound if there is no such study.
func (s *Snapshot) Best(ws memdb.WatchSet, study string) (*trellisv1.Trial, error) {
	if _, err := s.Study(ws, study); err != nil {
		return nil, err
	}
	ranked, err := s.ranked(ws, study, listing.Key{})
	if err != nil {
		return nil, err
	}
	for trial := range ranked {
		return trajectory.Presented(trial), nil
	}
	return nil, fmt.Errorf("study %q has no best trial: %w", study, ErrNoAnswer)
}

// Served is a run with the trials that it serves. It belongs to the snapshot and must not be changed.
type Served = account.Served

// Served returns a study's runs with their trials, in the order in which runs are leased. It can be ranged over once,
// and ends early if the snapshot's context does: see Err. It fails with ErrNotFound if there is no such study.
func (s *Snapshot) Served(study string) (iter.Seq[Served], error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	members, err := s.membersOf(c)
	if err != nil {
		return nil, err
	}
	return func(yield func(Served) bool) {
		for place, member := range members {
			if !yield(served(c, place, member)) {
				return
			}
		}
	}, nil
}

func served(c *catalog.Catalog, place uint32, member *trajectory.Trajectory) Served {
	return Served{Run: member.Run, Answers: slices.Clip(member.Answers), Indexes: c.IndexesAt(place)}
}

// Touched is Served, without the runs that nobody has given anything to.
func (s *Snapshot) Touched(study string) (iter.Seq[Served], error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	sections, err := s.sectionsOf(study)
	return func(yield func(Served) bool) {
		for section := range sections {
			for its := range section.served(c) {
				if !yield(its) {
					return
				}
			}
		}
	}, err
}

// served returns the section's runs that have been touched.
func (s *section) served(c *catalog.Catalog) iter.Seq[Served] {
	return func(yield func(Served) bool) {
		for slot := range s.size() {
			if member := s.member(c, slot); member != nil && !yield(served(c, s.number*sectionSize+uint32(slot), member)) {
				return
			}
		}
	}
}

// account returns what the section's touched runs count for.
func (s *section) account(c *catalog.Catalog) *account.Sum {
	return s.kept.account.Of(func() *account.Sum { return account.Of(s.served(c)) })
}

// Account returns what all of a study's runs count for. Each section keeps what its runs do, so that only those are
// looked at that have changed since somebody asked last. It fails with ErrNotFound if there is no such study.
func (s *Snapshot) Account(study string) (*account.Sum, error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	sections, err := s.sectionsOf(study)
	if err != nil {
		return nil, err
	}
	all, touched := account.New(), account.New()
	for section := range sections {
		its := section.account(c)
		all.Join(its)
		if section.number*sectionSize < c.BaseRuns() {
			touched.Runs += its.Runs
			touched.Trials += its.Trials
		}
	}
	runs, trials, _ := c.Cost()
	all.AddUntouched(c.UntouchedState(), runs-touched.Runs, trials-touched.Trials)
	return all, s.Err()
}

// Failed returns a study's failed runs with their trials, in the order in which runs are leased. It can be ranged over
// once.
func (s *Snapshot) Failed(study string) (iter.Seq[Served], error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	if trajectory.StateOfUntouched(c.UntouchedState()) == lifecycle.RunFailed {
		all, err := s.Served(study)
		return func(yield func(Served) bool) {
			for its := range all {
				if its.Run.State == lifecycle.RunFailed && !yield(its) {
					return
				}
			}
		}, err
	}
	sections, err := s.sectionsOf(study)
	return func(yield func(Served) bool) {
		for section := range sections {
			if section.account(c).Failures == 0 {
				continue
			}
			for its := range section.served(c) {
				if its.Run.State == lifecycle.RunFailed && !yield(its) {
					return
				}
			}
		}
	}, err
}

// Point returns the parameters of a trial, or ErrNotFound. It does not read what has become of it.
func (s *Snapshot) Point(study string, index uint64) (*trellisv1.Parameters, error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	place, milestone, ok := c.Trial(index)
	if !ok {
		return nil, fmt.Errorf("trial %d of study %q: %w", index, study, ErrNotFound)
	}
	if c.InBase(place) {
		point, milestones, _ := c.TrialsAt(place)
		point.MaxEpochs = milestones[milestone]
		return point, nil
	}
	member, err := s.memberAt(nil, c, place)
	if err != nil {
		return nil, err
	}
	return trajectory.ParametersAt(member.Run, member.Run.Milestones[milestone]), nil
}

// WithLosses returns a copy of an answered or begun trial, as it is presented, that has its losses and metrics by
// epoch.
func (s *Snapshot) WithLosses(trial *trellisv1.Trial) (*trellisv1.Trial, error) {
	trial = trajectory.Presented(trial)
	losses, err := s.Losses(nil, trial.Study, trial.Run)
	if isNotFound(err) {
		return trial, nil
	}
	if err != nil {
		return nil, fmt.Errorf("losses of trial %d: %w", trial.Index, err)
	}
	epochs := trial.Epochs
	trial = trajectory.CopyTrial(trial)
	if losses.Epochs == 0 {
		trial.TrainLoss = losses.TrainLoss[:epochs:epochs]
		trial.ValidationLoss = losses.ValidationLoss[:epochs:epochs]
	}
	trial.EpochMetrics = trajectory.MetricsUpTo(losses.Metrics, epochs)
	return trial, nil
}

// Trajectories returns a study's runs with their losses, which are nil before the first epoch, in the order in which
// they are to be leased. It can be ranged over once.
func (s *Snapshot) Trajectories(study string) (iter.Seq2[*trellisv1.Run, *trellisv1.Losses], error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	members, err := s.membersOf(c)
	if err != nil {
		return nil, err
	}
	return func(yield func(*trellisv1.Run, *trellisv1.Losses) bool) {
		for _, member := range members {
			if !yield(member.Run, member.Losses) {
				return
			}
		}
	}, nil
}

// Like is a run with its losses, which are nil before the first epoch, and how many runs of a study it stands for.
type Like struct {
	Run    *trellisv1.Run
	Losses *trellisv1.Losses
	Runs   int
}

// Sample returns about as many of a study's runs as are asked for, in the order in which they are to be leased, or all
// if they are fewer: each stands for some that are next to each other, and are all untouched or all sealed. All others
// are returned. The ids of untouched runs are not set. It can be ranged over once.
func (s *Snapshot) Sample(study string, about int) (iter.Seq[Like], error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	sections, err := s.sectionsOf(study)
	if err != nil {
		return nil, err
	}
	each := uint32(max(1, c.Runs()/about))
	return func(yield func(Like) bool) {
		next := uint32(0)
		// sampled yields one of each part of the places from next on: not always the first, as grids repeat themselves.
		sampled := func(until uint32, at func(place uint32) Like) bool {
			for next < until {
				n := min(each, until-next)
				like := at(next + next/n*7919%n)
				if like.Runs = int(n); !yield(like) {
					return false
				}
				next += n
			}
			return true
		}
		untouched := func(place uint32) Like { return Like{Run: c.UntouchedWithoutID(place)} }
		for section := range sections {
			if first := section.number * sectionSize; !sampled(min(first, c.BaseRuns()), untouched) {
				return
			}
			next = section.number * sectionSize
			if section.sealed != nil {
				if !sampled(next+uint32(section.size()), func(place uint32) Like {
					member := section.member(c, int(place%sectionSize))
					return Like{Run: member.Run, Losses: member.Losses}
				}) {
					return
				}
				continue
			}
			for slot, member := range section.members {
				like := Like{Runs: 1}
				if member == nil {
					like.Run = c.UntouchedWithoutID(next + uint32(slot))
				} else {
					like.Run, like.Losses = member.Run, member.Losses
				}
				if !yield(like) {
					return
				}
			}
			next += uint32(len(section.members))
		}
		if next < c.BaseRuns() {
			sampled(c.BaseRuns(), untouched)
		}
	}, nil
}

// digestKey is under which the digest of a study is kept.
type digestKey struct{}

// Digest returns the SHA-256 of a study's points and results so far, in hexadecimal: see DESIGN.md. Two complete
// studies of the same points, trained with the same numerics, have the same digest, no matter where, when and how they
// were trained. It fails with ErrNotFound if there is no such study.
//
// It reads all losses, which takes a second or more for a million trials: once, until the study changes. HasDigest says whether
// that has been done.
func (s *Snapshot) Digest(study string) (string, error) {
	row, err := s.Study(nil, study)
	if err != nil {
		return "", err
	}
	digest, err := kept.Once(s.Kept(row), digestKey{}, s.Done(), s.Err, func() (string, error) { return s.digest(study) })
	if err != nil {
		return "", fmt.Errorf("digest of study %q: %w", study, err)
	}
	return digest, nil
}

// HasDigest says whether a study's digest is known without reading its losses.
func (s *Snapshot) HasDigest(study *trellisv1.Study) bool { return s.Kept(study).Has(digestKey{}) }

func (s *Snapshot) digest(study string) (string, error) {
	c, err := s.catalog(study)
	if err != nil {
		return "", err
	}
	sections, err := s.sectionsOf(study)
	if err != nil {
		return "", err
	}
	stored := newStored(c)
	var listed []*trajectory.Trajectory
	for section := range sections {
		if !stored.add(section) {
			listed = append(listed, section.all(c)...)
		}
	}
	if err := s.Err(); err != nil {
		return "", err
	}
	slices.SortFunc(listed, func(a, b *trajectory.Trajectory) int { return strings.Compare(a.Run.Id, b.Run.Id) })
	var ids []lattice.Identified
	if c.Base != nil {
		if ids, err = c.Base.ByID(s.Err); err != nil {
			return "", err
		}
	}
	others := make([]string, len(listed))
	for i, one := range listed {
		others[i] = one.Run.Id
	}
	order := lattice.OrderWith(ids, others)
	all := len(ids) + len(listed)
	untouched := trajectory.StateOfUntouched(c.UntouchedState())
	return trajectory.DigestOf(all, s.Err, func() func(data []byte, i int) ([]byte, error) {
		var sealed trajectory.Digester
		return func(data []byte, i int) ([]byte, error) {
			at := i
			if order != nil {
				at = int(order[i])
			}
			if at >= len(ids) {
				return trajectory.AppendDigested(data, listed[at-len(ids)]), nil
			}
			of := ids[at]
			slot, section := int(of.Place%sectionSize), stored.sections[of.Place/sectionSize]
			switch {
			case section != nil && section.sealed != nil:
				return sealed.Append(data, section.sealed, slot, of.ID, c.Base.Terms)
			case section != nil && section.members[slot] != nil:
				return trajectory.AppendDigested(data, section.members[slot]), nil
			}
			milestones, _ := c.MilestonesAt(of.Place)
			return trajectory.AppendDigested(data, &trajectory.Trajectory{Run: &trellisv1.Run{
				Id: of.String(), Milestones: milestones, State: untouched,
			}}), nil
		}
	})
}

// Catalog returns which runs and trials a study has, or ErrNotFound. It must not be changed.
func (s *Snapshot) Catalog(study string) (*catalog.Catalog, error) { return s.catalog(study) }

// TrajectoryAt returns what is known of the run at a place, which the catalog has.
func (s *Snapshot) TrajectoryAt(c *catalog.Catalog, place uint32) (*trajectory.Trajectory, error) {
	return s.memberAt(nil, c, place)
}

// Section is a part of a study's runs that follow each other, some of which have been touched.
type Section struct {
	of *section
	c  *catalog.Catalog
}

// Sections returns a study's sections in the order of places, without those that nobody has touched. It can be ranged
// over once.
func (s *Snapshot) Sections(c *catalog.Catalog) (iter.Seq[Section], error) {
	sections, err := s.sectionsOf(c.Study)
	return func(yield func(Section) bool) {
		for its := range sections {
			if !yield(Section{its, c}) {
				return
			}
		}
	}, err
}

// First returns the place of the first run.
func (s Section) First() uint32 { return s.of.number * sectionSize }

// Size returns how many runs it has.
func (s Section) Size() int { return s.of.size() }

// Changed returns the log index of the last command that changed one of the runs.
func (s Section) Changed() uint64 { return s.of.changed }

// Sealed says whether all runs have succeeded, and are stored in a form that takes some microseconds to read.
func (s Section) Sealed() bool { return s.of.sealed != nil }

// Begun has a bit for each run with epochs some of whose trials have no result yet.
func (s Section) Begun() uint64 { return s.of.begun & s.of.open }

// Trajectory returns what is known of a run, or nil if it is untouched.
func (s Section) Trajectory(slot int) *trajectory.Trajectory { return s.of.member(s.c, slot) }

// Trajectories returns what is known of all runs, nil where they are untouched.
func (s Section) Trajectories() iter.Seq2[int, *trajectory.Trajectory] { return s.of.slots(s.c) }

// Span returns when the run in a slot was trained: nothing if it is untouched. It takes a fraction of the time of
// Trajectory.
func (s Section) Span(slot int) trajectory.Span {
	if s.of.sealed == nil {
		if member := s.of.members[slot]; member != nil {
			return trajectory.SpanOf(member)
		}
		return trajectory.Span{}
	}
	span, err := s.of.sealed.Span(slot)
	if err != nil {
		s.of.fail(err)
	}
	return span
}

// Account returns what the touched runs count for. It is kept: a sealed section has it from when it was sealed, unless
// it was restored since.
func (s Section) Account() *account.Sum { return s.of.account(s.c) }

// Accounted says that Account does not have to read the runs.
func (s Section) Accounted() bool { return s.of.kept.account.Has() }

// Keep returns what compute returns, which depends on the section alone, and keeps it beside this version of the
// section. of must be comparable, and tell it from all else that is kept there.
func Keep[V any](s Section, of any, compute func() V) V { return kept.Of(&s.of.kept.Kept, of, compute) }
