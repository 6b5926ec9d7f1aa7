package coordinator

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"trellis/coordinator/api"
	"trellis/coordinator/artifact"
	"trellis/coordinator/connection"
	"trellis/coordinator/quota"
	"trellis/results/spelling"
)

// Limits bound what peers can make the coordinator hold, in number and in bytes. A field whose name ends in Each is the
// share of one principal, or of one host where nobody is authenticated; the field before it is for all together. What
// exceeds a limit is refused with RESOURCE_EXHAUSTED or, if the request alone is too large, with INVALID_ARGUMENT, and
// the refusal names the limit. The zero value of a field stands for its default, which is in limitTable: few need
// others.
type Limits struct {
	// Studies is the number of studies.
	Studies, StudiesEach int64
	// Trials is the number of trials in all studies. A trial takes 700 to 1,700 bytes of memory, and more while its study
	// is created or extended: at the peak, 450,000 trials took 1.7 GB.
	Trials, TrialsEach int64
	// SpecBytes is the size of one spec. StudyBytes is the size of what is stored of one study besides its runs and
	// trials: its spec and what each extension has changed in it. AllStudiesBytes is that of all studies.
	SpecBytes, StudyBytes, AllStudiesBytes int64
	// FilesBytes is the size of the files of one program, packed.
	FilesBytes int64
	// QueueBytes is the size of what workers have reported and the log does not have yet. Workers beyond their share are
	// not read for a while.
	QueueBytes, QueueBytesEach int64
	// WaitingBytes is the size of what has come from workers that are not read, and has no room in the queue: at most one
	// request of each, of at most 256 KiB. Workers send far less, and wait; beyond the limit, the sessions that hold the
	// most end.
	WaitingBytes, WaitingBytesEach int64
	// UnreadBytes is the size of streamed responses, for example of watches, that clients have not read yet.
	UnreadBytes, UnreadBytesEach int64
	// Uploads is the number of unfinished uploads of artifacts, and UploadBytes the size of what has arrived of them.
	Uploads, UploadsEach         int64
	UploadBytes, UploadBytesEach int64
	// UnusedBytes is the size of artifacts that submitters and admins have uploaded and that no study names: they stay for
	// more than an hour. It is counted where callers are authenticated.
	UnusedBytes, UnusedBytesEach int64
	// Connections is the number of connections from clients and workers. ConnectionsEach is that of one principal, and
	// ConnectionsAddress that of one address. What the process may have open lowers them: see connection.Limits.
	Connections, ConnectionsEach, ConnectionsAddress int64
	// Calls is the number of calls that are being served or wait, sessions, watches and transfers included.
	Calls, CallsEach int64
	// Arriving is the number of calls whose request has not arrived: each holds what has come of it, up to 2 MiB.
	// Strangers is the same for callers who have not said who they are, at a coordinator that asks.
	Arriving, ArrivingEach   int64
	Strangers, StrangersEach int64
	// Sessions is the number of workers that are connected.
	Sessions, SessionsEach int64
	// CostlyRequests is how many requests that take much memory or time, such as reports, are served at the same time,
	// and at most as many as leave half of the cores to everything else. Others wait.
	CostlyRequests, CostlyRequestsEach int64
	// Tokens is the number of tokens that have not expired.
	Tokens int64
	// RequestTime is how long a unary request may take.
	RequestTime time.Duration
}

// limit is one of the Limits.
type limit struct {
	// name is how operators call it, and unit is what its value counts.
	name, unit string
	fallback   int64
	field      func(*Limits) *int64
}

