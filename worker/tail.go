package worker

import (
	"context"
	"fmt"
	"strconv"

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
	Headers    []topic.Header
}

// Tail calls emit with the records of the topics, of each partition in order, until emit fails, ctx is done or, if the
// request says so, the present end. Internal topics hold no events: their records come as they are.
func (w *Worker) Tail(ctx context.Context, req TailRequest, emit func(*TailRecord) error) error {
	t := tail{w: w, dec: w.opt.Codec.NewDecoder(), format: w.opt.Formatter(), emit: emit, ends: map[lane]int64{}}
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
	w      *Worker
	dec    Decoder
	format Formatter
	emit   func(*TailRecord) error
	ends   map[lane]int64 // where to stop, if the request says so
	epochs map[string]uint32
	batch  change.Batch
	buf    []byte
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
				at = min(at, part.End)
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
			if err := t.emit(&TailRecord{r.Topic, r.Partition, r.Offset, r.Timestamp, r.Key, r.Value, r.Headers}); err != nil {
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
	var ok bool
	t.buf, ok = t.format.AppendKey(t.buf[:0], e)
	n := len(t.buf)
	if ok {
		out.Key = t.buf[:n:n]
	}
	if r.Value != nil {
		if t.buf, ok = t.format.AppendValue(t.buf, e); ok {
			out.Value = t.buf[n:]
		}
	}
	if out.Key != nil {
		out.Key = t.buf[:n:n] // the buffer may have moved
	}
	for _, h := range e.Headers {
		out.Headers = append(out.Headers, topic.Header{Key: h.Key, Value: h.Value})
	}
	return t.emit(&out)
}
