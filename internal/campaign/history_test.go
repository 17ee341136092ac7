package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/compare"
)

func accounts() *compare.Table {
	return compare.NewTable("public", "account", []compare.Column{{Name: "id", Kind: change.Int}, {Name: "ver", Kind: change.Int}}, 0)
}

func journal() *compare.Table {
	return compare.NewTable("public", "journal", []compare.Column{{Name: "client", Kind: change.Int}, {Name: "seq", Kind: change.Int}, {Name: "xid", Kind: change.Int}}, 0, 1)
}

// A story is what a source committed and what a log shows of it.
type story struct {
	journal []string // records of the journal's topic
	account []string // records of account's topic
}

func event(op string, id, ver, xid int) string {
	before, after := "null", fmt.Sprintf(`{"id":%d,"ver":%d}`, id, ver)
	if op == "d" {
		before, after = fmt.Sprintf(`{"id":%d,"ver":null}`, id), "null"
	}
	return fmt.Sprintf(`"key":{"id":%d},"value":{"before":%s,"after":%s,"source":{"txId":%d},"op":"%s"}`, id, before, after, xid, op)
}

func tombstone(id int) string { return fmt.Sprintf(`"key":{"id":%d},"value":null`, id) }

func entry(op string, seq, xid int) string {
	return fmt.Sprintf(`"key":{"client":0,"seq":%d},"value":{"before":null,"after":{"client":0,"seq":%d,"xid":%d},"source":{"txId":%d},"op":"%s"}`, seq, seq, xid, xid, op)
}

