package mysql

import (
	"encoding/json"
	"testing"

	"github.com/tailrace/tailrace/internal/fault"
)

// A place behind what the command for a dump can name is reached from the beginning of its file, by the stream and by what reads a
// second time.
func TestCase72FarPlaces(t *testing.T) {
	onEach(t, all(), func(t *testing.T, addr string) {
		d := newDB(t, addr, "CREATE TABLE t (id int PRIMARY KEY)")
		id := "'" + d.name + "'"
		other := d.connect()
		defer other.Close()
		at := readEmpty(d, d.stream(nil))
		d.exec("INSERT INTO t VALUES (1)")
		execOn(t, other, "USE "+d.name+"; XA START "+id+"; INSERT INTO t VALUES (2); XA END "+id+"; XA PREPARE "+id)
		d.exec("INSERT INTO t VALUES (3)")
		events, at := d.read(d.stream(at), 2)
		if got := showAll(events); got != "c 1; c 3" {
			t.Fatal(got)
		}
		execOn(t, other, "XA COMMIT "+id)
		d.exec("INSERT INTO t VALUES (4), (5)")

		far := d.open("gtid.ignore.on.recovery", "true", "max.batch.size", "1")
		far.farthest = firstEvent
		s, err := far.Stream(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		events, inside := d.read(s, 2)
		if got := showAll(events); got != "c 2; c 4" {
			t.Errorf("after a far place: %s", got)
		}
		s.Close()
		if s, err = far.Stream(t.Context(), inside); err != nil {
			t.Fatal(err)
		}
		if events, _ = d.read(s, 1); showAll(events) != "c 5" {
			t.Errorf("inside of a transaction after a far place: %s", showAll(events))
		}
		s.Close()

		var p position
		if err := json.Unmarshal(at, &p); err != nil {
			t.Fatal(err)
		}
		p.Pos++
		if s, err = far.Stream(t.Context(), p.encode()); err != nil {
			t.Fatal(err)
		}
		if err := d.fails(s); fault.Code(err) != "POSITION_INVALID" {
			t.Errorf("in the midst of an event: %v", err)
		}
	})
}

// The low 32 bits are what a header has of an event's place.
func TestFarPassage(t *testing.T) {
	s := &Source{farthest: farthest}
	if at, past := s.ask(farthest); at != farthest || past.to != 0 {
		t.Errorf("the last place is asked for at %d, passing over what is before %d", at, past.to)
	}
	at, past := s.ask(farthest + 101)
	if at != firstEvent {
		t.Fatalf("asked for at %d", at)
	}
	event := make([]byte, 100) // of type 0, at the end of the first 4 GiB
	event[9], event[13] = 100, 50
	passed, end, err := past.over(event, farthest-49)
	if !passed || end != farthest+51 || err != nil {
		t.Fatalf("%v, to %d, %v", passed, end, err)
	}
	event[13] = 100
	event[9] = 50
	if passed, end, err = past.over(event[:50], end); !passed || end != farthest+101 || err != nil {
		t.Fatalf("%v, to %d, %v", passed, end, err)
	}
	if passed, _, err = past.over(event[:50], end); passed || err != nil || past.to != 0 {
		t.Errorf("behind the place: %v, %v, %d", passed, err, past.to)
	}
}
