package binlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/tailrace/tailrace/change"
)

// event makes an event with header and checksum.
func event(t EventType, body []byte) []byte {
	p := make([]byte, HeaderSize, HeaderSize+len(body)+checksumSize)
	binary.LittleEndian.PutUint32(p, 1)
	p[4] = byte(t)
	binary.LittleEndian.PutUint32(p[9:], uint32(HeaderSize+len(body)+checksumSize))
	p = append(p, body...)
	return binary.LittleEndian.AppendUint32(p, crc32.ChecksumIEEE(p))
}

// formatOf returns the format description of a captured server.
func formatOf(tb testing.TB, capture string) []byte {
	events, _ := load(tb, capture)
	for _, p := range events {
		if EventType(p[4]) == TypeFormat {
			return p
		}
	}
	tb.Fatal("no format description in " + capture)
	return nil
}

// oneColumn makes the events of an insert into a table of one column, which is not NULL.
func oneColumn(t ColumnType, meta, value []byte) [][]byte {
	m := []byte{1, 0, 0, 0, 0, 0, 1, 0, 1, 's', 0, 1, 't', 0, 1, byte(t), byte(len(meta))}
	m = append(append(m, meta...), 1)
	rows := append([]byte{1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0}, value...)
	return [][]byte{event(TypeTableMap, m), event(TypeWriteRows, rows)}
}

// declared returns the column that a table map without names can be bound to.
func declared(m *TableMap) ([]Column, error) {
	cols := make([]Column, len(m.Types))
	for i := range cols {
		cols[i] = Column{Name: "c" + strconv.Itoa(i), Nullable: m.Nullable(i), Scale: -1}
		if m.Types[i] == ColumnEnum || m.Types[i] == ColumnSet {
			cols[i].Charset = "utf8mb4"
		}
		if err := m.declare(i, &cols[i]); err != nil {
			return nil, err
		}
		for k := len(cols[i].Labels); k < 64 && (m.Types[i] == ColumnEnum || m.Types[i] == ColumnSet); k++ {
			cols[i].Labels = append(cols[i].Labels, "l"+strconv.Itoa(k+1))
		}
	}
	return cols, nil
}

// ours decodes events behind a format description and returns the rows.
func ours(format []byte, events [][]byte) (rows []change.Row, err error) {
	var d Decoder
	var cs Charsets
	b := &change.Batch{}
	layouts := map[*TableMap]*Layout{}
	err = unpack(&d, append([][]byte{format}, events...), func(e *Event) error {
		switch e.Kind {
		case KindTableMap:
			cols, err := declared(e.TableMap)
			if err != nil {
				return err
			}
			if layouts[e.TableMap], err = NewLayout(&cs, e.TableMap, cols, nil); err != nil {
				return err
			}
		case KindRows:
			for e.Rows.More() {
				before, after, err := e.Rows.Next(layouts[e.Rows.Table], b)
				if err != nil {
					return err
				}
				if before != nil {
					rows = append(rows, before)
				}
				if after != nil {
					rows = append(rows, after)
				}
			}
		}
		return nil
	})
	return rows, err
}

// theirs is what go-mysql makes of the same. It may panic on what is malformed; that counts as an error.
func theirs(format []byte, events [][]byte) (rows [][]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	p := replication.NewBinlogParser()
	p.SetRenderJSONAsMySQLText(true)
	p.SetTimestampStringLocation(time.UTC)
	for _, raw := range append([][]byte{format}, events...) {
		e, err := p.Parse(slices.Clone(raw))
		if err != nil {
			return nil, err
		}
		if r, ok := e.Event.(*replication.RowsEvent); ok {
			rows = append(rows, r.Rows...)
		}
	}
	return rows, nil
}

// clockText writes microseconds as [-]HH:MM:SS[.ffffff].
func clockText(micros int64, digits int) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	s := fmt.Sprintf("%s%02d:%02d:%02d.%06d", sign, micros/3600e6, micros/60e6%60, micros/1e6%60, micros%1e6)
	if digits == 0 {
		return s[:len(s)-7]
	}
	return s[:len(s)-6+digits]
}

