package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/offsets"
	"github.com/tailrace/tailrace/topic"
)

// TopicList describes all topics.
func (w *Worker) TopicList(ctx context.Context) ([]topic.Info, error) { return w.opt.Log.Topics(ctx) }

// Usage tells what the log takes of its disk; false if the log can't say.
func (w *Worker) Usage() (topic.Usage, bool) {
	m, ok := w.opt.Log.(topic.Meter)
	if !ok {
		return topic.Usage{}, false
	}
	return m.Usage(), true
}

// ConfigureTopic changes settings of a topic: those in set get the value, or with an empty one the default; the others
// stay. It returns them as they are then. A mistake is an *InvalidError, a topic that isn't there ErrNoTopic.
func (w *Worker) ConfigureTopic(ctx context.Context, name string, set map[string]string) (map[string]string, error) {
	c, ok := w.opt.Log.(topic.Configurer)
	if !ok {
		return nil, fmt.Errorf("this kind of log can't change settings of a topic")
	}
	if err := c.Configure(ctx, name, set); err != nil {
		if fault.Code(err) == "TOPIC_CONFIG" {
			err = &InvalidError{[]config.Problem{{Key: name, Message: err.Error()}}}
		}
		return nil, err
	}
	info, err := topic.Lookup(ctx, w.opt.Log, name)
	return info.Config, err
}

// Lag says how far a sink is behind in one partition.
type Lag struct {
	Connector string
	Topic     string
	Partition int32
	Offset    int64 // the next record it will read
	End       int64 // the next record that will be written
	Lag       int64 // records between that are stored, about; without a gauge at most, since compaction leaves gaps
	Bytes     int64 // of them, about; -1 if the log can't say
	AgeMS     int64 // how long ago the oldest of them was committed, in milliseconds; -1 if there is none or it is unknown
	// AtRisk: retention will remove records before long that the sink has not read. LeftBehind: it has.
	AtRisk, LeftBehind bool
}

// Lag returns the lag of every sink in every partition that it reads.
func (w *Worker) Lag(ctx context.Context) ([]Lag, error) {
	list, err := w.opt.Log.Topics(ctx)
	if err != nil {
		return nil, err
	}
	var lags []Lag
	for _, name := range w.Names() {
		c, err := w.find(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		def := c.definition()
		for _, info := range list {
			if def.sink == nil || !def.follows(info.Name) {
				continue
			}
			for p, part := range info.Partitions {
				l, err := w.lag(ctx, name, info, int32(p), part)
				if err != nil {
					return nil, err
				}
				lags = append(lags, l)
			}
		}
	}
	return lags, nil
}

func (w *Worker) lag(ctx context.Context, name string, info topic.Info, p int32, part topic.PartitionInfo) (Lag, error) {
	next := topic.Start
	at, err := offsets.ParseLogPosition(w.offsets.Committed(name, offsets.Lane(info.Name, p)))
	if err == nil && (at.Epoch == 0 || at.Epoch == info.Epoch) {
		next = at.Offset
	}
	l := Lag{Connector: name, Topic: info.Name, Partition: p, Offset: max(next, part.Start), End: part.End, Bytes: -1, AgeMS: -1}
	l.Lag = max(0, part.End-l.Offset)
	gauge, ok := w.opt.Log.(topic.Gauge)
	if !ok {
		return l, nil
	}
	g, err := gauge.Lag(ctx, info.Name, p, next)
	if errors.Is(err, topic.ErrNoTopic) { // deleted meanwhile
		return l, nil
	}
	if err != nil {
		return l, err
	}
	l.Lag, l.Bytes, l.AtRisk, l.LeftBehind = g.Records, g.Bytes, g.AtRisk, g.LeftBehind
	if g.Records > 0 {
		l.AgeMS = max(0, w.opt.Now().UnixMilli()-g.Oldest)
	}
	return l, nil
}

// misplaced makes permanent what keeps a sink from reading on from its place, until somebody gives it another.
func misplaced(err error) error {
	switch {
	case errors.Is(err, topic.ErrOutOfRange):
		return fault.Permanent("OFFSET_OUT_OF_RANGE", "reset the connector's offsets: stop it, DELETE its offsets, resume it", err)
	case errors.Is(err, topic.ErrLeftBehind):
		return fault.Permanent("CONSUMER_LEFT_BEHIND",
			"what it has missed is not in the log any more: raise the topic's retention, take a new snapshot, and reset the connector's offsets: stop it, DELETE its offsets, resume it", err)
	}
	return err
}
