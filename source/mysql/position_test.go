package mysql

import (
	"reflect"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

func TestPosition(t *testing.T) {
	for _, p := range []position{
		{File: "binlog.000003", Pos: 857, GTIDs: uuidA + ":1-5", Server: uuidA, Time: 17},
		{File: "binlog.000003", Pos: 857, GTID: "0-1-7", Events: 3, Rows: 14, Server: "1@host:3306/var/lib/mysql/"},
		{File: `we"ird\.000001`, Pos: 1 << 40, Server: "ü"},
		{File: "b.1", Pos: 4, Structures: 7, Again: []string{"d\x00t", "d\x00ü"}, XA: []preparedXA{{"X'61',X'',1", "b.1", 4}, {ID: "X'62',X'',1"}}},
	} {
		got, err := parsePosition(p.encode())
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s reads as %+v, %v", p.encode(), got, err)
		}
	}
	debezium, err := parsePosition(change.Position(`{"file":"binlog.000007","pos":1234,"gtids":"0-1-9","row":1,"event":2,"server_id":1,"ts_sec":5}`))
	if err != nil || debezium.File != "binlog.000007" || debezium.Pos != 1234 || debezium.GTIDs != "0-1-9" || debezium.inside() {
		t.Errorf("Debezium's offset reads as %+v, %v", debezium, err)
	}
	for _, bad := range []string{"x", "[]", `{"lsn":5}`, `{"file":"nonumber","pos":4}`, `{"file":5}`} {
		if _, err := parsePosition(change.Position(bad)); fault.Code(err) != "POSITION_INVALID" {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestCase72Coordinates: files are followed by number, not by name.
func TestCase72Coordinates(t *testing.T) {
	ascending := []position{{File: "binlog.000999", Pos: 9}, {File: "binlog.001000", Pos: 4}, {File: "binlog.999999", Pos: 1 << 33}, {File: "binlog.1000000", Pos: 4},
		{File: "binlog.1000000", Pos: 5}}
	for i := 1; i < len(ascending); i++ {
		if a, b := ascending[i-1].coordinate(), ascending[i].coordinate(); a >= b {
			t.Errorf("%+v is not before %+v", ascending[i-1], ascending[i])
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add([]byte(`{"file":"binlog.000007","pos":1234,"gtids":"0-1-9"}`))
	f.Add([]byte(`{"gtids":"` + uuidA + `:1","gtid":"` + uuidA + `:2","events":1,"rows":2,"server":"x","file":"a.1"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePosition(text)
		if err != nil || len(text) == 0 {
			return
		}
		again, err := parsePosition(p.encode())
		if err != nil {
			t.Fatalf("%s is written as %s, which is not read: %v", text, p.encode(), err)
		}
		if !p.inside() {
			p.GTID = ""
		}
		if len(p.XA) == 0 {
			p.XA = nil
		}
		if len(p.Again) == 0 {
			p.Again = nil
		}
		if !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v comes back as %+v", p, again)
		}
	})
}
