package elasticsearch

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/sink"
)

// maxID is Elasticsearch's limit for an _id, in bytes.
const maxID = 512

// appendID appends the document id of a row of t, as text. One key column: its text, as it stands in the document. Several: their
// texts, joined by colons; a colon or backslash inside one is preceded by a backslash. Two forms begin with ~, and an
// id that would begin with ~ by itself gets another one: "~" is the empty text, and "~sha256:" and 64 hexadecimal digits stand
// for an id of more than 512 bytes or one that is not UTF-8. So two keys never have one id.
func appendID(dst []byte, t *change.Table, row change.Row) []byte {
	start := len(dst)
	for n, i := range t.Key {
		if n > 0 {
			dst = append(dst, ':')
		}
		at := len(dst)
		dst = appendKeyText(dst, &t.Columns[i], row[i])
		if len(t.Key) > 1 {
			dst = escape(dst, at)
		}
	}
	id := dst[start:]
	switch {
	case len(id) == 0:
		return append(dst, '~')
	case id[0] == '~':
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		id = dst[start:]
	}
	if len(id) > maxID || !utf8.Valid(id) {
		h := sha256.Sum256(id)
		return hex.AppendEncode(append(dst[:start], "~sha256:"...), h[:])
	}
	return dst
}

func appendKeyText(dst []byte, c *change.Column, v change.Value) []byte {
	switch v.Kind {
	case change.Text, change.JSON, change.Array:
		return append(dst, v.Data...)
	case change.Decimal: // 1.0 and 1.00 are one key
		return append(dst, jsontext.TrimDecimal(v.Data)...)
	case change.Float32, change.Float64:
		if v.Float() == 0 { // so are 0 and -0
			return append(dst, '0')
		}
	}
	at := len(dst)
	dst = jsontext.AppendValue(dst, c, v)
	if dst[at] == '"' {
		n := copy(dst[at:], dst[at+1:len(dst)-1])
		dst = dst[:at+n]
	}
	return dst
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
func appendAction(dst []byte, x *index, deleted bool, id []byte, version uint64) []byte {
	if deleted {
		dst = append(dst, x.del...)
	} else {
		dst = append(dst, x.put...)
	}
	dst = jsontext.AppendString(dst, id)
	dst = strconv.AppendUint(append(dst, `,"version":`...), version, 10)
	return append(dst, ",\"version_type\":\"external\"}}\n"...)
}

// appendDocument appends the row as one line. Absent columns are taken from old, the JSON object that is there now; an
// empty old has none. The partition is added if it is not the first.
func appendDocument(dst []byte, s *sink.State, old []byte, partition int) []byte {
	dst = appendRow(dst, s, old)
	if partition > 0 {
		dst = append(dst[:len(dst)-1], `,"`+partitionField+`":`...)
		dst = append(strconv.AppendInt(dst, int64(partition), 10), '}')
	}
	return append(dst, '\n')
}

func appendRow(dst []byte, s *sink.State, old []byte) []byte {
	if s.Row.Complete() || len(old) == 0 {
		return jsontext.AppendRow(dst, s.Table, s.Row)
	}
	dst = append(dst, '{')
	comma := false
	for i := range s.Row {
		c := &s.Table.Columns[i]
		var raw []byte
		if s.Row[i].Kind == change.Absent {
			if raw = member(old, c.Name); raw == nil {
				continue
			}
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = jsontext.AppendKey(dst, c.Name)
		if raw != nil {
			dst = appendLine(dst, raw)
		} else {
			dst = jsontext.AppendValue(dst, c, s.Row[i])
		}
	}
	return append(dst, '}')
}

// appendLine appends JSON text without line breaks, which can only stand between its tokens.
func appendLine(dst, raw []byte) []byte {
	n := len(dst)
	dst = append(dst, raw...)
	for i := n; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return dst
}
