package mysql

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
)

const (
	uuidA = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	uuidB = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
)

func mustSet(t *testing.T, text string) *mysqlSet {
	t.Helper()
	s, err := parseMySQLSet(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMySQLSetText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{uuidA + ":1", uuidA + ":1"},
		{uuidA + ":1-50:63-100", uuidA + ":1-50:63-100"},
		{uuidA + ":5:1-3:4", uuidA + ":1-5"},
		{strings.ToUpper(uuidA) + ":7 ,\n" + uuidB + ":1-2", uuidA + ":7," + uuidB + ":1-2"},
		{uuidB + ":1," + uuidA + ":2", uuidA + ":2," + uuidB + ":1"},
		{uuidA + ":1-3:mine:4-9:other:2", uuidA + ":1-3:mine:4-9:other:2"},
		{uuidA + ":Mine:4", uuidA + ":mine:4"},
		{strings.ReplaceAll(uuidA, "-", "") + ":3", uuidA + ":3"},
	} {
		if got := string(mustSet(t, c.in).appendText(nil)); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.in, got, c.want)
		}
	}
	for _, bad := range []string{"x", uuidA, uuidA + ":", uuidA + ":0", uuidA + ":5-4", uuidA + ":1-x", "zz" + uuidA[2:] + ":1", uuidA + ":-3",
		uuidA + ":9223372036854775807"} {
		if _, err := parseMySQLSet(bad); err == nil {
			t.Errorf("%q is taken for a set", bad)
		}
	}
}

// TestMySQLSetAlgebra compares the sets with plain ones of numbers.
func TestMySQLSetAlgebra(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sid, _ := parseUUID(uuidA)
	for range 2000 {
		var a, b mysqlSet
		inA, inB := map[int64]bool{}, map[int64]bool{}
		for range r.IntN(30) {
			n := 1 + r.Int64N(40)
			a.add(sid, nil, n)
			inA[n] = true
		}
		for range r.IntN(30) {
			n := 1 + r.Int64N(40)
			b.add(sid, nil, n)
			inB[n] = true
		}
		left := a.minus(&b)
		again := mustSet(t, string(a.appendText(nil)))
		for n := int64(1); n <= 41; n++ {
			if a.has(sid, nil, n) != inA[n] || again.has(sid, nil, n) != inA[n] {
				t.Fatalf("%d in %s: want %v", n, a.appendText(nil), inA[n])
			}
			if left.has(sid, nil, n) != (inA[n] && !inB[n]) {
				t.Fatalf("%s minus %s is %s", a.appendText(nil), b.appendText(nil), left.appendText(nil))
			}
		}
		if left.empty() != (len(left.appendText(nil)) == 0) {
			t.Fatalf("%s empty: %v", left.appendText(nil), left.empty())
		}
		left.union(&b, func(string) bool { return true })
		left.union(&a, func(string) bool { return true })
		for n := int64(1); n <= 41; n++ {
			if left.has(sid, nil, n) != (inA[n] || inB[n]) {
				t.Fatalf("the union of %s and %s is %s", a.appendText(nil), b.appendText(nil), left.appendText(nil))
			}
		}
	}
}

// FuzzMySQLSet compares parsing, printing and encoding with go-mysql's.
func FuzzMySQLSet(f *testing.F) {
	f.Add(uuidA + ":1-50:63-100")
	f.Add(uuidA + ":1-3:mine:4-9:other:2," + uuidB + ":7")
	f.Add(uuidB + ":1:1:2," + uuidA + ":3-4")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseMySQLSet(text)
		if err != nil {
			return
		}
		printed := string(s.appendText(nil))
		again, err := parseMySQLSet(printed)
		if err != nil || string(again.appendText(nil)) != printed {
			t.Fatalf("%q prints as %q, which reads as %v, %v", text, printed, again, err)
		}
		theirs, err := mysql.ParseMysqlGTIDSet(printed)
		if err != nil {
			t.Fatalf("go-mysql on %q: %v", printed, err)
		}
		if !s.empty() && !bytes.Equal(s.encode(), theirs.Encode()) {
			t.Fatalf("%q is encoded as %x, by go-mysql as %x", printed, s.encode(), theirs.Encode())
		}
	})
}

func TestMySQLSetAddAllocatesNothing(t *testing.T) {
	s := mustSet(t, uuidA+":1-50:63-100,"+uuidB+":1-7")
	sid, _ := parseUUID(uuidB)
	n := int64(7)
	if got := testing.AllocsPerRun(100, func() {
		n++
		s.add(sid, nil, n)
	}); got != 0 {
		t.Errorf("%v allocations for a transaction", got)
	}
}

func TestMariaSet(t *testing.T) {
	s, err := parseMariaSet("1-2-30, 0-1-100")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.appendText(nil)); got != "0-1-100,1-2-30" {
		t.Errorf("reads as %s", got)
	}
	s.set(mariaGTID{1, 7, 31})
	s.set(mariaGTID{5, 1, 1})
	if got := string(s.appendText(nil)); got != "0-1-100,1-7-31,5-1-1" {
		t.Errorf("after two transactions it is %s", got)
	}
	if g := s.domain(1); g.seq != 31 || s.domain(9).seq != 0 {
		t.Errorf("domain 1 is at %v, domain 9 at %v", g, s.domain(9))
	}
	for _, bad := range []string{"1-2", "a-b-c", "0-1-2-3", "4294967296-1-1"} {
		if _, err := parseMariaSet(bad); err == nil {
			t.Errorf("%q is taken for a position", bad)
		}
	}
}

// TestNumbers: transactions have numbers that stay, whatever server they are from.
func TestNumbers(t *testing.T) {
	n := &numbers{sources: map[uint16]gtidSource{}}
	seen := map[uint64][16]byte{}
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 { // more servers than anybody has, so that some hashes meet
		var sid [16]byte
		for i := range sid {
			sid[i] = byte(r.Uint32())
		}
		first, err := n.number(sid, nil, 5)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[first]; ok {
			t.Fatalf("%x and %x have the same number", other, sid)
		}
		seen[first] = sid
	}
	for number, sid := range seen {
		again, err := n.number(sid, nil, 5)
		if err != nil || again != number {
			t.Fatalf("%x has the number %d, then %d, %v", sid, number, again, err)
		}
		src, gno, ok := n.source(number)
		if !ok || gno != 5 || src.sid != sid {
			t.Fatalf("%d is %v, want %x", number, src, sid)
		}
	}
	if _, err := n.number([16]byte{}, nil, 1<<48); err == nil {
		t.Error("a number that does not fit is taken")
	}
}
