package coordinator

import (
	trellisv1 "trellis/proto/trellis/v1"
)

// notify wakes those whose work a command has changed, with what the state machine answered. Only the leader proposes, so
// that it hears of every change in its term. A notice says where to look and not what to do: whoever gets it compares the
// store with what it has done, as it also does from time to time without one. Watching the store instead would wake
// thousands for every change, as neighbours in its trees share what is watched.
//
// What records change is told by the recorder, entry by entry.
func (c *Coordinator) notify(command *trellisv1.Command, answer any) {
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateStudy, *trellisv1.Command_ExtendStudy, *trellisv1.Command_RetryStudy:
		c.dispatcher.wake()
		c.settler.wake()
	case *trellisv1.Command_SetStudyState, *trellisv1.Command_DeleteStudy:
		c.sessions.recheckAll()
		c.dispatcher.wake()
		c.settler.wake()
	case *trellisv1.Command_SetWorker:
		c.sessions.recheck(change.SetWorker.GetWorker().GetName())
		c.dispatcher.wake()
	case *trellisv1.Command_Grant:
		refusals, _ := answer.([]error)
		for i, grant := range change.Grant.GetGrants() {
			if i < len(refusals) && refusals[i] == nil {
				c.sessions.recheck(grant.GetWorker())
			}
		}
	}
}
