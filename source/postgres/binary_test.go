package postgres

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

// A row that is copied, in the binary format, is the row that the stream has, as text: of each type, also at its ends.
func TestCopiedRowsAreStreamedRows(t *testing.T) {
	var columns, values []string
	for i, c := range []string{
		"bool: true, false", "int2: -32768, 32767", "int4: -2147483648, 2147483647, 0", "int8: -9223372036854775808, 9223372036854775807",
		"oid: 0, 4294967295", "float4: NaN, -Infinity, Infinity, -0, 1e-45, 3.4028235e38, 0.1", "float8: NaN, -Infinity, Infinity, -0, 5e-324, 1.7976931348623157e308, 0.1",
		`bytea: \x, \x00ff, \xdeadbeef`, "uuid: 00000000-0000-0000-0000-000000000000, ffffffff-ffff-ffff-ffff-fffffffffffe",
		"date: infinity, -infinity, 4713-01-01 BC, 0001-12-31 BC, 1969-12-31, 1970-01-01, 2000-02-29, 5874897-12-31",
		"time: 00:00:00, 00:00:00.000001, 23:59:59.999999, 24:00:00", "time(3): 01:02:03.004",
		"timestamp: infinity, -infinity, 4713-01-01 00:00:00 BC, 0044-03-15 12:00:00.5 BC, 1969-12-31 23:59:59.999999, 1999-12-31 23:59:59.999999, " +
			"294246-12-31 23:59:59.999999, 294247-01-09 00:00:00, 294247-01-10 00:00:00, 294247-01-11 04:00:54.25, 294276-12-31 23:59:59.123456, 294276-12-31 23:59:59",
		"timestamptz: infinity, -infinity, 4713-01-02 00:00:00+00 BC, 1969-12-31 23:59:59.999999+00, 294247-01-10 00:00:00+00, 294276-12-31 23:59:59.1+00",
		"whole: 7, -7", "moment: 2024-02-29 01:02:03", "mood: z, a", "numeric: NaN, Infinity, -1.50, 0.000", "money: -1.50, 12.00", "citext: a, B", "jsonb: {\"a\": 1.0}",
	} {
		typ, list, _ := strings.Cut(c, ": ")
		columns = append(columns, fmt.Sprintf(", c%d %s", i, typ))
		for v := range strings.SplitSeq(list, ", ") {
			values = append(values, fmt.Sprintf("INSERT INTO t (c%d) VALUES (%s)", i, literal(v)))
		}
	}
	d := newDB(t, "CREATE TYPE mood AS ENUM ('z', 'a'); CREATE EXTENSION citext; CREATE DOMAIN whole AS int8; CREATE DOMAIN moment AS timestamp NOT NULL DEFAULT '2020-01-01'; "+
		"CREATE TABLE t (id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY"+strings.Join(columns, "")+")")
	s := d.stream(nil)
	d.exec("SET TimeZone = 'UTC'; SET lc_monetary = 'C'; " + strings.Join(values, "; "))
	streamed := map[int64]change.Row{}
	for _, e := range s.events(len(values)) {
		streamed[e.After[0].Int64()] = e.After
	}
	tables, err := s.src.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b change.Batch
	if _, err := s.src.Scan(t.Context(), tables[0], nil, 1000, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Events) != len(values) || len(streamed) != len(values) {
		t.Fatalf("%d rows copied and %d streamed of %d", len(b.Events), len(streamed), len(values))
	}
	for i, e := range b.Events {
		if got, want := e.After, streamed[e.After[0].Int64()]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ncopied   %+v\nstreamed %+v", values[i], got, want)
		}
	}
}

func TestBinaryResultsAreBounded(t *testing.T) {
	for _, oid := range []uint32{oidBool, oidInt2, oidInt4, oidInt8, oidOID, oidFloat4, oidFloat8, oidUUID, oidDate, oidTime, oidTimestamp, oidTimestampTZ} {
		kind, _ := builtin(oid)
		if !comesBinary(oid, kind) {
			t.Errorf("type %d does not come in the binary format", oid)
		}
		for _, size := range []int{0, 3, 17} {
			var b change.Batch
			var v change.Value
			if parseBinary(&b, &v, oid, kind, make([]byte, size)) == nil {
				t.Errorf("type %d: %d bytes are taken", oid, size)
			}
		}
	}
	if _, err := binaryPlace(make([]byte, 5)); err == nil {
		t.Error("a ctid of 5 bytes is taken")
	}
}
