package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	problemType = "application/problem+json"
	// retryAfter is how long a client should wait that is told to come back later, if nothing says how long.
	retryAfter = time.Second
	// textField is the field of a request whose text has lines.
	textField = "text"
)

// problem is an error as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Code is the name of the gRPC code: NOT_FOUND.
	Code string `json:"code"`
	// Errors say what is wrong with fields of the request.
	Errors []fieldProblem `json:"errors,omitempty"`

	retry time.Duration
}

// fieldProblem says what is wrong with a field.
type fieldProblem struct {
	// Field is its path in the request: spec.grid[0].axes["lr"].
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
	// Line and Column say where it is in the body or, if the field is a text, in the text. They count from 1.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

// titles are those of statuses that net/http does not know.
var titles = map[int]string{499: "Client Closed Request"}

// problemOf returns the problem that a call has ended with.
func problemOf(err error) problem {
	answer := status.Convert(err)
	p := newProblem(runtime.HTTPStatusFromCode(answer.Code()), answer.Message())
	p.Code = code.Code(answer.Code()).String()
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *validate.Violations:
			for _, violation := range detail.GetViolations() {
				p.Errors = append(p.Errors, fieldProblem{
					Field: protovalidate.FieldPathString(violation.GetField()), Detail: violation.GetMessage(),
				})
			}
		case *trellisv1.TextProblems:
			for _, one := range detail.GetProblems() {
				p.Errors = append(p.Errors, fieldProblem{
					Field: textField, Detail: one.GetMessage(), Line: int(one.GetLine()), Column: int(one.GetColumn()),
				})
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				p.Errors = append(p.Errors, fieldProblem{Field: violation.GetField(), Detail: violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			p.retry = detail.GetRetryDelay().AsDuration()
		}
	}
	if p.retry == 0 && (answer.Code() == codes.Unavailable || answer.Code() == codes.ResourceExhausted) {
		p.retry = retryAfter
	}
	return p
}

// newProblem returns a problem with an HTTP status.
func newProblem(httpStatus int, detail string) problem {
	title := http.StatusText(httpStatus)
	if title == "" {
		title = titles[httpStatus]
	}
	return problem{
		Type: "about:blank", Title: title, Status: httpStatus, Detail: detail, Code: codeOf(httpStatus).String(),
	}
}

// codeOf returns the code for what is refused before it is a call.
func codeOf(httpStatus int) code.Code {
	switch httpStatus {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return code.Code_UNIMPLEMENTED
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		return code.Code_PERMISSION_DENIED
	case http.StatusRequestTimeout:
		return code.Code_DEADLINE_EXCEEDED
	case http.StatusInternalServerError:
		return code.Code_INTERNAL
	}
	return code.Code_INVALID_ARGUMENT
}

// Error says what is wrong: problems are errors on the way to their answer.
func (p problem) Error() string { return p.Detail }

// write answers with the problem.
func (p problem) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", problemType)
	header.Set("Cache-Control", "no-store")
	header.Del("Etag")
	if p.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="trellis"`)
	}
	if p.retry > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.json(), '\n'))
}

func (p problem) json() []byte {
	data, err := json.Marshal(p)
	if err != nil {
		return []byte("{}")
	}
	return data
}

// fail answers with an error: a problem, or what a call has ended with.
func fail(w http.ResponseWriter, err error) {
	if p, ok := errors.AsType[problem](err); ok {
		p.write(w)
		return
	}
	problemOf(err).write(w)
}

// refuse answers a request that does not become a call.
func refuse(w http.ResponseWriter, httpStatus int, format string, args ...any) {
	newProblem(httpStatus, fmt.Sprintf(format, args...)).write(w)
}

// jsonPlace matches what protojson's errors begin with. Their spaces are not always the same.
var jsonPlace = regexp.MustCompile(`^proto:\s*(?:\(line (\d+):(\d+)\):\s*|syntax error \(line (\d+):(\d+)\):\s*)?`)

// badJSON says what is wrong with a body.
func badJSON(err error, body []byte) problem {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	place := jsonPlace.FindStringSubmatch(text)
	if place == nil {
		return newProblem(http.StatusBadRequest, "the body is not valid JSON: "+text)
	}
	text = text[len(place[0]):]
	one := fieldProblem{Detail: text}
	one.Line, _ = strconv.Atoi(place[1] + place[3])
	one.Column, _ = strconv.Atoi(place[2] + place[4])
	if text == io.ErrUnexpectedEOF.Error() {
		text = "the JSON is cut off: it ends before its last bracket"
		last := body[bytes.LastIndexByte(body, '\n')+1:]
		one = fieldProblem{Detail: text, Line: bytes.Count(body, []byte("\n")) + 1, Column: utf8.RuneCount(last) + 1}
	}
	if name, found := strings.CutPrefix(text, "unknown field "); found {
		if unquoted, err := strconv.Unquote(name); err == nil {
			one.Field = unquoted
		}
	}
	p := newProblem(http.StatusBadRequest, text)
	if one.Line > 0 {
		p.Detail = fmt.Sprintf("line %d, column %d of the body: %s", one.Line, one.Column, text)
	}
	p.Errors = []fieldProblem{one}
	return p
}
