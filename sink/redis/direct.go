package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
	"github.com/tailrace/tailrace/sink"
)

// direct is the short way of whole rows that are news for certain, because their versions are above the mark, the newest
// that was ever written for the origin. They need no comparing in the script, which costs the server three times as much
// as plain commands:
//
//	WATCH state   HGET state entry   EXISTS <keys of inserted rows>   HMGET rows <keys of updated rows>
//	MULTI   MSET <rows>   HSET rows <versions>   (the script, for merges and deletes)   HSET state entry   EXEC
//
// If the entry is not what it should be, nothing is sent; if it changes in between, EXEC does nothing. If a key that the sink has
// not written yet exists already, the script has to look at it: the run takes the long way.
type direct struct {
	buf  []byte
	ends []int
	rows []span // the arguments of each row
	args []string
	list []string // arguments of the command that is being made
	cmds rueidis.Commands
}

// A span is a row's arguments: key, version, and document or fields.
type span struct {
	first, last int  // last is the place after it
	inserted    bool // by a c or r event: the sink should not have written its key
}

func (d *direct) reset() {
	d.buf, d.ends, d.rows = d.buf[:0], d.ends[:0], d.rows[:0]
}

func (d *direct) end() { d.ends = append(d.ends, len(d.buf)) }

// row appends key, version and document, or key, version and fields with their values. On an error nothing was appended.
func (d *direct) row(s *sink.State, hash bool, limit int) error {
	buf, ends := len(d.buf), len(d.ends)
	d.buf = append(d.buf, s.Key...)
	d.end()
	d.buf = strconv.AppendUint(d.buf, s.Version, 10)
	d.end()
	if hash {
		for i := range s.Row {
			if s.Row[i].Kind == change.Null {
				continue
			}
			c := &s.Table.Columns[i]
			d.buf = append(d.buf, c.Name...)
			d.end()
			d.buf = appendField(d.buf, c, s.Row[i])
			d.end()
		}
	} else {
		d.buf = jsontext.AppendRow(d.buf, s.Table, s.Row)
		d.end()
	}
	if len(d.buf)-buf > limit {
		d.buf, d.ends = d.buf[:buf], d.ends[:ends]
		return errTooLarge
	}
	d.rows = append(d.rows, span{ends, len(d.ends), s.First == change.OpCreate || s.First == change.OpRead})
	return nil
}

// strings makes the arguments; they alias buf.
func (d *direct) strings() {
	d.args = d.args[:0]
	start := 0
	for _, end := range d.ends {
		d.args = append(d.args, rueidis.BinaryString(d.buf[start:end:end]))
		start = end
	}
}

// forget gives up the memory: something that outlives the call may still look at it.
func (d *direct) forget() { d.buf, d.args, d.list, d.cmds = nil, nil, nil, nil }

// command adds a command of head and the arguments that pick takes from each row; none if there are no arguments.
func (d *direct) command(b rueidis.Builder, head []string, pick func(args []string, r span) []string) {
	d.list = d.list[:0]
	for _, r := range d.rows {
		d.list = pick(d.list, r)
	}
	if len(d.list) > 0 {
		d.cmds = append(d.cmds, b.Arbitrary(head...).Args(d.list...).Build())
	}
}

// shortcut writes the run directly if it can. It reports false, and then the run has to go the long way.
func (s *Sink) shortcut(ctx context.Context, l *lane, to next) (done bool, err error) {
	if l.entryText == "" || s.cfg.TTL > 0 || s.oldest <= l.mark || !s.gather() {
		return false, nil
	}
	if s.conn == nil {
		s.conn, s.release = s.client.Dedicate()
	}
	if ok, err := s.watch(ctx, l); err != nil || !ok {
		return false, err
	}
	return s.commit(ctx, l, to)
}

// gather makes the arguments of the run's whole rows. It reports false if there are none, or one is too large.
func (s *Sink) gather() bool {
	d := &s.direct
	d.reset()
	for i := range s.fold.States {
		if st := &s.fold.States[i]; kindOf(st) == whole {
			if err := d.row(st, s.enc.hash, s.enc.limit); err != nil {
				return false // the long way rejects it
			}
		}
	}
	d.strings()
	return len(d.rows) > 0
}

