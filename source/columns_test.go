package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
)

var staff = change.TableName{Database: "d", Schema: "public", Table: "staff"}

func rules(t *testing.T, props map[string]string) *Columns {
	t.Helper()
	c, problems := ParseColumns(props)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

// TestShaper masks as Debezium does: the hashes are those that it made.
func TestShaper(t *testing.T) {
	c := rules(t, map[string]string{
		"column.mask.with.5.chars":                     `public\.staff\.ssn`,
		"column.mask.hash.SHA-256.with.salt.pepper":    "public.staff.phone,public.staff.short",
		"column.mask.hash.v2.sha-256.with.salt.pepper": "public.staff.v2",
		"column.truncate.to.6.chars":                   "public.staff.name,public.staff.pic",
		"column.propagate.source.type":                 ".*",
	})
	table := &change.Table{Name: staff}
	native := map[string]NativeType{"name": {Name: "varchar", Length: 40}, "short": {Name: "varchar", Length: 20}, "id": {Name: "int4", Length: 10, Scale: 0}}
	add := func(name string, typ change.Type) {
		col := change.Column{Name: name, Type: typ}
		n, ok := native[name]
		if !ok {
			n = NativeType{Name: "text", Length: 1<<31 - 1}
		}
		c.Describe(staff, &col, n)
		table.Columns = append(table.Columns, col)
	}
	text := change.Type{Kind: change.Text}
	add("id", change.Type{Kind: change.Int})
	add("name", text)
	add("ssn", text)
	add("phone", text)
	add("short", change.Type{Kind: change.Text, Length: 20})
	add("v2", text)
	add("pic", change.Type{Kind: change.Bytes})
	var params []string
	for _, col := range table.Columns {
		params = append(params, fmt.Sprint(col.Name, col.Masked, col.Params))
	}
	if got, want := strings.Join(params[:4], " "), "idfalse [{__debezium.source.column.type INT4} {__debezium.source.column.length 10} {__debezium.source.column.scale 0} "+
		"{__debezium.source.column.name id}] nametrue [{truncateLength 6}] ssntrue [{masked true}] phonetrue [{masked true}]"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	s := NewShaper(c, nil, false)
	var b change.Batch
	put := func(values ...string) {
		e := b.Add()
		e.Table, e.Op, e.Key = table, change.OpUpdate, []byte("key")
		e.After = b.Row(len(table.Columns))
		e.Before = b.Row(len(table.Columns))
		for i, v := range values {
			switch v {
			case "NULL":
				e.After[i].Kind = change.Null
			default:
				e.After[i] = change.Value{Kind: table.Columns[i].Type.Kind, Data: b.Copy([]byte(v))}
			}
		}
	}
	put("", "Margaret Hamilton", "123-45-6789", "+1-555-0100", "+1-555-0100", "+1-555-0100", "\x01\x02\x03\x04\x05\x06\x07")
	put("", "😀😀😀😀", "", "", "", "", "")
	put("", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL")
	s.Apply(&b, 0)
	show := func(r change.Row) string {
		var list []string
		for _, v := range r[1:] {
			if v.Kind == change.Null {
				list = append(list, "NULL")
			} else {
				list = append(list, string(v.Data))
			}
		}
		return strings.Join(list, "|")
	}
	for i, want := range []string{
		"Margar|*****|a25adeed3144397e6682a04659286a18241a45371d88d6d4fd4f27700f0d1532|a25adeed3144397e6682|" +
			"0289e7e172da38f85e5aac584a8710fc8bdb1f2904383149458c8bba0cee1522|\x01\x02\x03\x04\x05\x06",
		"😀😀😀|*****|c03d43cc1b99b435eb8052eec9a3b514542d2154cb5e758b4c541b218c33bc70|c03d43cc1b99b435eb80|" +
			"8cbbcf29d9cef89675c5f5c1dcfe827d0570416a5aaba30dd0de159661ad905b|",
		"NULL|*****|NULL|NULL|NULL|NULL",
	} {
		got := show(b.Events[i].After)
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if string(b.Events[0].Key) != "key" || string(b.Events[0].Before[2].Data) != "*****" || b.Events[0].Before[1].Present() {
		t.Errorf("%v %v", b.Events[0].Key, b.Events[0].Before)
	}
	if n := testing.AllocsPerRun(20, func() { s.Apply(&b, 0) }); n > 1 { // the batch's memory grows
		t.Errorf("%v allocations", n)
	}
}

func TestShaperLeavesOut(t *testing.T) {
	table := &change.Table{Name: staff, Columns: []change.Column{{Name: "id"}}}
	row := func(n uint64) change.Row { return change.Row{{Kind: change.Int, Num: n}} }
	events := []change.Event{
		{Table: table, Op: change.OpUpdate, Before: row(1), After: row(1)},
		{Table: table, Op: change.OpUpdate, Before: row(1), After: row(2)},
		{Table: table, Op: change.OpUpdate, After: row(2)},
		{Table: table, Op: change.OpTruncate},
		{Table: table, Op: change.OpDelete, Before: row(1)},
		{Op: change.OpMessage, Raw: &change.Raw{}},
	}
	for want, s := range map[string]*Shaper{
		"uuutdm": NewShaper(&Columns{}, nil, false),
		"uutdm":  NewShaper(&Columns{}, nil, true),
		"tm":     NewShaper(&Columns{}, []change.Op{change.OpUpdate, change.OpDelete}, false),
	} {
		b := change.Batch{Events: append([]change.Event(nil), events...)}
		s.Apply(&b, 0)
		got := ""
		for _, e := range b.Events {
			got += string(e.Op)
		}
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestKeyColumns(t *testing.T) {
	c := rules(t, map[string]string{"message.key.columns": `public.cust:region,code;(.*)\.nokey:b,b , x;`})
	all := func(name string) bool { return name != "x" }
	for name, want := range map[string]string{"cust": "[region code]", "nokey": "[b]", "other": "[]"} {
		if got := fmt.Sprint(c.Key(change.TableName{Schema: "public", Table: name}, all)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestColumnProblems(t *testing.T) {
	for name, want := range map[string]string{
		"column.mask.with.x.chars":                "not a number",
		"column.truncate.to.0.chars":              "not a number",
		"column.mask.hash.CRC32.with.salt.s":      "not a hash that is known",
		"message.key.columns":                     "is not TABLE:COLUMN,COLUMN",
		"column.mask.hash.v2.SHA-256.with.salt.s": "regular expression",
	} {
		_, problems := ParseColumns(map[string]string{name: "*("})
		if len(problems) != 1 || problems[0].Key != name || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%s: %v, want %s", name, problems, want)
		}
	}
}

func TestJavaSerialization(t *testing.T) {
	long := strings.Repeat("x", 0x10000)
	for text, want := range map[string]string{
		"":           "\xac\xed\x00\x05t\x00\x00",
		"a\x00é":     "\xac\xed\x00\x05t\x00\x05a\xc0\x80é",
		"\U0001F600": "\xac\xed\x00\x05t\x00\x06\xed\xa0\xbd\xed\xb8\x80",
		long:         "\xac\xed\x00\x05|\x00\x00\x00\x00\x00\x01\x00\x00" + long,
	} {
		if got := string(appendJava(nil, []byte(text))); got != want {
			t.Errorf("%.20q: %.40q, want %.40q", text, got, want)
		}
	}
}

// TestShaperLeavesForms: the text of a type that events show in another form is neither cut nor masked. It would be another value.
func TestShaperLeavesForms(t *testing.T) {
	name := change.TableName{Schema: "s", Table: "t"}
	for _, key := range []string{"column.truncate.to.2.chars", "column.mask.with.3.chars", "column.mask.hash.v2.MD5.with.salt.x"} {
		c, problems := ParseColumns(map[string]string{key: "s.t.*"})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for semantic, changes := range map[string]bool{change.SemanticInterval: false, change.SemanticBits: false, change.SemanticHStore: false, change.SemanticPoint: false,
			change.SemanticTimeTZ: false, change.SemanticVector: false, "": true, change.SemanticXML: true, change.SemanticUnknown: true, change.SemanticEnum: true} {
			col := change.Column{Name: "c", Type: change.Type{Kind: change.Text, Semantic: semantic}, Masked: true}
			table := &change.Table{Name: name, Columns: []change.Column{col}}
			var b change.Batch
			row := change.Row{{Kind: change.Text, Data: []byte("1 year 2 mons")}}
			NewShaper(c, nil, false).Mask(&b, table, row)
			if changed := string(row[0].Data) != "1 year 2 mons"; changed != changes {
				t.Errorf("%s: %q became %q", key, semantic, row[0].Data)
			}
		}
	}
}
