package doctor

import (
	"context"
	"fmt"
	"time"

	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// wrongClock and veryWrongClock are differences between clocks. Certificates and tokens expire by the clock, and the
	// leader's dates everything that is recorded.
	wrongClock, veryWrongClock = time.Second, time.Minute
	// clockTries is how often a node is asked. The quickest answer says most.
	clockTries = 3
)

// clock says how a node's clock differs from this machine's: by ahead, give or take within. It may be behind.
type clock struct{ ahead, within time.Duration }

// askClock asks a node for its own state, and how its clock differs.
func askClock(ctx context.Context, c *client.Client) (status *trellisv1.NodeStatus, best clock, err error) {
	for range clockTries {
		sent := time.Now()
		response, err := client.Call(ctx, nodeWait, c.GetCluster, &trellisv1.GetClusterRequest{})
		if err != nil {
			return nil, clock{}, err
		}
		half := time.Since(sent) / 2
		if status == nil || half < best.within {
			best = clock{response.GetStatus().GetTime().AsTime().Sub(sent.Add(half)), half}
		}
		status = response.GetStatus()
	}
	return status, best, nil
}

// check judges what is certain of the difference.
func (c clock) check(name string) finding {
	f := finding{Check: name, State: fine}
	within := max(c.within, time.Millisecond)
	if c.ahead.Abs() <= within {
		f.Found = "agrees with this machine's, give or take " + output.ShortDuration(within)
		return f
	}
	word := "ahead of"
	if c.ahead < 0 {
		word = "behind"
	}
	f.Found = fmt.Sprintf("%s %s this machine's, give or take %s", output.ShortDuration(c.ahead.Abs()), word,
		output.ShortDuration(within))
	certain := c.ahead.Abs() - c.within
	switch {
	case certain > veryWrongClock:
		f.State = fault
	case certain > wrongClock:
		f.State = warning
	default:
		return f
	}
	f.Advice = "have both machines set their clocks, for example by chrony: tokens and certificates expire by them"
	return f
}
