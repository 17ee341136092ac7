package transform

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
)

// A predicate says which records a transform applies to. Kafka Connect's three are all there are.
type predicate interface {
	// match reports whether it holds for the event's record; tombstone asks about the record without a value that is
	// still to follow a delete.
	match(e *change.Event, tombstone bool) bool
}

// maxTopics bounds the answers that are kept; a source has far fewer topics.
const maxTopics = 16 << 10

type topicMatches struct {
	pattern *regexp.Regexp
	answers map[string]bool // by topic
}

func (p *topicMatches) match(e *change.Event, _ bool) bool {
	answer, known := p.answers[e.Topic]
	if !known {
		if len(p.answers) >= maxTopics {
			clear(p.answers)
		}
		answer = p.pattern.MatchString(e.Topic)
		p.answers[e.Topic] = answer
	}
	return answer
}

type hasHeader string

func (p hasHeader) match(e *change.Event, _ bool) bool {
	return slices.ContainsFunc(e.Headers, func(h change.Header) bool { return h.Key == string(p) })
}

type isTombstone struct{}

func (isTombstone) match(e *change.Event, tombstone bool) bool {
	return tombstone || e.Op == change.OpTombstone || e.Raw != nil && e.Raw.Value == nil
}

// newPredicate makes the predicate of a class; nil and no problem if it can't be judged yet.
func newPredicate(class string, props map[string]string) (predicate, []config.Problem) {
	class = class[strings.LastIndexByte(class, '.')+1:]
	key, message := "", ""
	switch class {
	case "TopicNameMatches":
		key = "pattern"
	case "HasHeaderKey":
		key = "name"
	case "RecordIsTombstone":
	case "":
		return nil, []config.Problem{{Key: "type", Message: "is required: TopicNameMatches, HasHeaderKey or RecordIsTombstone"}}
	default:
		names := []string{"TopicNameMatches", "HasHeaderKey", "RecordIsTombstone"}
		message = "unknown predicate " + class + ": there are " + strings.Join(names, ", ")
		if near := config.Nearest(class, names); near != "" {
			message = "unknown predicate " + class + ": did you mean " + near + "?"
		}
		return nil, []config.Problem{{Key: "type", Message: message}}
	}
	var problems []config.Problem
	for name := range props {
		if name != "type" && name != key {
			problems = append(problems, config.Problem{Key: name, Message: "unknown property of predicate " + class})
		}
	}
	slices.SortFunc(problems, func(a, b config.Problem) int { return strings.Compare(a.Key, b.Key) })
	value := props[key]
	switch {
	case key == "":
		return isTombstone{}, problems
	case value == "":
		return nil, append(problems, config.Problem{Key: key, Message: "is required"})
	case config.HasPlaceholder(value):
		return nil, problems
	case key == "name":
		return hasHeader(value), problems
	}
	pattern, err := regexp.Compile(`\A(?:` + value + `)\z`)
	if err != nil {
		return nil, append(problems, config.Problem{Key: key, Message: fmt.Sprintf("%q is not a regular expression of RE2: %v", value, err)})
	}
	return &topicMatches{pattern, map[string]bool{}}, problems
}

// Drop is the transform that drops every event: transform/filter.
type Drop struct{}

// Apply implements Transform.
func (Drop) Apply(_ context.Context, b *change.Batch) error {
	clear(b.Events)
	b.Events = b.Events[:0]
	return nil
}

// conditional applies a transform to the records for which a predicate holds, or does not hold. A delete and the tombstone that is
// still to follow it are one event; only Drop can treat the two differently.
type conditional struct {
	transform Transform
	predicate predicate
	negate    bool
}

// Apply implements Transform.
func (c *conditional) Apply(ctx context.Context, b *change.Batch) error {
	if _, ok := c.transform.(Drop); ok {
		c.drop(b)
		return nil
	}
	all := b.Events
	kept := all[:0]
	for i := 0; i < len(all); {
		n := i
		for n < len(all) && c.predicate.match(&all[n], false) != c.negate {
			n++
		}
		if n == i {
			kept = append(kept, all[i])
			i++
			continue
		}
		b.Events = all[i:n:n]
		err := c.transform.Apply(ctx, b)
		some := b.Events
		b.Events = all
		if err != nil {
			return err
		}
		kept = append(kept, some...)
		i = n
	}
	clear(all[len(kept):])
	b.Events = kept
	return nil
}

func (c *conditional) drop(b *change.Batch) {
	kept := b.Events[:0]
	for i := range b.Events {
		e := b.Events[i]
		gone := c.predicate.match(&e, false) != c.negate
		if e.Op == change.OpDelete && e.Raw == nil && e.Key != nil && !e.NoTombstone {
			switch goneToo := c.predicate.match(&e, true) != c.negate; {
			case gone && !goneToo:
				e.Op, gone = change.OpTombstone, false
			case !gone && goneToo:
				e.NoTombstone = true
			}
		}
		if !gone {
			kept = append(kept, e)
		}
	}
	clear(b.Events[len(kept):])
	b.Events = kept
}
