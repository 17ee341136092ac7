package route

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/transform"
)

// maxTopics bounds the cache; a source has far fewer topics.
const maxTopics = 16 << 10

type settings struct {
	Regex       string `cfg:"regex" required:"true" doc:"The expression that must match the whole topic."`
	Replacement string `cfg:"replacement" required:"true" doc:"The new topic, in which $1 is the first group."`
}

// Plugin is the transform's entry for the program's list.
var Plugin = transform.Plugin{
	Name:    "route",
	Classes: []string{"org.apache.kafka.connect.transforms.RegexRouter"},
	Doc:     "Renames topics by a regular expression.",
	Keys:    config.Keys(&settings{}),
	Check:   check,
	New:     func(props map[string]string) (transform.Transform, error) { return open(props) },
}

func check(props map[string]string) []config.Problem {
	var s settings
	problems := config.Decode(props, &s)
	if len(problems) > 0 || config.HasPlaceholder(s.Regex) || config.HasPlaceholder(s.Replacement) {
		return problems
	}
	_, problems = build(s)
	return problems
}

func open(props map[string]string) (*router, error) {
	var s settings
	if problems := config.Decode(props, &s); len(problems) > 0 {
		return nil, fmt.Errorf("%s", problems[0])
	}
	r, problems := build(s)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s", problems[0])
	}
	return r, nil
}

func build(s settings) (*router, []config.Problem) {
	re, err := regexp.Compile(`\A(?:` + s.Regex + `)\z`)
	if err != nil {
		return nil, []config.Problem{{Key: "regex", Message: fmt.Sprintf("%q is not a regular expression of RE2: %v", s.Regex, err)}}
	}
	parts, err := parseReplacement(s.Replacement, re)
	if err != nil {
		return nil, []config.Problem{{Key: "replacement", Message: err.Error()}}
	}
	return &router{re: re, parts: parts, topics: map[string]string{}}, nil
}

// A router is not safe for concurrent use.
type router struct {
	re     *regexp.Regexp
	parts  []part
	topics map[string]string // what each topic becomes

	last, next string // the topic asked for last
}

var _ transform.Transform = (*router)(nil)

// Apply implements transform.Transform. It allocates for a topic that it sees for the first time only.
func (r *router) Apply(_ context.Context, b *change.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Topic == "" {
			continue
		}
		if e.Topic != r.last {
			next, err := r.route(e.Topic)
			if err != nil {
				return err
			}
			r.last, r.next = e.Topic, next
		}
		e.Topic = r.next
	}
	return nil
}

func (r *router) route(topic string) (string, error) {
	if next, ok := r.topics[topic]; ok {
		return next, nil
	}
	next := topic
	if m := r.re.FindStringSubmatch(topic); m != nil {
		var out strings.Builder
		for _, p := range r.parts {
			if p.group < 0 {
				out.WriteString(p.text)
			} else {
				out.WriteString(m[p.group])
			}
		}
		if next = out.String(); next == "" {
			return "", fault.Permanentf("ROUTE_EMPTY", "change transforms.*.replacement", "topic %q is routed to a topic without a name", topic)
		}
	}
	if len(r.topics) >= maxTopics {
		clear(r.topics)
	}
	r.topics[topic] = next
	return next, nil
}

// A part of a replacement is a text, or a group if group is not negative.
type part struct {
	text  string
	group int
}

// parseReplacement reads a replacement as Java's Matcher does.
func parseReplacement(s string, re *regexp.Regexp) ([]part, error) {
	var parts []part
	var text strings.Builder
	group := func(n int) {
		if text.Len() > 0 {
			parts = append(parts, part{text: text.String(), group: -1})
			text.Reset()
		}
		parts = append(parts, part{group: n})
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			if i++; i == len(s) {
				return nil, fmt.Errorf("%q ends with a backslash", s)
			}
			text.WriteByte(s[i])
		case s[i] != '$':
			text.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "${"):
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf("%q lacks a closing brace", s)
			}
			name := s[i+2 : i+end]
			n := re.SubexpIndex(name)
			if n < 0 {
				return nil, fmt.Errorf("the expression has no group named %q", name)
			}
			group(n)
			i += end
		default:
			n, used := groupNumber(s[i+1:], re.NumSubexp())
			if used == 0 {
				return nil, fmt.Errorf("%q: after $ must come the number of a group; the expression has %d; write \\$ for the character", s, re.NumSubexp())
			}
			group(n)
			i += used
		}
	}
	if text.Len() > 0 {
		parts = append(parts, part{text: text.String(), group: -1})
	}
	return parts, nil
}

// groupNumber reads as many digits as still name one of the groups.
func groupNumber(s string, groups int) (n, used int) {
	for used < len(s) && s[used] >= '0' && s[used] <= '9' {
		next := n*10 + int(s[used]-'0')
		if next > groups {
			break
		}
		n, used = next, used+1
	}
	return n, used
}