// valueText writes a value as go-mysql's text of it.
func valueText(v change.Value, digits int) string {
	layout := "2006-01-02 15:04:05"
	if digits > 0 {
		layout += "." + strings.Repeat("0", digits)
	}
	switch v.Kind {
	case change.Int:
		return strconv.FormatInt(v.Int64(), 10)
	case change.Uint:
		return strconv.FormatUint(v.Num, 10)
	case change.Date:
		return time.Unix(v.Int64()*86400, 0).UTC().Format("2006-01-02")
	case change.Timestamp, change.TimestampTZ:
		return time.UnixMicro(v.Int64()).UTC().Format(layout)
	case change.Time:
		return clockText(v.Int64(), digits)
	case change.Float32, change.Float64:
		return fmt.Sprint(v.Float())
	}
	return string(v.Data)
}

// decodeBoth decodes one value by both decoders. ok is false if one of them refuses it.
func decodeBoth(tb testing.TB, format []byte, t ColumnType, meta, value []byte) (v change.Value, want any, ok bool) {
	events := oneColumn(t, meta, value)
	rows, err := ours(format, events)
	if err != nil || len(rows) != 1 {
		return v, nil, false
	}
	reference, err := theirs(format, events)
	if err != nil {
		return v, nil, false
	}
	if len(reference) != 1 {
		tb.Fatalf("%d rows, go-mysql has %d", len(rows), len(reference))
	}
	return rows[0][0], reference[0][0], true
}

func FuzzDecimal(f *testing.F) {
	f.Add(byte(10), byte(2), []byte("\x80\x00\x00\x01\x02"))
	f.Add(byte(65), byte(30), bytes.Repeat([]byte{0x7f}, 30))
	f.Add(byte(18), byte(9), []byte("\x80\x00\x00\x00\x3b\x9a\xc9\xff"))
	format := formatOf(f, "mysql80-script")
	f.Fuzz(func(t *testing.T, precision, scale byte, value []byte) {
		v, want, ok := decodeBoth(t, format, ColumnNewDecimal, []byte{precision, scale}, value)
		// go-mysql drops the sign of a whole part of zero that has no digits, and writes leading words with their zeros.
		if ok && v.Kind == change.Decimal && strings.TrimLeft(string(v.Data), "-0") != strings.TrimLeft(want.(string), "-0") {
			t.Errorf("decimal(%d,%d) %x is %s, go-mysql has %v", precision, scale, value, v.Data, want)
		}
	})
}

func FuzzTemporal(f *testing.F) {
	for _, t := range []ColumnType{ColumnDate, ColumnTime, ColumnDatetime, ColumnTimestamp, ColumnYear} {
		f.Add(byte(t), byte(0), []byte("\x01\x00\x00\x00\x00\x00\x00\x00"))
	}
	for digits := range byte(7) {
		f.Add(byte(ColumnTime2), digits, []byte("\x80\x00\x01\x00\x00\x00"))
		f.Add(byte(ColumnTime2), digits, []byte("\x7f\xff\xff\xff\xff\xff"))
		f.Add(byte(ColumnDatetime2), digits, []byte("\x99\xb2\xba\xd2\xb8\x00\x00\x01"))
		f.Add(byte(ColumnTimestamp2), digits, []byte("\x65\xe0\x7b\x70\x00\x00\x01"))
	}
	format := formatOf(f, "mysql80-script")
	f.Fuzz(func(t *testing.T, column, digits byte, value []byte) {
		var meta []byte
		size := map[ColumnType]int{ColumnDate: 3, ColumnTime: 3, ColumnDatetime: 8, ColumnTimestamp: 4, ColumnYear: 1}[ColumnType(column)]
		switch ColumnType(column) {
		case ColumnTime2, ColumnDatetime2, ColumnTimestamp2:
			meta = []byte{digits}
			size = map[ColumnType]int{ColumnTime2: 3, ColumnDatetime2: 5, ColumnTimestamp2: 4}[ColumnType(column)] + (int(digits)+1)/2
		default:
			digits = 0
		}
		if size == 0 || digits > 6 || len(value) < size {
			return
		}
		if ColumnType(column) == ColumnTime && value[2]&0x80 != 0 {
			return // go-mysql reads the old form of negative times as numbers without sign
		}
		v, want, ok := decodeBoth(t, format, ColumnType(column), meta, value[:size])
		if got := valueText(v, int(digits)); ok && got != temporalText(want, got) {
			t.Errorf("type %d (%d) %x is %v %s, go-mysql has %v", column, digits, value[:size], v.Kind, got, want)
		}
	})
}

