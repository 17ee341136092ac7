package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/topic"
	"github.com/tailrace/tailrace/worker"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// request is a request under way.
type request struct {
	w    http.ResponseWriter
	r    *http.Request
	args []string // what stands for the stars of its route
}

// name returns the connector's name of a path.
func (q *request) name() string { return q.args[0] }

// notFound answers that there is no such path.
func (q *request) notFound() { fail(q.w, http.StatusNotFound, "HTTP 404 Not Found") }

// done answers without a body.
func (q *request) done(status int) { q.w.WriteHeader(status) }

// answer writes v as JSON.
func (q *request) answer(status int, v any) {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.Header().Set("X-Content-Type-Options", "nosniff")
	q.w.WriteHeader(status)
	enc := json.NewEncoder(q.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client may have gone
}

// fail answers an error in the one form that all errors have.
func fail(w http.ResponseWriter, status int, message string) {
	q := &request{w: w}
	q.answer(status, struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{status, message})
}

// acceptsJSON reports whether the client takes JSON for an answer.
func acceptsJSON(r *http.Request) bool {
	list := r.Header.Values("Accept")
	if len(list) == 0 {
		return true
	}
	for item := range strings.SplitSeq(strings.Join(list, ","), ",") {
		kind, _, err := mime.ParseMediaType(item)
		if err == nil && (kind == "*/*" || kind == "application/*" || kind == "application/json") {
			return true
		}
	}
	return false
}

// body decodes the request's JSON body into v. If it can't, it answers and returns false: 415 for another type, 413 for
// one that is too large, 400 for everything else. An object that has a member twice or one that v does not know, or text
// that is not UTF-8, is refused rather than guessed at.
func (q *request) body(v any) bool {
	if !q.sendsJSON() {
		fail(q.w, http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type")
		return false
	}
	tooLarge := q.r.ContentLength > maxBody // such a body is not even read
	var text []byte
	var err error
	if !tooLarge {
		text, err = io.ReadAll(q.r.Body)
		var over *http.MaxBytesError
		tooLarge = errors.As(err, &over)
	}
	if tooLarge {
		q.w.Header().Set("Connection", "close")
		fail(q.w, http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.Itoa(maxBody)+" bytes: send one connector's configuration at a time")
		return false
	}
	if err == nil {
		err = checkObject(text)
	}
	if err == nil {
		err = decodeStrictly(text, v)
	}
	if err != nil {
		fail(q.w, http.StatusBadRequest, "the body is not the JSON that this call takes: "+err.Error())
		return false
	}
	return true
}

// sendsJSON reports whether the body says that it is JSON, or says nothing.
func (q *request) sendsJSON() bool {
	if e := q.r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return false
	}
	t := q.r.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(t)
	return t == "" || err == nil && kind == "application/json"
}

func decodeStrictly(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// failed answers an error of the worker. text is what Kafka Connect says when the connector does not exist.
func (q *request) failed(err error, text string) {
	var invalid *worker.InvalidError
	switch {
	case errors.As(err, &invalid):
		q.invalid(invalid.Problems, nil)
	case errors.Is(err, worker.ErrNotFound), errors.Is(err, topic.ErrNoTopic):
		fail(q.w, http.StatusNotFound, text)
	case errors.Is(err, worker.ErrNotStopped):
		fail(q.w, http.StatusBadRequest, "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/"+q.name()+"/stop' endpoint")
	case q.r.Context().Err() != nil:
		fail(q.w, http.StatusInternalServerError, "Request timed out. The worker has not finished it within "+requestTimeout.String()+": "+err.Error())
	default:
		fail(q.w, http.StatusInternalServerError, err.Error())
	}
}

// invalid answers Kafka Connect's list of mistakes in a configuration; shown are its values as they may be shown. An
// unknown class stands alone: clients look for how that message begins.
func (q *request) invalid(problems []config.Problem, shown map[string]string) {
	var b strings.Builder
	for _, p := range problems {
		if strings.HasPrefix(p.Message, "Failed to find any class") {
			fail(q.w, http.StatusBadRequest, p.Message)
			return
		}
		b.WriteString("\n" + mistake(p, shown))
	}
	fail(q.w, http.StatusBadRequest, "Connector configuration is invalid and contains the following "+strconv.Itoa(len(problems))+" error(s):"+b.String()+
		"\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`")
}

// nullValue is Kafka Connect's message for a null in a configuration.
const nullValue = "Null value can not be supplied as the configuration value."

// mistake says a problem in Kafka Connect's words as far as it has any.
func mistake(p config.Problem, shown map[string]string) string {
	value, given := shown[p.Key]
	switch {
	case p.Message == nullValue:
		return p.Message
	case strings.HasPrefix(p.Message, "is required"):
		return "Missing required configuration \"" + p.Key + "\" which has no default value."
	case given:
		return "Invalid value " + value + " for configuration " + p.Key + ": " + p.Message
	}
	return "Invalid configuration " + p.Key + ": " + p.Message
}

// quoted shows a client's text in a message.
func quoted(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strconv.Quote(s)
}
