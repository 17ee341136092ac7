package compare

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// form is how a side writes values.
type form uint8

const (
	natural  form = iota // the documents of sinks: see package jsontext
	envelope             // the events of the log: see package change/envelope
)

// unavailable stands in an event for a column that the database did not send, because it is unchanged.
const unavailable = "__debezium_unavailable_value"

// fromPostgres appends the normal form of the text that PostgreSQL writes for a value of the column.
func fromPostgres(dst []byte, c *Column, text []byte) ([]byte, error) {
	if c.Kind != change.Array {
		return scalarFromPostgres(dst, c.Kind, text)
	}
	if len(text) > 0 && text[0] != '{' && !bytes.Contains(text, []byte("={")) { // a target may keep arrays as JSON
		return fromJSON(dst, c, natural, text)
	}
	a := jsontext.NewArray(text)
	separate := false
	var elem []byte
	for {
		switch tok := a.Next(); tok {
		case jsontext.ArrayEnd:
			return dst, nil
		case jsontext.ArrayClose:
			dst, separate = append(dst, ']'), true
		case jsontext.ArrayOpen, jsontext.ArrayElem, jsontext.ArrayNull:
			if separate {
				dst = append(dst, ',')
			}
			separate = tok != jsontext.ArrayOpen
			switch tok {
			case jsontext.ArrayOpen:
				dst = append(dst, '[')
			case jsontext.ArrayNull:
				dst = append(dst, "NULL"...)
			default:
				var err error
				if elem, err = scalarFromPostgres(nil, c.Elem, a.AppendElem(elem[:0])); err != nil {
					return dst, err
				}
				dst = jsontext.AppendString(dst, elem)
			}
		default:
			return dst, fmt.Errorf("malformed array %.60q", text)
		}
	}
}

// scalarFromPostgres is fromPostgres for what is not an array.
func scalarFromPostgres(dst []byte, k change.Kind, text []byte) ([]byte, error) {
	switch k {
	case change.Bool:
		switch string(text) {
		case "t":
			return append(dst, "true"...), nil
		case "f":
			return append(dst, "false"...), nil
		}
	case change.Float32, change.Float64:
		return appendFloat(dst, k, text)
	case change.Bytes:
		if !bytes.HasPrefix(text, []byte(`\x`)) {
			return dst, fmt.Errorf("bytea %.40q is not in hex", text)
		}
		raw, err := hex.AppendDecode(nil, text[2:])
		return base64.StdEncoding.AppendEncode(dst, raw), err
	case change.JSON:
		return compact(dst, text), nil
	case change.Timestamp, change.TimestampTZ:
		if len(text) < 11 || text[10] != ' ' {
			break // infinity, or a year of more than four digits: as it is
		}
		dst = append(append(append(dst, text[:10]...), 'T'), text[11:]...)
		if k == change.TimestampTZ && bytes.HasSuffix(dst, []byte("+00")) {
			dst = append(dst[:len(dst)-3], 'Z')
		}
		return dst, nil
	}
	return append(dst, text...), nil
}

// fromJSON appends the normal form of a JSON value that is not null.
func fromJSON(dst []byte, c *Column, f form, raw []byte) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if c.Kind != change.Array {
		return scalarFromJSON(dst, c.Kind, c.Digits, f, raw)
	}
	dst = append(dst, '[')
	first := true
	err := array(raw, func(value []byte) (err error) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		switch {
		case string(value) == "null":
			dst = append(dst, "NULL"...)
		case value[0] == '[' && c.Elem != change.JSON:
			dst, err = fromJSON(dst, c, f, value)
		default:
			var elem []byte
			if elem, err = scalarFromJSON(nil, c.Elem, 6, f, value); err == nil {
				dst = jsontext.AppendString(dst, elem)
			}
		}
		return err
	})
	return append(dst, ']'), err
}

// scalarFromJSON is fromJSON for what is not an array.
func scalarFromJSON(dst []byte, k change.Kind, digits int, f form, raw []byte) ([]byte, error) {
	text := raw
	if len(raw) > 0 && raw[0] == '"' && (k != change.JSON || f == envelope) {
		var err error
		if text, err = unquote(raw); err != nil {
			return dst, err
		}
	}
	switch k {
	case change.Float32, change.Float64:
		return appendFloat(dst, k, text)
	case change.Decimal:
		switch string(text) { // Debezium's names
		case "NAN":
			text = []byte("NaN")
		case "POSITIVE_INFINITY":
			text = []byte("Infinity")
		case "NEGATIVE_INFINITY":
			text = []byte("-Infinity")
		}
	case change.JSON:
		return compact(dst, text), nil
	case change.Date, change.Time, change.Timestamp:
		if f == envelope && raw[0] != '"' {
			return appendCount(dst, k, digits, raw)
		}
	case change.TimestampTZ:
		return trimFraction(append(dst, text...)), nil
	}
	return append(dst, text...), nil
}

// appendCount appends a date or time that is given as a number: days, or milliseconds where the column has at most
// three digits of a fraction, else microseconds.
func appendCount(dst []byte, k change.Kind, digits int, raw []byte) ([]byte, error) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return dst, err
	}
	if k == change.Date {
		return time.Unix(n*86400, 0).UTC().AppendFormat(dst, "2006-01-02"), nil
	}
	t := time.UnixMicro(n).UTC()
	if digits <= 3 {
		t = time.UnixMilli(n).UTC()
	}
	if k == change.Time {
		return t.AppendFormat(dst, "15:04:05.999999"), nil
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.999999"), nil
}

// trimFraction removes zeros from the end of a fraction that a Z follows.
func trimFraction(p []byte) []byte {
	if n := len(p) - 1; n > 20 && p[n] == 'Z' && p[19] == '.' {
		return append(bytes.TrimRight(bytes.TrimRight(p[:n], "0"), "."), 'Z')
	}
	return p
}

// appendFloat appends the shortest text that reads back the same.
func appendFloat(dst []byte, k change.Kind, text []byte) ([]byte, error) {
	bits := 64
	if k == change.Float32 {
		bits = 32
	}
	v, err := strconv.ParseFloat(string(text), bits)
	if err != nil {
		return dst, err
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits), nil
}