// temporalText is go-mysql's text where it is the server's: it leaves out fractions of zero.
func temporalText(want any, got string) string {
	s := fmt.Sprint(want)
	if strings.Trim(got, "0-:. ") == "" && strings.Trim(s, "0-:. ") == "" {
		return got
	}
	if whole, fraction, ok := strings.Cut(got, "."); ok && strings.Trim(fraction, "0") == "" && s == whole {
		return got
	}
	return s
}

func FuzzJSON(f *testing.F) {
	events, known := load(f, "mysql80-values")
	for _, doc := range storedJSON(f, events, known) {
		f.Add(doc)
	}
	format := formatOf(f, "mysql80-script")
	f.Fuzz(func(t *testing.T, doc []byte) {
		value := binary.LittleEndian.AppendUint32(nil, uint32(len(doc)))
		v, want, ok := decodeBoth(t, format, ColumnJSON, []byte{4}, append(value, doc...))
		if !ok || v.Kind != change.JSON {
			return
		}
		var reference []byte
		switch w := want.(type) {
		case []byte:
			reference = w
		case string:
			reference = []byte(w)
		}
		if why := sameJSON(v.Data, reference); why != "" {
			t.Errorf("%x\nis       %s\ngo-mysql %s\n%s", doc, v.Data, reference, why)
		}
	})
}

// storedJSON returns the documents in the JSON columns of captured rows.
func storedJSON(tb testing.TB, events [][]byte, known map[string][]Column) (docs [][]byte) {
	var d Decoder
	err := unpack(&d, events, func(e *Event) error {
		if e.Kind != KindRows || e.Rows.Op != change.OpCreate || len(e.Rows.Table.Types) != 2 || e.Rows.Table.Types[1] != ColumnJSON {
			return nil
		}
		if p := e.Rows.p; p[0]&2 == 0 { // null bits 1, id 4, length 4, document
			docs = append(docs, slices.Clone(p[9:]))
		}
		return nil
	})
	if err != nil || len(docs) < 10 {
		tb.Fatalf("%d documents: %v", len(docs), err)
	}
	return docs
}

// sameJSON compares documents token by token. go-mysql has no spaces, other forms of numbers, base64 without line ends, and
// writes opaque values as it likes; only where both have a number or string that JSON knows are they compared.
func sameJSON(a, b []byte) string {
	if !json.Valid(a) || !json.Valid(b) {
		return "" // strings that are no UTF-8
	}
	x, y := json.NewDecoder(bytes.NewReader(a)), json.NewDecoder(bytes.NewReader(b))
	x.UseNumber()
	y.UseNumber()
	for {
		s, err1 := x.Token()
		u, err2 := y.Token()
		if err1 == io.EOF && err2 == io.EOF {
			return ""
		}
		if err1 != nil || err2 != nil {
			return fmt.Sprintf("%v, %v", err1, err2)
		}
		if m, ok := s.(json.Number); ok {
			n, ok := u.(json.Number)
			if !ok {
				return "" // an opaque decimal
			}
			f, err1 := m.Float64()
			g, err2 := n.Float64()
			if !strings.ContainsAny(m.String()+n.String(), ".eE") && m != n || err1 == nil && err2 == nil && f != g {
				return fmt.Sprintf("%s, %s", m, n)
			}
			continue
		}
		if t, ok := s.(string); ok && (strings.HasPrefix(t, "base64:") || strings.Contains(t, ":")) {
			continue
		}
		if s != u {
			if _, ok := u.(string); ok {
				return "" // an opaque value
			}
			return fmt.Sprintf("%v, %v", s, u)
		}
	}
}