// limitTable has every limit with its default. Durations are in nanoseconds.
var limitTable = []limit{
	{"studies", "studies", 1000, func(l *Limits) *int64 { return &l.Studies }},
	{"studies-each", "studies", 500, func(l *Limits) *int64 { return &l.StudiesEach }},
	{"trials", "trials", 4_000_000, func(l *Limits) *int64 { return &l.Trials }},
	{"trials-each", "trials", 2_000_000, func(l *Limits) *int64 { return &l.TrialsEach }},
	{"spec-bytes", "bytes", 1 << 20, func(l *Limits) *int64 { return &l.SpecBytes }},
	{"study-bytes", "bytes", 8 << 20, func(l *Limits) *int64 { return &l.StudyBytes }},
	{"all-studies-bytes", "bytes", 256 << 20, func(l *Limits) *int64 { return &l.AllStudiesBytes }},
	{"files-bytes", "bytes", 1 << 30, func(l *Limits) *int64 { return &l.FilesBytes }},
	{"queue-bytes", "bytes", 64 << 20, func(l *Limits) *int64 { return &l.QueueBytes }},
	{"queue-bytes-each", "bytes", 16 << 20, func(l *Limits) *int64 { return &l.QueueBytesEach }},
	{"waiting-bytes", "bytes", 128 << 20, func(l *Limits) *int64 { return &l.WaitingBytes }},
	{"waiting-bytes-each", "bytes", 96 << 20, func(l *Limits) *int64 { return &l.WaitingBytesEach }},
	{"unread-bytes", "bytes", 128 << 20, func(l *Limits) *int64 { return &l.UnreadBytes }},
	{"unread-bytes-each", "bytes", 32 << 20, func(l *Limits) *int64 { return &l.UnreadBytesEach }},
	{"uploads", "uploads", 128, func(l *Limits) *int64 { return &l.Uploads }},
	{"uploads-each", "uploads", 64, func(l *Limits) *int64 { return &l.UploadsEach }},
	{"upload-bytes", "bytes", 16 << 30, func(l *Limits) *int64 { return &l.UploadBytes }},
	{"upload-bytes-each", "bytes", 8 << 30, func(l *Limits) *int64 { return &l.UploadBytesEach }},
	{"unused-bytes", "bytes", 64 << 30, func(l *Limits) *int64 { return &l.UnusedBytes }},
	{"unused-bytes-each", "bytes", 16 << 30, func(l *Limits) *int64 { return &l.UnusedBytesEach }},
	{"connections", "connections", 12_000, func(l *Limits) *int64 { return &l.Connections }},
	{"connections-each", "connections", 2000, func(l *Limits) *int64 { return &l.ConnectionsEach }},
	{"connections-address", "connections", 2000, func(l *Limits) *int64 { return &l.ConnectionsAddress }},
	{"calls", "calls", 40_000, func(l *Limits) *int64 { return &l.Calls }},
	{"calls-each", "calls", 20_000, func(l *Limits) *int64 { return &l.CallsEach }},
	{"arriving", "calls", 512, func(l *Limits) *int64 { return &l.Arriving }},
	{"arriving-each", "calls", 128, func(l *Limits) *int64 { return &l.ArrivingEach }},
	{"strangers", "calls", 64, func(l *Limits) *int64 { return &l.Strangers }},
	{"strangers-each", "calls", 16, func(l *Limits) *int64 { return &l.StrangersEach }},
	{"sessions", "sessions", 10_000, func(l *Limits) *int64 { return &l.Sessions }},
	{"sessions-each", "sessions", 5000, func(l *Limits) *int64 { return &l.SessionsEach }},
	{"costly-requests", "requests", 4, func(l *Limits) *int64 { return &l.CostlyRequests }},
	{"costly-requests-each", "requests", 2, func(l *Limits) *int64 { return &l.CostlyRequestsEach }},
	{"tokens", "tokens", 10_000, func(l *Limits) *int64 { return &l.Tokens }},
	{"request-time", "time", int64(time.Minute), func(l *Limits) *int64 { return (*int64)(&l.RequestTime) }},
}

// leastLimits has the limits below which nothing works: a piece of a file has 1 MiB, a message that is larger than its
// limit is refused, and a quarter of waiting-bytes is for one decoded request at least.
var leastLimits = map[string]int64{
	"unread-bytes": 2 << 20, "unread-bytes-each": 2 << 20, "upload-bytes": 1 << 20, "upload-bytes-each": 1 << 20,
	"waiting-bytes": 8 << 20, "waiting-bytes-each": 8 << 20,
}

// LimitNames returns the names of all limits, in the order of the fields of Limits.
func LimitNames() []string {
	names := make([]string, len(limitTable))
	for i, one := range limitTable {
		names[i] = one.name
	}
	return names
}

// Set sets the limit with the name. A value is a whole number, or a duration such as 90s; a size in bytes may end in
// KiB, MiB or GiB.
func (l *Limits) Set(name, value string) error {
	for _, one := range limitTable {
		if one.name != name {
			continue
		}
		n, err := one.parse(value)
		if err != nil {
			return err
		}
		*one.field(l) = n
		return nil
	}
	return errors.New(spelling.Unknown("limit", name, LimitNames()))
}

// units are what a size in bytes may end in.
var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

