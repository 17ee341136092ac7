package postgres

import (
	"testing"

	"github.com/tailrace/tailrace/change"
)

func TestDefaults(t *testing.T) {
	d := &detail{types: map[uint32]typeInfo{}}
	s := &settings{}
	for _, tt := range []struct {
		oid              uint32
		modifier         int32
		expression, want string // "-": none
	}{
		{oidInt4, -1, "7", "7"},
		{oidInt4, -1, "(1 + 1)", "-"},
		{oidInt4, -1, "nextval('readings_id_seq'::regclass)", "0"},
		{oidInt2, -1, "'40000'::smallint", "-"},
		{oidInt4, -1, "NULL::integer", "-"},
		{oidInt8, -1, "'9223372036854775807'::bigint", "9223372036854775807"},
		{oidNumeric, 5<<16 | 2 + 4, "3.25", "3.25"},
		{oidNumeric, -1, "'NaN'::numeric", "-"},
		{oidNumeric, -1, "1e5", "-"},
		{oidText, -1, "'bee'::text", "bee"},
		{oidText, -1, "('x'::text || 'y'::text)", "x"}, // Debezium's own: see docs/debezium-differences.md
		{oidText, -1, "upper('x'::text)", ""},
		{oidVarchar, -1, "CURRENT_USER", "CURRENT_USER"},
		{oidBool, -1, "true", "t"},
		{oidBool, -1, "'no'::boolean", "f"},
		{oidDate, -1, "'2020-02-02'::date", "2020-02-02"},
		{oidDate, -1, "CURRENT_DATE", "-"},
		{oidTimestamp, -1, "now()", "1970-01-01 00:00:00"},
		{oidTimestampTZ, -1, "'2021-01-01 00:00:00+00'::timestamp with time zone", "2021-01-01 00:00:00+00"},
		{oidJSONB, -1, `'{"k": 1}'::jsonb`, `{"k": 1}`},
		{oidUUID, -1, "gen_random_uuid()", "00000000000000000000000000000000"},
		{oidFloat8, -1, "'NaN'::double precision", "NaN"},
		{oidBytea, -1, `'\xc0'::bytea`, "-"},
		{oidInet, -1, "'::1'::inet", "-"},
		{oidText, -1, "", "-"},
	} {
		d.types[tt.oid] = typeInfo{class: 'b'}
		c := change.Column{Type: d.columnType(s, tt.oid, tt.modifier)}
		setDefault(&c, tt.oid, tt.expression)
		got := "-"
		if c.HasDefault {
			got = string(appendValue(nil, c.Default))
		}
		if got != tt.want {
			t.Errorf("%d %s: %s, want %s", tt.oid, tt.expression, got, tt.want)
		}
	}
}

func TestParseMoney(t *testing.T) {
	for _, tt := range []struct {
		text   string
		digits int
		want   string
	}{
		{"-$1,234.50", 2, "-1234.50"}, {"$0.05", 2, "0.05"}, {"($0.01)", 2, "-0.01"}, {"1.234,50 €", 2, "1234.50"},
		{"￥1,000", 0, "1000"}, {"$92,233,720,368,547,758.07", 2, "92233720368547758.07"}, {"0", 0, "0"}, {"1.234", 3, "1.234"},
	} {
		var b change.Batch
		var v change.Value
		parseMoney(&b, &v, []byte(tt.text), tt.digits)
		if v.Kind != change.Decimal || string(v.Data) != tt.want {
			t.Errorf("%s: %s %q, want %s", tt.text, v.Kind, v.Data, tt.want)
		}
	}
	var b change.Batch
	var v change.Value
	if parseMoney(&b, &v, []byte("$"), 2); v.Kind != change.Text || string(v.Data) != "$" {
		t.Errorf("%v", v)
	}
}
