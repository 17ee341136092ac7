package mask

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

func staff() *change.Table {
	return &change.Table{
		Name: change.TableName{Database: "db", Schema: "public", Table: "staff"}, Key: []int{0},
		Columns: []change.Column{
			{Name: "id", Type: change.Type{Kind: change.Int, Bits: 32, Name: "integer"}},
			{Name: "name", Type: change.Type{Kind: change.Text, Name: "varchar", Length: 40}},
			{Name: "pin", Type: change.Type{Kind: change.Int, Bits: 32, Name: "integer"}},
			{Name: "doc", Nullable: true, Type: change.Type{Kind: change.JSON, Name: "jsonb"}},
			{Name: "mood", Type: change.Type{Kind: change.Text, Name: "mood", Semantic: "enum", Labels: []string{"sad"}}},
		},
	}
}

func apply(t *testing.T, props map[string]string, name, pin change.Value) (*change.Event, error) {
	t.Helper()
	m, problems := build(props)
	if problems != nil {
		t.Fatal(problems)
	}
	var b change.Batch
	e := b.Add()
	e.Table, e.Op = staff(), change.OpUpdate
	row := func() change.Row {
		r := b.Row(5)
		r[0], r[1], r[2] = change.Value{Kind: change.Int, Num: 1}, name, pin
		r[3], r[4] = change.Value{Kind: change.JSON, Data: []byte(`{"a":1}`)}, change.Value{Kind: change.Text, Data: []byte("sad")}
		return r
	}
	e.Before, e.After = row(), row()
	err := m.Apply(context.Background(), &b)
	return &b.Events[0], err
}

func text(s string) change.Value   { return change.Value{Kind: change.Text, Data: []byte(s)} }
func number(n uint64) change.Value { return change.Value{Kind: change.Int, Num: n} }

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestModes(t *testing.T) {
	null, absent := change.Value{Kind: change.Null}, change.Value{}
	const columns = `public\.staff\.(name|pin)`
	for _, tt := range []struct {
		name              string
		props             map[string]string
		in, inPin         change.Value
		want, wantPin     change.Value
		nameKind, pinKind change.Kind
	}{
		{name: "zero", props: map[string]string{"fields": "name,pin"}, in: text("Ann"), inPin: number(4321), want: text(""), wantPin: number(0), nameKind: change.Text, pinKind: change.Int},
		{name: "zero_masks_null", props: map[string]string{"fields": "name,pin"}, in: null, inPin: null, want: text(""), wantPin: number(0), nameKind: change.Text, pinKind: change.Int},
		{name: "absent", props: map[string]string{"fields": "name,pin"}, in: absent, inPin: absent, want: absent, wantPin: absent, nameKind: change.Text, pinKind: change.Int},
		{name: "replacement", props: map[string]string{"fields": "name,pin", "replacement": "7"}, in: text("Ann"), inPin: number(4321), want: text("7"), wantPin: number(7), nameKind: change.Text, pinKind: change.Int},
		{name: "fixed", props: map[string]string{"columns": columns, "mode": "fixed", "length": "3"}, in: text("Margaret"), inPin: null, want: text("***"), wantPin: text("***"), nameKind: change.Text, pinKind: change.Text},
		{name: "hash", props: map[string]string{"columns": columns, "mode": "hash", "salt": "pepper"}, in: text("Ann"), inPin: number(4321), want: text(sum("pepperAnn")), wantPin: text(sum("pepper4321")), nameKind: change.Text, pinKind: change.Text},
		{name: "hash_null", props: map[string]string{"columns": columns, "mode": "hash", "salt": "pepper"}, in: null, inPin: absent, want: null, wantPin: absent, nameKind: change.Text, pinKind: change.Text},
		{name: "truncate", props: map[string]string{"columns": "public.staff.name", "mode": "truncate", "length": "3"}, in: text("éèàü"), inPin: number(1), want: text("éèà"), wantPin: number(1), nameKind: change.Text, pinKind: change.Int},
		{name: "truncate_short", props: map[string]string{"columns": "public.staff.name", "mode": "truncate", "length": "30"}, in: text("\xff"), inPin: number(1), want: text("\xff"), wantPin: number(1), nameKind: change.Text, pinKind: change.Int},
		{name: "null", props: map[string]string{"columns": columns, "mode": "null"}, in: text("Ann"), inPin: number(1), want: null, wantPin: null, nameKind: change.Text, pinKind: change.Int},
		{name: "not_its_table", props: map[string]string{"columns": "public.other.name,name,staff.name"}, in: text("Ann"), inPin: number(1), want: text("Ann"), wantPin: number(1), nameKind: change.Text, pinKind: change.Int},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := apply(t, tt.props, tt.in, tt.inPin)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []change.Row{e.Before, e.After} {
				for i, want := range []change.Value{number(1), tt.want, tt.wantPin} {
					if r[i].Kind != want.Kind || r[i].Num != want.Num || string(r[i].Data) != string(want.Data) {
						t.Errorf("%s is %v %q, want %v %q", e.Table.Columns[i].Name, r[i].Kind, r[i].Data, want.Kind, want.Data)
					}
				}
			}
			c := e.Table.Columns
			if c[1].Type.Kind != tt.nameKind || c[2].Type.Kind != tt.pinKind {
				t.Errorf("types are %v and %v", c[1].Type.Kind, c[2].Type.Kind)
			}
			if tt.name == "null" && !(c[1].Nullable && c[2].Nullable) {
				t.Error("a column that holds NULL is not nullable")
			}
		})
	}
}