func (one limit) parse(value string) (int64, error) {
	if one.unit == "time" {
		n, err := time.ParseDuration(value)
		if err != nil || n <= 0 {
			return 0, fmt.Errorf("limit %s: invalid value %q: must be a duration above 0, for example 90s", one.name,
				value)
		}
		return int64(n), nil
	}
	number, scale := value, int64(1)
	if one.unit == "bytes" {
		for _, unit := range units {
			if rest, found := strings.CutSuffix(value, unit.suffix); found {
				number, scale = rest, unit.bytes
			}
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if bad := err != nil || n <= 0 || n > math.MaxInt64/scale; bad && one.unit == "bytes" {
		return 0, fmt.Errorf("limit %s: invalid value %q: must be a number of bytes above 0, such as 1048576, 1MiB or "+
			"2GiB", one.name, value)
	} else if bad {
		return 0, fmt.Errorf("limit %s: invalid value %q: must be a number of %s above 0", one.name, value, one.unit)
	}
	return n * scale, nil
}

// Validate returns an error that says which limit is wrong, or nil.
func (l Limits) Validate() error {
	filled := l.withDefaults()
	for _, one := range limitTable {
		if n := *one.field(&l); n < 0 {
			return fmt.Errorf("invalid limit %s=%d: must be above 0", one.name, n)
		}
		if n, least := *one.field(&filled), leastLimits[one.name]; n < least {
			return fmt.Errorf("invalid limit %s=%d: must be at least %d, which one piece of a file or one report takes",
				one.name, n, least)
		}
	}
	if filled.FilesBytes > artifact.MaxBytes {
		return fmt.Errorf("invalid limit files-bytes=%d: must be at most %d, the largest artifact", filled.FilesBytes,
			int64(artifact.MaxBytes))
	}
	if filled.SpecBytes > filled.StudyBytes || filled.StudyBytes > maxStudyBytes {
		return fmt.Errorf("invalid limit spec-bytes=%d with study-bytes=%d: a study's bytes must be at least a spec's, "+
			"and at most %d", filled.SpecBytes, filled.StudyBytes, int64(maxStudyBytes))
	}
	return nil
}

// maxStudyBytes is the largest value of the limit study-bytes: a command that changes a study must fit into the log.
const maxStudyBytes = 16 << 20

// withDefaults fills in the limits that are left out. A share that is left out is no larger than the whole.
func (l Limits) withDefaults() Limits {
	whole := int64(math.MaxInt64)
	for _, one := range limitTable {
		field := one.field(&l)
		share := strings.HasSuffix(one.name, quota.EachSuffix) || strings.HasSuffix(one.name, "-address")
		if *field == 0 {
			*field = one.fallback
			if share {
				*field = min(*field, whole)
			}
		}
		if !share {
			whole = *field
		}
	}
	return l
}

// ofStudies returns the limits on studies and tokens as the API applies them.
func (l Limits) ofStudies() api.Limits {
	const help = "delete studies that you no longer need, or give the coordinator a larger --limits"
	return api.Limits{
		Studies: quota.Limit{Name: "studies", Noun: "studies", Help: help, InAll: l.Studies, Each: l.StudiesEach},
		Trials:  quota.Limit{Name: "trials", Noun: "trials", Help: help, InAll: l.Trials, Each: l.TrialsEach},
		AllStudiesBytes: quota.Limit{
			Name: "all-studies-bytes", Noun: "bytes of studies", Help: help, InAll: l.AllStudiesBytes,
		},
		SpecBytes: l.SpecBytes, StudyBytes: l.StudyBytes, FilesBytes: l.FilesBytes,
		Tokens: quota.Limit{
			Name: "tokens", Noun: "tokens", InAll: l.Tokens,
			Help: "revoke those that are no longer needed, or give the coordinator a larger --limits",
		},
	}
}

// queue returns the limit on what workers have reported and the log does not have yet. Nobody is refused: workers wait.
func (l Limits) queue() quota.Limit {
	return quota.Limit{Name: "queue-bytes", Noun: "bytes of reports", InAll: l.QueueBytes, Each: l.QueueBytesEach}
}

// unread returns the limit on responses that clients have not read.
func (l Limits) unread() quota.Limit {
	return quota.Limit{Name: "unread-bytes", Noun: "unread bytes", InAll: l.UnreadBytes, Each: l.UnreadBytesEach}
}

// connections returns the limits on the connections of a listener.
func (l Limits) connections() connection.Limits {
	return connection.Limits{
		All: int(l.Connections), Host: int(l.ConnectionsAddress), Principal: int(l.ConnectionsEach),
	}
}
