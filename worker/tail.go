package worker

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/topic"
)

// TailRequest says which records to show.
type TailRequest struct {
	Topics []string
	From   string // start, end or an offset; empty is end
	Until  string // end: stop at what is the end when the request comes; empty: follow
}

// TailRecord is a record as a consumer outside sees it. Its bytes are valid during emit only.
type TailRecord struct {
	Topic      string
	Partition  int32
	Offset     int64
	Timestamp  int64  // milliseconds since the Unix epoch
	Key, Value []byte // as the converter gives them, JSON; nil: null
	Headers    []byte // a JSON array of objects with key and value
}

// Tail calls emit with the records of the topics, of each partition in order, until emit fails, ctx is done or, if the
// request says so, the present end. Internal topics hold no events: their records come as they are.
func (w *Worker) Tail(ctx context.Context, req TailRequest, emit func(*TailRecord) error) error {
	t := tail{w: w, dec: w.opt.Codec.NewDecoder(), formats: map[string]Formatter{}, emit: emit, ends: map[lane]int64{}}
	rd, err := w.opt.Log.Reader(ctx)
	if err != nil {
		return err
	}
	defer rd.Close()
	if err := t.open(ctx, rd, req); err != nil {
		return err
	}
	for req.Until == "" || len(t.ends) > 0 {
		recs, err := rd.Read(ctx, scanMax)
		if err != nil {
			return err
		}
		if err := t.show(recs, req.Until != ""); err != nil {
			return err
		}
	}
	return nil
}

// scanMax bounds the records of one Read.
const scanMax = 1024

type lane struct {
	topic     string
	partition int32
}

// tail is one Tail under way.
type tail struct {
	w       *Worker
	dec     Decoder
	formats map[string]Formatter // by topic.prefix
	emit    func(*TailRecord) error
	ends    map[lane]int64 // where to stop, if the request says so
	epochs  map[string]uint32
	batch   change.Batch
	buf     []byte
}

func (t *tail) open(ctx context.Context, rd topic.Reader, req TailRequest) error {
	from := topic.End
	switch req.From {
	case "start":
		from = topic.Start
	case "end", "":
	default:
		n, err := strconv.ParseInt(req.From, 10, 64)
		if err != nil || n < 0 {
			return &InvalidError{[]config.Problem{{Key: "from", Message: fmt.Sprintf("%q is not start, end or an offset", req.From)}}}
		}
		from = n
	}
	if req.Until != "" && req.Until != "end" {
		return &InvalidError{[]config.Problem{{Key: "until", Message: fmt.Sprintf("%q is not end", req.Until)}}}
	}
	t.epochs = map[string]uint32{}
	for _, name := range req.Topics {
		info, err := topic.Lookup(ctx, t.w.opt.Log, name)
		if err != nil {
			return err
		}
		t.epochs[name] = info.Epoch
		for p, part := range info.Partitions {
			at := from
			if at >= 0 {
				at = max(min(at, part.End), part.LogStart)
			}
			if req.Until != "" && (part.Records == 0 || at == topic.End || at == part.End) {
				continue
			}
			t.ends[lane{name, int32(p)}] = part.End
			if err := rd.Add(name, int32(p), at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tail) show(recs []topic.Record, bounded bool) error {
	l := lane{recs[0].Topic, recs[0].Partition}
	if bounded {
		end, open := t.ends[l]
		if !open {
			return nil
		}
		if recs[len(recs)-1].Offset >= end-1 {
			delete(t.ends, l)
			for len(recs) > 0 && recs[len(recs)-1].Offset >= end {
				recs = recs[:len(recs)-1]
			}
		}
	}
	if len(l.topic) > len(internalPrefix) && l.topic[:len(internalPrefix)] == internalPrefix {
		for i := range recs {
			r := &recs[i]
			e := change.Event{}
			for _, h := range r.Headers {
				e.Headers = append(e.Headers, change.Header{Key: h.Key, Value: h.Value})
			}
			t.buf = t.format(r.Topic, &e).AppendHeaders(t.buf[:0], &e)
			if err := t.emit(&TailRecord{r.Topic, r.Partition, r.Offset, r.Timestamp, r.Key, r.Value, t.buf}); err != nil {
				return err
			}
		}
		return nil
	}
	t.batch.Reset()
	if err := t.dec.Decode(recs, t.epochs[l.topic], &t.batch); err != nil {
		return fmt.Errorf("%s partition %d from offset %d: %w", l.topic, l.partition, recs[0].Offset, err)
	}
	for i := range recs {
		if err := t.event(&recs[i], &t.batch.Events[i]); err != nil {
			return err
		}
	}
	return nil
}

// event formats one event and emits it.
func (t *tail) event(r *topic.Record, e *change.Event) error {
	out := TailRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp}
	format := t.format(r.Topic, e)
	var key, value bool
	t.buf, key = format.AppendKey(t.buf[:0], e)
	n := len(t.buf)
	if r.Value != nil {
		t.buf, value = format.AppendValue(t.buf, e)
	}
	m := len(t.buf)
	t.buf = format.AppendHeaders(t.buf, e)
	if key {
		out.Key = t.buf[:n:n]
	}
	if value {
		out.Value = t.buf[n:m:m]
	}
	out.Headers = t.buf[m:]
	return t.emit(&out)
}

// format returns the formatter of the connector that an event is from: by its table, or else by the topic's name.
func (t *tail) format(topic string, e *change.Event) Formatter {
	prefix := topic
	if e.Table != nil && e.Table.Origin != nil {
		prefix = e.Table.Origin.Name
	}
	f, ok := t.formats[prefix]
	if !ok {
		f = t.w.opt.Formatter(t.w.sourceOf(prefix))
		t.formats[prefix] = f
	}
	return f
}

// sourceOf returns the properties of the source connector whose topic.prefix is name, or else the longest part of it
// between dots; nil if there is none.
func (w *Worker) sourceOf(name string) (props map[string]string) {
	longest := ""
	for _, c := range w.list() {
		c.mu.Lock()
		prefix := c.stored.Config["topic.prefix"]
		if c.def.source != nil && len(prefix) > len(longest) && strings.Contains("."+name+".", "."+prefix+".") {
			longest, props = prefix, maps.Clone(c.stored.Config)
		}
		c.mu.Unlock()
	}
	return props
}
