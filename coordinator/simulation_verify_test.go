package coordinator

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// verify checks what must hold when everything has come right: all nodes are alike, and every trial has its result.
func (s *simulation) verify() {
	s.endWork()
	s.machines.Wait()
	var state *results.Snapshot
	if !s.await("all nodes have applied the same", time.Minute, func() bool {
		var same bool
		state, same = s.alike()
		return same
	}) {
		return
	}
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	for name, open := range s.journal.holders {
		s.wrong("all studies have ended, but attempt %d still holds run %v", open.attempt, name)
	}
	studies, err := state.Studies(nil)
	if err != nil {
		s.wrong("list the studies: %v", err)
	}
	kept := 0
	for _, study := range studies {
		if strings.HasPrefix(study.GetName(), "kept") {
			kept++
			if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
				s.wrong("study %s, which nobody has canceled, is %v", study.GetName(), study.GetState())
			}
		}
		s.verifyStudy(state, study)
	}
	if kept != keptStudies {
		s.wrong("%d of %d studies that nobody has deleted are there", kept, keptStudies)
	}
}

// alike returns the state of all nodes if they have applied the same. It is wrong if their states differ then.
func (s *simulation) alike() (*results.Snapshot, bool) {
	indexes := func() (all [3]uint64) {
		for i, n := range s.nodes {
			if life := n.life.Load(); life != nil && life.isOpen() {
				all[i] = life.coordinator.replicated.Status().AppliedIndex
			}
		}
		return all
	}
	before := indexes()
	if before[0] == 0 || before[0] != before[1] || before[0] != before[2] {
		return nil, false
	}
	// What raft has queued is applied once everything is at rest.
	s.sleep(time.Second)
	var first [sha256.Size]byte
	var state *results.Snapshot
	hashes := [3][sha256.Size]byte{}
	for i, n := range s.nodes {
		state = n.life.Load().coordinator.store.Snapshot()
		var err error
		if hashes[i], err = state.Hash(); err != nil {
			s.wrong("hash the state of %s: %v", n.address, err)
		}
	}
	if indexes() != before {
		return nil, false
	}
	first = hashes[0]
	for i, n := range s.nodes {
		if hashes[i] != first {
			s.wrong("at index %d the state of %s is not that of %s", before[0], n.address, s.nodes[0].address)
		}
	}
	return state, true
}

// verifyStudy checks that each of a study's trials has one result, and the right one.
func (s *simulation) verifyStudy(state *results.Snapshot, study *trellisv1.Study) {
	grid := study.GetSpec().GetGrid()[0]
	points := len(grid.GetAxes()["latent_dim"].GetValues()) * len(grid.GetAxes()["learning_rate"].GetValues()) *
		len(grid.GetAxes()["max_epochs"].GetValues()) *
		len(study.GetSpec().GetSeeds().GetValues())
	response, err := state.ListTrials(&trellisv1.ListTrialsRequest{
		Study: study.GetName(), PageSize: 1000,
		Losses: true,
	})
	if err != nil || len(response.GetTrials()) != points {
		s.wrong("study %s has %d trials, not %d, and error %v", study.GetName(), len(response.GetTrials()), points, err)
		return
	}
	seen := map[string]bool{}
	for _, trial := range response.GetTrials() {
		seen[fmt.Sprint(trial.GetParameters())] = true
		s.checkTrial("the final state", trial)
		switch state := trial.GetState(); {
		case state == trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, state == trellisv1.TrialState_TRIAL_STATE_DIVERGED:
		case state == trellisv1.TrialState_TRIAL_STATE_CANCELED &&
			study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED:
		case state == trellisv1.TrialState_TRIAL_STATE_FAILED && strings.HasPrefix(trial.GetError(), "quarantined: 3 "):
			// By chance three workers were lost at one epoch: the store can't know better.
			s.event("quarantined", "%v", trial.GetRun())
		default:
			s.wrong("study %s is %v, but trial %d is %v: %s", study.GetName(), study.GetState(), trial.GetIndex(),
				state, trial.GetError())
		}
	}
	if len(seen) != points {
		s.wrong("study %s has %d different trials, not %d", study.GetName(), len(seen), points)
	}
}
