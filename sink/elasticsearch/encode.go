package elasticsearch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/sink"
)

// maxID is Elasticsearch's limit for an _id, in bytes.
const maxID = 512

// indexName makes the name of an index of a topic's: lower case, without what Elasticsearch refuses.
func indexName(prefix, topic string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`\/*?"<>| ,#:`, r) {
			return '_'
		}
		return r
	}, strings.ToLower(prefix+topic))
	if name == "." || name == ".." || strings.TrimLeft(name, "-_+") != name {
		name = "t" + name
	}
	for len(name) > 255 {
		name = name[:255]
	}
	return name
}

// appendID appends the document id of a row of t, not quoted.
func appendID(dst []byte, t *change.Table, row change.Row) []byte {
	start := len(dst)
	for n, i := range t.Key {
		if n > 0 {
			dst = append(dst, ':')
		}
		v := row[i]
		at := len(dst)
		switch v.Kind {
		case change.Text, change.JSON, change.Array:
			dst = append(dst, v.Data...)
		case change.Decimal: // 1.0 and 1.00 are one key
			dst = append(dst, trimDecimal(v.Data)...)
		default:
			dst = jsontext.AppendValue(dst, &t.Columns[i], v)
			if dst[at] == '"' {
				dst = append(dst[:at], dst[at+1:len(dst)-1]...)
			}
		}
		if len(t.Key) > 1 {
			dst = escape(dst, at)
		}
	}
	if len(dst)-start > maxID {
		h := sha256.Sum256(dst[start:])
		dst = hex.AppendEncode(dst[:start], h[:])
	}
	return dst
}

func trimDecimal(p []byte) []byte {
	if i := strings.IndexByte(string(p), '.'); i >= 0 {
		p = p[:len(strings.TrimRight(string(p), "0"))]
		if p[len(p)-1] == '.' {
			p = p[:len(p)-1]
		}
	}
	return p
}

// escape puts a backslash before colons and backslashes from at on.
func escape(dst []byte, at int) []byte {
	for i := at; i < len(dst); i++ {
		if dst[i] == ':' || dst[i] == '\\' {
			dst = append(dst, 0)
			copy(dst[i+1:], dst[i:])
			dst[i] = '\\'
			i++
		}
	}
	return dst
}

// appendAction appends the line of a bulk request that says what is done to a document.
func appendAction(dst []byte, s *sink.State, index string, id []byte) []byte {
	if s.Deleted {
		dst = append(dst, `{"delete":{"_index":`...)
	} else {
		dst = append(dst, `{"index":{"_index":`...)
	}
	dst = jsontext.AppendString(dst, []byte(index))
	dst = jsontext.AppendString(append(dst, `,"_id":`...), id)
	dst = strconv.AppendUint(append(dst, `,"version":`...), s.Version, 10)
	return append(dst, ",\"version_type\":\"external\"}}\n"...)
}

// appendDocument appends the row as one line, with Absent columns taken from old, the present document's members.
func appendDocument(dst []byte, s *sink.State, old map[string]json.RawMessage) []byte {
	dst = append(dst, '{')
	comma := false
	for i := range s.Row {
		c := &s.Table.Columns[i]
		raw, known := old[c.Name]
		if s.Row[i].Kind == change.Absent && !known {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(jsontext.AppendString(dst, []byte(c.Name)), ':')
		if s.Row[i].Kind == change.Absent {
			dst = append(dst, raw...)
		} else {
			dst = jsontext.AppendValue(dst, c, s.Row[i])
		}
	}
	return append(dst, "}\n"...)
}

// mapping is the body that makes an index for t: fields of the table's types, none of which refuses a value.
func mapping(t *change.Table) []byte {
	dst := append([]byte(nil), `{"dynamic":true,"date_detection":false,"properties":{`...)
	for i := range t.Columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		c := &t.Columns[i]
		dst = append(jsontext.AppendString(dst, []byte(c.Name)), ':')
		dst = append(dst, field(&c.Type)...)
	}
	return append(dst, "}}"...)
}

func field(t *change.Type) string {
	switch t.Kind {
	case change.Bool:
		return `{"type":"boolean","ignore_malformed":true}`
	case change.Int, change.Uint: // a number beyond int64 stays in the document and is not indexed
		return `{"type":"long","ignore_malformed":true}`
	case change.Float32, change.Float64, change.Decimal:
		return `{"type":"double","ignore_malformed":true}`
	case change.UUID:
		return `{"type":"keyword"}`
	case change.Date, change.Timestamp, change.TimestampTZ:
		return `{"type":"date","ignore_malformed":true}`
	case change.JSON:
		return `{"type":"object","enabled":false}`
	case change.Array:
		if t.Elem != nil {
			return field(t.Elem)
		}
		return `{"type":"object","enabled":false}`
	case change.Bytes:
		return `{"type":"keyword","index":false,"doc_values":false}`
	default:
		return `{"type":"text","fields":{"keyword":{"type":"keyword","ignore_above":256}}}`
	}
}
