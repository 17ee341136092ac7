package envelope

import (
	"bytes"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// stringHead stands before a header's text where headers have schemas.
const stringHead = `{"schema":{"type":"string","optional":false},"payload":`

// AppendHeaders appends the headers of e's record as a JSON array of objects with key and value: the event's own, of
// which a key change's old and new key become objects, then Debezium's context headers unless its source does without.
// What is neither a row nor a schema change has no context.
func (enc *Encoder) AppendHeaders(dst []byte, e *change.Event) []byte {
	dst = append(dst, '[')
	start := len(dst)
	for i := range e.Headers {
		h := &e.Headers[i]
		dst = appendHeaderKey(dst, start, h.Key)
		dst = append(enc.appendHeaderValue(dst, e.Table, h), '}')
	}
	if e.Table == nil || e.Table.Origin == nil || e.Table.Origin.NoContext || e.Raw != nil && e.Raw.Form != change.FormSchemaChange {
		return append(dst, ']')
	}
	o := e.Table.Origin
	dst = enc.appendContext(dst, start, "connectorLogicalName", o.Name)
	dst = appendHeaderKey(dst, start, "__debezium.context.taskId")
	dst = enc.openString(dst)
	dst = append(strconv.AppendInt(append(dst, '"'), int64(enc.o.Task), 10), '"')
	dst = append(enc.closeString(dst), '}')
	dst = enc.appendContext(dst, start, "connectorName", o.Connector)
	if enc.o.RunID != "" {
		dst = enc.appendContext(dst, start, "runId", enc.o.RunID)
	}
	return append(dst, ']')
}

func (enc *Encoder) appendContext(dst []byte, start int, name, value string) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	dst = append(append(append(dst, `{"key":"__debezium.context.`...), name...), `","value":`...)
	dst = jsontext.AppendText(enc.openString(dst), value)
	return append(enc.closeString(dst), '}')
}

func (enc *Encoder) openString(dst []byte) []byte {
	if enc.o.Headers.Schemas {
		return append(dst, stringHead...)
	}
	return dst
}

func (enc *Encoder) closeString(dst []byte) []byte {
	if enc.o.Headers.Schemas {
		return append(dst, '}')
	}
	return dst
}

func appendHeaderKey(dst []byte, start int, key string) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	return append(jsontext.AppendText(append(dst, `{"key":`...), key), `,"value":`...)
}

func (enc *Encoder) appendHeaderValue(dst []byte, t *change.Table, h *change.Header) []byte {
	if h.Value == nil {
		return append(dst, "null"...)
	}
	if t != nil && (h.Key == change.HeaderNewKey || h.Key == change.HeaderOldKey) {
		p := enc.planOf(t)
		if dst, ok := enc.appendKeyTuple(dst, p, p.headerHead, h.Value); ok {
			return dst
		}
	}
	if v := bytes.TrimSpace(h.Value); len(v) > 0 && (v[0] == '{' || v[0] == '[') && jsontext.Valid(v) {
		return jsontext.AppendJSON(dst, v)
	}
	return jsontext.AppendString(dst, h.Value)
}