// told is the history of three transactions: 10 makes and changes row 1, 11 deletes it, 12 makes two others.
func told(t *testing.T, s story) (verdict, string) {
	t.Helper()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	committed := func(seq int64, ops ...op) *transaction {
		return &transaction{seq: seq, committed: start.Add(time.Duration(seq) * time.Minute), place: -1, ops: map[string][]op{"account": ops}, seen: map[string][]op{}}
	}
	var complaints strings.Builder
	h := &history{byXid: map[int64]*transaction{
		10: committed(1, op{"account", "c", "1", 1}, op{"account", "u", "1", 2}),
		11: committed(2, op{"account", "d", "1", 3}),
		12: committed(3, op{"account", "c", "2", 4}, op{"account", "c", "3", 5}),
	}, complain: func(format string, args ...any) { fmt.Fprintf(&complaints, format+"\n", args...) }}
	for _, part := range []struct {
		table   *compare.Table
		records []string
	}{{journal(), s.journal}, {accounts(), s.account}} {
		var b strings.Builder
		for i, r := range part.records {
			fmt.Fprintf(&b, `{"topic":"t","partition":0,"offset":%d,"timestamp":0,%s}`+"\n", i, r)
		}
		if err := h.read(part.table, strings.NewReader(b.String())); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	return h.verdict, complaints.String()
}

// TestHistory breaks a good log in every way that the campaign promises to see.
func TestHistory(t *testing.T) {
	commits := []string{entry("c", 1, 10), entry("c", 2, 11), entry("c", 3, 12)}
	made, changed, gone, grave, second, third := event("c", 1, 1, 10), event("u", 1, 2, 10), event("d", 1, 0, 11), tombstone(1), event("c", 2, 4, 12), event("c", 3, 5, 12)
	for name, c := range map[string]struct {
		story
		want string
	}{
		"whole":                      {story{commits, []string{made, changed, gone, grave, second, third}}, "lost=0 doubled=0 misordered=0"},
		"snapshot row in between":    {story{commits, []string{made, changed, event("r", 1, 2, 99), gone, grave, second, third}}, "lost=0 doubled=0 misordered=0"},
		"stale snapshot row":         {story{commits, []string{made, changed, event("r", 1, 1, 99), gone, grave, second, third}}, "lost=0 doubled=0 misordered=1"},
		"an event lost":              {story{commits, []string{made, gone, grave, second, third}}, "lost=1 doubled=0 misordered=0"},
		"a transaction's end lost":   {story{commits, []string{made, changed, gone, grave, second}}, "lost=1 doubled=0 misordered=0"},
		"a tombstone lost":           {story{commits, []string{made, changed, gone, second, third}}, "lost=1 doubled=0 misordered=0"},
		"the last tombstone lost":    {story{commits, []string{made, changed, second, third, gone}}, "lost=1 doubled=0 misordered=1"},
		"an event twice":             {story{commits, []string{made, changed, changed, gone, grave, second, third}}, "lost=0 doubled=1 misordered=1"},
		"a tombstone twice":          {story{commits, []string{made, changed, gone, grave, grave, second, third}}, "lost=0 doubled=1 misordered=0"},
		"a delete twice":             {story{commits, []string{made, changed, gone, grave, gone, grave, second, third}}, "lost=0 doubled=1 misordered=1"},
		"rows of a transaction":      {story{commits, []string{made, changed, gone, grave, third, second}}, "lost=0 doubled=0 misordered=1"},
		"transactions":               {story{commits, []string{made, changed, second, third, gone, grave}}, "lost=0 doubled=0 misordered=1"},
		"rolled back":                {story{commits, []string{made, changed, event("c", 7, 9, 66), gone, grave, second, third}}, "lost=0 doubled=1 misordered=0"},
		"a whole transaction lost":   {story{commits[:2], []string{made, changed, gone, grave}}, "lost=1 doubled=0 misordered=0"},
		"a commit twice":             {story{append(commits[:3:3], commits[2]), []string{made, changed, gone, grave, second, third}}, "lost=0 doubled=1 misordered=1"},
		"copied, not streamed":       {story{[]string{entry("r", 1, 10), commits[1], commits[2]}, []string{event("r", 1, 2, 99), gone, grave, second, third}}, "lost=0 doubled=0 misordered=0"},
		"copied instead of streamed": {story{[]string{commits[0], entry("r", 2, 11), commits[2]}, []string{made, changed, second, third}}, "lost=1 doubled=0 misordered=0"},
	} {
		got, complaints := told(t, c.story)
		if !strings.Contains(got.String(), c.want+" ") {
			t.Errorf("%s: %s, want %s\n%s", name, got, c.want, complaints)
		}
		if got.clean() != (complaints == "") {
			t.Errorf("%s: %s, but it says %q", name, got, complaints)
		}
	}
}

// TestChronicle breaks a good log whose transactions its own journal tells.
func TestChronicle(t *testing.T) {
	entry := func(seq, xid int, ops string) string {
		return fmt.Sprintf(`"key":{"client":0,"seq":%d},"value":{"before":null,"after":{"client":0,"seq":%d,"ops":%q},"source":{"txId":%d},"op":"c"}`, seq, seq, ops, xid)
	}
	stamped := func(op string, id, xid int, stamp string) string {
		return strings.Replace(event(op, id, 0, xid), `"ver":0`, `"ver":0,"stamp":"`+stamp+`"`, 1)
	}
	first, second := entry(1, 10, `[["account","c","1"],["account","u","1"]]`), entry(2, 9, `[["account","d","1"]]`)
	made, changed, gone, grave := stamped("c", 1, 10, "0-1-0"), stamped("u", 1, 10, "0-1-1"), event("d", 1, 0, 9), tombstone(1)
	for name, c := range map[string]struct {
		story
		want string
	}{
		"whole":                  {story{[]string{first, second}, []string{made, changed, gone, grave}}, "lost=0 doubled=0 misordered=0"},
		"a copied row":           {story{[]string{first, second}, []string{made, changed, event("r", 1, 2, 99), gone, grave}}, "lost=0 doubled=0 misordered=0"},
		"an event lost":          {story{[]string{first, second}, []string{made, gone, grave}}, "lost=1 doubled=0 misordered=0"},
		"an event twice":         {story{[]string{first, second}, []string{made, changed, changed, gone, grave}}, "lost=0 doubled=1 misordered=0"},
		"in a wrong order":       {story{[]string{first, second}, []string{changed, made, gone, grave}}, "lost=0 doubled=0 misordered=1"},
		"commits in wrong order": {story{[]string{first, second}, []string{gone, grave, made, changed}}, "lost=0 doubled=0 misordered=1"},
		"a client's order":       {story{[]string{second, first}, []string{gone, grave, made, changed}}, "lost=0 doubled=0 misordered=1"},
		"a transaction lost":     {story{[]string{first}, []string{made, changed}}, "lost=1 doubled=0 misordered=0"},
		"a gap":                  {story{[]string{first, entry(3, 12, "[]")}, []string{made, changed}}, "lost=2 doubled=1 misordered=0"},
		"a commit twice":         {story{[]string{first, first, second}, []string{made, changed, gone, grave}}, "lost=0 doubled=1 misordered=1"},
		"rolled back":            {story{[]string{first, second}, []string{made, changed, gone, grave, stamped("c", 7, 66, "0-9-0")}}, "lost=0 doubled=1 misordered=1"},
		"no tombstone":           {story{[]string{first, second}, []string{made, changed, gone}}, "lost=1 doubled=0 misordered=0"},
		"another tombstone":      {story{[]string{first, second}, []string{made, changed, gone, tombstone(2)}}, "lost=1 doubled=0 misordered=0"},
		"another's row":          {story{[]string{first, second}, []string{made, stamped("u", 1, 10, "3-1-1"), gone, grave}}, "lost=0 doubled=0 misordered=1"},
	} {
		var complaints strings.Builder
		h := newChronicle(&complaints, pgDialect{}.transaction)
		for _, part := range []struct {
			table   *compare.Table
			records []string
		}{{journal(), c.journal}, {accounts(), c.account}} {
			var b strings.Builder
			for i, r := range part.records {
				fmt.Fprintf(&b, `{"topic":"t","partition":0,"offset":%d,"timestamp":0,%s}`+"\n", i, r)
			}
			if err := h.read(part.table, strings.NewReader(b.String())); err != nil {
				t.Fatal(err)
			}
		}
		h.close([]string{"0\t1", "0\t2"})
		h.proves()
		if !strings.Contains(h.verdict.String(), c.want+" ") || h.clean() != (complaints.Len() == 0) {
			t.Errorf("%s: %s, want %s\n%s", name, h.verdict, c.want, complaints.String())
		}
	}
}

func TestOpsAsJSON(t *testing.T) {
	in := []op{{"item", "u", "g1\t2", 9007199254740993}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out []op
	if err := json.Unmarshal(b, &out); err != nil || len(out) != 1 || out[0] != in[0] {
		t.Errorf("%s came back as %v, %v", b, out, err)
	}
}

func TestVerdict(t *testing.T) {
	v := verdict{cycles: 60}
	if got := v.String(); got != "cycles=60 lost=0 doubled=0 misordered=0 checksums=equal" || !v.clean() {
		t.Error(got)
	}
	v.add(verdict{cycles: 1, lost: 2, doubled: 3, misordered: 4, differ: true})
	if got := v.String(); got != "cycles=61 lost=2 doubled=3 misordered=4 checksums=different" || v.clean() {
		t.Error(got)
	}
}