func TestEnumBecomesText(t *testing.T) {
	e, err := apply(t, map[string]string{"fields": "mood", "mode": "fixed"}, text("a"), number(1))
	if err != nil || e.Table.Columns[4].Type.Semantic != "" || e.Table.Columns[4].Type.Labels != nil || string(e.After[4].Data) != "********" {
		t.Errorf("%v, %+v", err, e.Table.Columns[4])
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		props      map[string]string
	}{
		{"key", "MASK_KEY", map[string]string{"columns": `.*`, "mode": "fixed"}},
		{"key_by_name", "MASK_KEY", map[string]string{"fields": "id"}},
		{"truncate_number", "MASK_TYPE", map[string]string{"fields": "pin", "mode": "truncate", "length": "2"}},
		{"replacement_type", "MASK_TYPE", map[string]string{"fields": "pin", "replacement": "secret"}},
		{"replacement_range", "MASK_TYPE", map[string]string{"fields": "pin", "replacement": "2147483648"}},
		{"replacement_length", "MASK_TYPE", map[string]string{"fields": "name", "replacement": strings.Repeat("x", 41)}},
		{"replacement_json", "MASK_TYPE", map[string]string{"fields": "doc", "replacement": "{}"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := apply(t, tt.props, text("Ann"), number(1)); fault.Code(err) != tt.code {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for _, props := range []map[string]string{
		{}, {"fields": "a", "mode": "hide"}, {"fields": "a", "mode": "hash"}, {"fields": "a", "mode": "truncate"}, {"columns": "("},
		{"fields": "a", "length": "-1"}, {"fields": "a", "mode": "fixed", "replacement": "x"}, {"fields": "a", "mode": "hash", "salt": "s", "algorithm": "MD5"},
	} {
		if p := Plugin.Check(props); len(p) == 0 {
			t.Errorf("%v: no problem", props)
		}
	}
}

func TestAllocations(t *testing.T) {
	for _, props := range []map[string]string{
		{"fields": "name,pin"}, {"fields": "name,pin", "mode": "fixed"}, {"fields": "name,pin", "mode": "hash", "salt": "s"},
		{"fields": "name", "mode": "truncate", "length": "2"}, {"fields": "pin", "mode": "null"},
	} {
		t.Run(props["mode"], func(t *testing.T) {
			m, problems := build(props)
			if problems != nil {
				t.Fatal(problems)
			}
			source, name := staff(), []byte("Margaret")
			var b change.Batch
			if n := testing.AllocsPerRun(50, func() {
				b.Reset()
				for range 200 {
					e := b.Add()
					e.Table, e.Op, e.After = source, change.OpCreate, b.Row(5)
					e.After[0], e.After[1], e.After[2] = number(1), change.Value{Kind: change.Text, Data: name}, number(7)
				}
				if err := m.Apply(context.Background(), &b); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations for 200 rows", n)
			}
		})
	}
}