// FuzzTableMap compares table maps, with all their optional metadata, of both families.
func FuzzTableMap(f *testing.F) {
	formats := map[bool][]byte{true: formatOf(f, "mariadb10-script"), false: formatOf(f, "mysql97-script")}
	for _, capture := range []string{"mariadb10-script", "mysql97-script", "mysql80-script", "mysql57-script"} {
		events, _ := load(f, capture)
		for _, p := range events {
			if EventType(p[4]) == TypeTableMap {
				f.Add(strings.HasPrefix(capture, "maria"), p[HeaderSize:len(p)-checksumSize])
			}
		}
	}
	f.Fuzz(func(t *testing.T, maria bool, body []byte) {
		var d Decoder
		var e Event
		if err := d.Decode(formats[maria], &e); err != nil {
			t.Fatal(err)
		}
		p := event(TypeTableMap, body)
		if d.Decode(p, &e) != nil {
			return
		}
		m := e.TableMap
		if m.Full() {
			if cols, err := m.Columns(); err == nil {
				_, _ = NewLayout(new(Charsets), m, cols, nil)
			}
		}
		w := referenceMap(formats[maria], p, maria)
		if w == nil {
			return
		}
		if m.Schema != string(w.Schema) || m.Table != string(w.Table) || len(m.Types) != int(w.ColumnCount) || m.ID != w.TableID {
			t.Fatalf("%s.%s %d columns, go-mysql has %s.%s %d", m.Schema, m.Table, len(m.Types), w.Schema, w.Table, w.ColumnCount)
		}
		compareMaps(t, m, w)
	})
}

func referenceMap(format, p []byte, maria bool) (m *replication.TableMapEvent) {
	defer func() {
		if recover() != nil {
			m = nil
		}
	}()
	parser := replication.NewBinlogParser()
	if maria {
		parser.SetFlavor("mariadb")
	}
	if _, err := parser.Parse(slices.Clone(format)); err != nil {
		return nil
	}
	e, err := parser.Parse(p)
	if err != nil {
		return nil
	}
	m = e.Event.(*replication.TableMapEvent)
	m.UnsignedMap() // these panic on some bitmaps
	m.CollationMap()
	m.EnumSetCollationMap()
	return m
}

func compareMaps(t *testing.T, m *TableMap, w *replication.TableMapEvent) {
	if names := w.ColumnNameString(); len(names) == len(m.Names) && !slices.Equal(names, m.Names) {
		t.Errorf("names %q, go-mysql has %q", m.Names, names)
	}
	unsigned := w.UnsignedMap()
	charsets, labels := w.CollationMap(), w.EnumSetCollationMap()
	vector := slices.Contains(m.Types, ColumnVector) // which go-mysql does not count as a string
	for i := range m.Types {
		if _, nullable := w.Nullable(i); nullable != m.Nullable(i) {
			t.Errorf("column %d: nullable %v", i, m.Nullable(i))
		}
		if u, ok := unsigned[i]; ok && m.Unsigned != nil && m.Unsigned[i] != u && m.Types[i] != ColumnYear && m.Types[i] != ColumnDecimal && !slices.Contains(m.Types, ColumnDecimal) {
			t.Errorf("column %d of type %d: unsigned %v, go-mysql has %v", i, m.Types[i], m.Unsigned[i], u)
		}
		id, ok := charsets[i]
		if !ok {
			id, ok = labels[i]
		}
		if ok && m.Charsets != nil && !vector && m.Charsets[i] != 0 && uint64(m.Charsets[i]) != id && !slices.Contains(m.Types, ColumnBlobCompressed) &&
			!slices.Contains(m.Types, ColumnVarcharCompressed) {
			t.Errorf("column %d of type %d: charset %d, go-mysql has %d", i, m.Types[i], m.Charsets[i], id)
		}
	}
}