// watch reports whether the run may go directly: state holds our entry, and no inserted row's key exists. From then on
// a change of state makes EXEC do nothing.
func (s *Sink) watch(ctx context.Context, l *lane) (ok bool, err error) {
	d, b := &s.direct, s.conn.B()
	d.cmds = append(d.cmds[:0], b.Arbitrary("WATCH", l.state).Build(), b.Arbitrary("HGET", l.state, "entry").Build())
	d.command(b, []string{"EXISTS"}, func(args []string, r span) []string {
		if r.inserted {
			args = append(args, d.args[r.first])
		}
		return args
	})
	looks := len(d.cmds)
	d.command(b, []string{"HMGET", l.rows}, func(args []string, r span) []string {
		if !r.inserted {
			args = append(args, d.args[r.first])
		}
		return args
	})
	updated := len(d.cmds) > looks
	rs := s.conn.DoMulti(ctx, d.cmds...)
	if err := rs[0].Error(); err != nil {
		return false, s.failed(err)
	}
	entry, err := rs[1].ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		return false, s.failed(err)
	}
	ok = err == nil && entry == l.entryText
	if ok && updated {
		if ok, err = s.unwritten(ctx, rs[looks]); err != nil {
			return false, s.failed(err)
		}
	}
	if looks > 2 {
		n, err := rs[2].AsInt64()
		if err != nil {
			return false, s.failed(err)
		}
		ok = ok && n == 0
	}
	if !ok {
		if err := s.conn.Do(ctx, b.Arbitrary("UNWATCH").Build()).Error(); err != nil {
			return false, s.failed(err)
		}
	}
	return ok, nil
}

// unwritten takes the versions of the updated rows and reports whether the keys of those that have none are free.
func (s *Sink) unwritten(ctx context.Context, r rueidis.RedisResult) (free bool, err error) {
	versions, err := r.ToArray()
	if err != nil {
		return false, err
	}
	d, n := &s.direct, 0
	d.list = d.list[:0]
	for _, r := range d.rows {
		if r.inserted {
			continue
		}
		if n < len(versions) && versions[n].IsNil() {
			d.list = append(d.list, d.args[r.first])
		}
		n++
	}
	if n != len(versions) {
		return false, errAnswer
	}
	if len(d.list) == 0 {
		return true, nil
	}
	taken, err := s.conn.Do(ctx, s.conn.B().Arbitrary("EXISTS").Keys(d.list...).Build()).AsInt64()
	return taken == 0, err
}

// commit writes the run in one transaction.
func (s *Sink) commit(ctx context.Context, l *lane, to next) (done bool, err error) {
	d, b := &s.direct, s.conn.B()
	d.cmds = append(d.cmds[:0], b.Multi().Build())
	if s.enc.hash {
		d.command(b, []string{"DEL"}, func(args []string, r span) []string { return append(args, d.args[r.first]) })
		for _, r := range d.rows {
			if r.last-r.first > 2 {
				d.cmds = append(d.cmds, b.Arbitrary("HSET", d.args[r.first]).Args(d.args[r.first+2:r.last]...).Build())
			}
		}
	} else {
		d.command(b, []string{"MSET"}, func(args []string, r span) []string { return append(args, d.args[r.first], d.args[r.first+2]) })
	}
	d.command(b, []string{"HSET", l.rows}, func(args []string, r span) []string { return append(args, d.args[r.first], d.args[r.first+1]) })
	before := len(s.rejected)
	keys, args := s.arguments(l, to, merge)
	script := len(s.rows) > 0
	if len(s.rejected) > before {
		to.text = to.refused
	}
	if script {
		d.cmds = append(d.cmds, s.write.command(b, keys, args))
	} else {
		d.cmds = append(d.cmds, b.Arbitrary("HSET", l.state, "entry", to.text).Build())
	}
	d.cmds = append(d.cmds, b.Exec().Build())
	rs := s.conn.DoMulti(ctx, d.cmds...)
	for _, r := range rs[:len(rs)-1] { // what was queued, or why not
		if err := r.Error(); err != nil {
			return false, s.failed(err)
		}
	}
	answers, err := rs[len(rs)-1].ToArray()
	if rueidis.IsRedisNil(err) {
		return false, nil // state has changed: the script finds out how
	}
	if err != nil {
		return false, s.failed(err)
	}
	for i := range answers {
		if e, ok := rueidis.IsRedisErr(answers[i].Error()); ok && e.IsNoScript() {
			return false, nil // the rest was done, and is passed over when the script gets its text
		} else if err := answers[i].Error(); err != nil {
			return false, s.failed(err)
		}
	}
	if !script {
		return true, nil
	}
	answer, err := answers[len(answers)-1].ToArray()
	if err != nil {
		return false, errAnswer
	}
	return true, s.judge(l, answer)
}
