package trellisv1

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// SessionProtocol is the version of the protocol that a worker and its coordinator speak over WorkerService.Session.
// Both sides must use the same version: see worker/DESIGN.md.
const SessionProtocol = 8

// MaxSessionRequest is how many bytes a request of a session may have. A coordinator refuses larger ones: of each
// session it holds one beyond what may wait for the log. Workers send at most half as many, and only a few KiB before
// they are acknowledged.
const MaxSessionRequest = 256 << 10

// Parts returns the requests that a request consists of: those of its batch, or itself.
func (x *SessionRequest) Parts() []*SessionRequest {
	if batch := x.GetBatch(); batch != nil {
		return batch.GetRequests()
	}
	return []*SessionRequest{x}
}

// Parts returns the responses that a response consists of: those of its batch, or itself.
func (x *SessionResponse) Parts() []*SessionResponse {
	if batch := x.GetBatch(); batch != nil {
		return batch.GetResponses()
	}
	return []*SessionResponse{x}
}

// EncodedSize is proto.Size of reports. Those of losses alone are counted here: by reflection, that takes longer than
// to train a short run.
func (x *Reports) EncodedSize() int {
	unknown := x.ProtoReflect().GetUnknown()
	if len(x.GetMetrics()) > 0 || len(x.GetTestMetrics()) > 0 || x.GetEpochs() > 0 || len(unknown) > 0 {
		return proto.Size(x)
	}
	const tag, double = 1, 8 // in bytes
	size := 0
	for _, text := range [...]string{x.GetStudy(), x.GetRun()} {
		if text != "" {
			size += tag + protowire.SizeBytes(len(text))
		}
	}
	for _, number := range [...]uint64{x.GetAttempt(), uint64(x.GetFirstEpoch())} {
		if number > 0 {
			size += tag + protowire.SizeVarint(number)
		}
	}
	for _, column := range [...][]float64{x.GetTrainLoss(), x.GetValidationLoss(), x.GetSeconds()} {
		if len(column) > 0 {
			size += tag + protowire.SizeBytes(double*len(column))
		}
	}
	for epoch := range x.GetTestLoss() {
		size += tag + protowire.SizeBytes(tag+protowire.SizeVarint(uint64(epoch))+tag+double)
	}
	return size
}

// EncodedSize is proto.Size of a request.
func (x *SessionRequest) EncodedSize() int {
	const tag = 1 // in bytes
	if x == nil || len(x.ProtoReflect().GetUnknown()) > 0 {
		return proto.Size(x)
	}
	size := 0
	switch its := x.GetMessage().(type) {
	case *SessionRequest_Reports:
		if its.Reports == nil || len(its.Reports.ProtoReflect().GetUnknown()) > 0 {
			return proto.Size(x)
		}
		for _, reports := range its.Reports.GetReports() {
			size += tag + protowire.SizeBytes(reports.EncodedSize())
		}
	case *SessionRequest_Batch:
		if its.Batch == nil || len(its.Batch.ProtoReflect().GetUnknown()) > 0 {
			return proto.Size(x)
		}
		for _, request := range its.Batch.GetRequests() {
			size += tag + protowire.SizeBytes(request.EncodedSize())
		}
	default:
		return proto.Size(x)
	}
	return tag + protowire.SizeBytes(size)
}