// FuzzEvent reads anything behind a format description: it must never panic, nor make rows of columns that a table does not
// have, nor values that are larger than the event.
func FuzzEvent(f *testing.F) {
	formats := [][]byte{formatOf(f, "mariadb10-script"), formatOf(f, "mysql97-script"), formatOf(f, "mysql57-script")}
	for i, capture := range []string{"mariadb10-script", "mysql97-script", "mysql57-script"} {
		events, _ := load(f, capture)
		var last []byte
		for _, p := range events {
			body := p[HeaderSize : len(p)-checksumSize]
			if EventType(p[4]) == TypeTableMap {
				last = body
			}
			f.Add(byte(i), last, p[4], body)
		}
	}
	f.Fuzz(func(t *testing.T, server byte, table []byte, kind byte, body []byte) {
		events := [][]byte{event(TypeTableMap, table), event(EventType(kind), body)}
		rows, err := ours(formats[int(server)%len(formats)], events)
		if err != nil {
			_ = err.Error()
		}
		for _, row := range rows {
			for _, v := range row {
				if !v.Kind.Valid() || len(v.Data) > 1<<16+8*(len(body)+len(table)) && EventType(kind) != TypePayload && v.Kind != change.Text {
					t.Fatalf("%v of %d bytes from %d", v.Kind, len(v.Data), len(body))
				}
			}
		}
	})
}

// FuzzRows compares rows of several columns with go-mysql's.
func FuzzRows(f *testing.F) {
	format := formatOf(f, "mysql80-script")
	for _, capture := range []string{"mysql80-script", "mysql80-values"} {
		events, _ := load(f, capture)
		var last []byte
		for _, p := range events {
			body := p[HeaderSize : len(p)-checksumSize]
			switch EventType(p[4]) {
			case TypeTableMap:
				last = body
			case TypeWriteRows, TypeUpdateRows, TypeDeleteRows:
				if len(body) < 2000 {
					f.Add(last, p[4]-byte(TypeWriteRows), body)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, table []byte, op byte, body []byte) {
		events := [][]byte{event(TypeTableMap, table), event(TypeWriteRows+EventType(op%3), body)}
		rows, err := ours(format, events)
		if err != nil {
			return
		}
		reference, err := theirs(format, events)
		if err != nil {
			return
		}
		if len(rows) != len(reference) {
			t.Fatalf("%d rows, go-mysql has %d", len(rows), len(reference))
		}
		for i, row := range rows {
			for k, v := range row {
				compareValue(t, k, v, reference[i][k])
			}
		}
	})
}

// compareValue compares what both represent in a comparable way; FuzzJSON, FuzzDecimal and FuzzTemporal do the rest.
func compareValue(t *testing.T, column int, v change.Value, want any) {
	same := true
	switch w := want.(type) {
	case nil:
		same = v.Kind == change.Null || v.Kind == change.Absent
	case int8:
		same = v.Kind == change.Uint && uint8(v.Num) == uint8(w) || v.Int64() == int64(w)
	case int16:
		same = v.Kind == change.Uint && uint16(v.Num) == uint16(w) || v.Int64() == int64(w)
	case int32:
		same = v.Kind == change.Uint && uint32(v.Num)&0xFFFFFF == uint32(w)&0xFFFFFF || v.Int64() == int64(w)
	case float32:
		same = v.Kind == change.Float32 && uint32(v.Num) == math.Float32bits(w)
	case float64:
		same = v.Kind == change.Float64 && v.Num == math.Float64bits(w)
	case []byte:
		same = v.Kind != change.Bytes && v.Kind != change.Text || v.Kind == change.Text || bytes.HasPrefix(v.Data, w)
	case string:
		if v.Kind == change.Text || v.Kind == change.Bytes {
			same = bytes.HasPrefix(v.Data, []byte(w)) || v.Kind == change.Text
		}
	}
	if !same {
		t.Errorf("column %d is %v %d %q, go-mysql has %T %v", column, v.Kind, v.Int64(), v.Data, want, want)
	}
}
