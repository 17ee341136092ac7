package binlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/tailrace/tailrace/change"
)

// benchCapture has transactions of 240-byte rows in 11 columns, 60 % inserts, 30 % updates and 10 % deletes.
const benchCapture = "mariadb10-bench"

func TestCaptureForBenchmarks(t *testing.T) {
	if !*update {
		t.Skip("only makes the file, with -update")
	}
	d := connect(t, "mariadb10")
	d.exec("create table orders (id bigint primary key, customer int not null, name varchar(60), street varchar(80), city varchar(40), note text," +
		" amount decimal(12,2) not null, currency char(3) not null, paid bool not null, doc json, created datetime(6) not null, changed timestamp(6) not null)")
	from := d.position()
	const rows = 300
	for part := range 3 {
		d.exec("begin")
		var values []string
		for i := range rows / 3 {
			id := part*rows/3 + i
			values = append(values, fmt.Sprintf("(%d, %d, 'Customer Number %d', '%d Some Long Street Name', 'Sampleton', 'a note of no importance, number %d, but of some length', %d.%02d, 'EUR', %d,"+
				" '{\"a\": %d, \"tags\": [\"x\", \"y\"]}', '2024-02-29 12:34:56.%06d', '2024-02-29 12:34:56.%06d')", id, id*7, id, id%300, id, id*13, id%100, id%2, id, id, id))
		}
		d.exec("insert into orders values " + strings.Join(values, ", "))
		d.exec(fmt.Sprintf("update orders set amount = amount + 1, changed = now(6) where id >= %d and id < %d", part*rows/3, part*rows/3+rows/6))
		d.exec(fmt.Sprintf("delete from orders where id >= %d and id < %d", part*rows/3, part*rows/3+rows/18))
		d.exec("commit")
	}
	write(t, d, benchCapture, from)
}

// A replay decodes the same events again and again, as a source does: layouts are made once.
type replay struct {
	events  [][]byte
	dec     Decoder
	cs      Charsets
	e       Event
	b       change.Batch
	layouts map[*TableMap]*Layout
	rows    int
}

func newReplay(tb testing.TB, capture string) *replay {
	events, _ := load(tb, capture)
	r := &replay{events: events, layouts: map[*TableMap]*Layout{}}
	for range 2 {
		if err := r.run(); err != nil {
			tb.Fatal(err)
		}
	}
	return r
}

func (r *replay) run() error {
	r.rows = 0
	for _, p := range r.events[1:] { // the rotate before the format is the connection's
		if err := r.event(p); err != nil {
			return err
		}
	}
	r.b.Reset()
	return nil
}

func (r *replay) event(p []byte) error {
	if r.dec.Format() != nil && EventType(p[4]) == TypeFormat {
		return nil
	}
	if err := r.dec.Decode(p, &r.e); err != nil {
		return err
	}
	switch e := &r.e; e.Kind {
	case KindTableMap:
		if r.layouts[e.TableMap] == nil {
			cols, err := e.TableMap.Columns()
			if err != nil {
				return err
			}
			if r.layouts[e.TableMap], err = NewLayout(&r.cs, e.TableMap, cols, nil); err != nil {
				return err
			}
		}
	case KindRows:
		l := r.layouts[e.Rows.Table]
		for e.Rows.More() {
			if _, _, err := e.Rows.Next(l, &r.b); err != nil {
				return err
			}
			r.rows++
		}
	}
	return nil
}

// A row costs no allocation, nor do the events around it.
func TestRowsDoNotAllocate(t *testing.T) {
	for _, capture := range []string{benchCapture, "mariadb10-values", "mysql80-values", "mysql97-values"} {
		r := newReplay(t, capture)
		var err error
		n := testing.AllocsPerRun(20, func() {
			if e := r.run(); e != nil {
				err = e
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if n != 0 || r.rows < 300 {
			t.Errorf("%s: %v allocations for %d rows", capture, n, r.rows)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	r := newReplay(b, benchCapture)
	bytes := 0
	for _, p := range r.events {
		bytes += len(p)
	}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		if err := r.run(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(r.rows)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkGoMySQL is the reference: go-mysql's parser on the same bytes.
func BenchmarkGoMySQL(b *testing.B) {
	events, _ := load(b, benchCapture)
	p := replication.NewBinlogParser()
	p.SetFlavor("mariadb")
	rows, bytes := 0, 0
	for _, raw := range events {
		bytes += len(raw)
	}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		rows = 0
		for _, raw := range events[1:] {
			e, err := p.Parse(raw)
			if err != nil {
				b.Fatal(err)
			}
			if r, ok := e.Event.(*replication.RowsEvent); ok {
				if n := len(r.Rows); e.Header.EventType == replication.UPDATE_ROWS_EVENTv1 {
					rows += n / 2
				} else {
					rows += n
				}
			}
		}
	}
	b.ReportMetric(float64(b.N)*float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
