package hooks

import (
	"net/http"
	"strconv"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

var hookColumns = []output.Column[*trellisv1.Hook]{
	output.Both("name", (*trellisv1.Hook).GetName),
	output.Both("url", (*trellisv1.Hook).GetUrl),
	output.Both("events", func(h *trellisv1.Hook) string { return strings.Join(h.GetEvents(), " ") }),
	output.Both("study", (*trellisv1.Hook).GetStudy),
	{Name: "waiting", Short: waiting, Plain: waiting},
	{
		Name:  "disable_time",
		Plain: func(h *trellisv1.Hook) string { return output.PlainTime(h.GetDisableTime()) },
	},
	{
		Name: "state",
		Short: func(h *trellisv1.Hook) string {
			if h.GetDisableTime() != nil {
				return "disabled: the receiver answered 410 Gone"
			}
			return "enabled"
		},
		Plain: func(h *trellisv1.Hook) string {
			if h.GetDisableTime() != nil {
				return "disabled"
			}
			return "enabled"
		},
	},
	{
		Name:  "create_time",
		Plain: func(h *trellisv1.Hook) string { return output.PlainTime(h.GetCreateTime()) },
	},
	{Name: "creator", Plain: func(h *trellisv1.Hook) string { return describe.Principal(h.GetCreator()) }},
}

func waiting(h *trellisv1.Hook) string { return strconv.FormatUint(h.GetCreated()-h.GetDone(), 10) }

var deliveryColumns = []output.Column[*trellisv1.Delivery]{
	{
		Name:  "time",
		Plain: func(d *trellisv1.Delivery) string { return output.PlainTime(d.GetEvent().GetTimestamp()) },
		Short: func(d *trellisv1.Delivery) string { return output.ShortTime(d.GetEvent().GetTimestamp()) },
	},
	output.Both("event", func(d *trellisv1.Delivery) string { return d.GetEvent().GetType() }),
	output.Both("subject", subject),
	output.Both("state", func(d *trellisv1.Delivery) string {
		return strings.ReplaceAll(output.EnumWord(d.GetState()), "_", " ")
	}),
	output.Both("attempts", func(d *trellisv1.Delivery) string { return strconv.FormatUint(uint64(d.GetAttempts()), 10) }),
	{
		Name: "status",
		Plain: func(d *trellisv1.Delivery) string {
			return strconv.FormatUint(uint64(d.GetStatus()), 10)
		},
		Short: func(d *trellisv1.Delivery) string {
			if d.GetAttempts() == 0 {
				return ""
			}
			return result(d.GetStatus(), d.GetError())
		},
	},
	{Name: "error", Plain: (*trellisv1.Delivery).GetError},
	{
		Name:  "retry_time",
		Plain: func(d *trellisv1.Delivery) string { return output.PlainTime(d.GetRetryTime()) },
		Short: func(d *trellisv1.Delivery) string { return output.ShortTime(d.GetRetryTime()) },
	},
	{Name: "id", Plain: func(d *trellisv1.Delivery) string { return d.GetEvent().GetId() }},
}

// subject is what an event is about: a study, a run of one, or a worker.
func subject(d *trellisv1.Delivery) string {
	data := d.GetEvent().GetData()
	switch {
	case data.GetStudy() != nil:
		return data.GetStudy().GetName()
	case data.GetRun() != nil:
		return data.GetRun().GetStudy() + " " + output.Shorten(data.GetRun().GetId(), 12)
	}
	return data.GetWorker().GetName()
}

// result says what a receiver has answered, or why it has not.
func result(status uint32, problem string) string {
	switch {
	case status == 0:
		return problem
	case status >= 300 && status <= 399:
		return answer(status) + " (redirects are not followed)"
	}
	return answer(status)
}

func answer(status uint32) string {
	return strings.TrimSpace(strconv.FormatUint(uint64(status), 10) + " " + http.StatusText(int(status)))
}
