package main

import (
	"strings"
	"testing"

	"github.com/tailrace/tailrace/rest"
	"github.com/tailrace/tailrace/snapshot"
)

// Why a table failed stands at the end of its line, and a copy that nothing is left of but failures is not under way.
func TestSnapshotTable(t *testing.T) {
	tables := []rest.TableInfo{{Table: "public.a", State: snapshot.Done, Rows: 7, Total: -1},
		{Table: "public.b", State: snapshot.Failed, Total: 100, Reason: "permission denied for table b"}}
	show := func(p *rest.SnapshotInfo) (string, bool) {
		var out strings.Builder
		running, err := (&client{out: "table"}).showSnapshots(&out, []rest.StatusInfo{{Name: "pg", Tasks: []rest.TaskInfo{{Snapshot: p}}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), running
	}
	out, running := show(&rest.SnapshotInfo{Rows: 7, Total: 107, Rate: 3, Tables: tables})
	want := `CONNECTOR  TABLE     STATE       PROGRESS                ROWS  OF   ROWS/S  LEFT  REASON
pg         public.a  done        [####################]  7                        
pg         public.b  failed      [....................]  0     100                permission denied for table b
pg         all       incomplete  [#...................]  7     107                
`
	if out != want || running {
		t.Errorf("running %v:\n%s", running, out)
	}
	tables[1] = rest.TableInfo{Table: "public.b", State: snapshot.Copying, Rows: 50, Total: 100}
	left := 16.7
	if out, running = show(&rest.SnapshotInfo{Rows: 57, Total: 107, Rate: 3, Left: &left, Tables: tables}); !running || !strings.Contains(out, "copying  [##########..........]  57    107  3       17s") {
		t.Errorf("running %v:\n%s", running, out)
	}
}
