package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CommonKeys returns the properties that every connector takes, whatever its class: those of Kafka Connect.
func CommonKeys() []Key {
	return []Key{
		{Name: "name", Type: "STRING", Required: true, Doc: "The connector's name."},
		{Name: "connector.class", Type: "STRING", Required: true, Doc: "The kind of connector: an alias or a Java class name."},
		{Name: "tasks.max", Type: "INT", Default: "1", Doc: "The most tasks the connector may have."},
		{Name: "tasks.max.enforce", Type: "BOOLEAN", Default: "true", Doc: "Accepted for Kafka Connect: there are never more tasks than tasks.max."},
		{Name: "topics", Type: "LIST", Doc: "The topics a sink reads."},
		{Name: "topics.regex", Type: "STRING", Doc: "An expression for the topics a sink reads."},
		{Name: "transforms", Type: "LIST", Doc: "Names of transforms, in the order in which they are applied."},
		{Name: "predicates", Type: "LIST", Doc: "Names of predicates of transforms."},
		{Name: "key.converter", Type: "CLASS", Doc: "How record keys are written for consumers."},
		{Name: "value.converter", Type: "CLASS", Doc: "How record values are written for consumers."},
		{Name: "header.converter", Type: "CLASS", Doc: "How record headers are written for consumers."},
		{Name: "config.action.reload", Type: "STRING", Default: "restart", OneOf: []string{"none", "restart"}, Doc: "Accepted for Kafka Connect: secrets are read at each start of a task, also after a failure."},
		{Name: "errors.tolerance", Type: "STRING", Default: "none", OneOf: []string{"none", "all"}, Doc: "Whether rows that can't be written are passed over."},
		{Name: "errors.retry.timeout", Type: "LONG", Default: "0", Doc: "Accepted for Kafka Connect: what fails is tried again without end; errors.max.retries bounds it."},
		{Name: "errors.retry.delay.max.ms", Type: "LONG", Default: "60000", Doc: "Accepted for Kafka Connect: pauses grow to 30 s."},
		{Name: "errors.max.retries", Type: "INT", Default: "-1", Doc: "How often a failure is tried again; -1: without end."},
		{Name: "errors.log.enable", Type: "BOOLEAN", Default: "false", Doc: "Accepted for Kafka Connect: rejected rows are always logged, by key and reason."},
		{Name: "errors.log.include.messages", Type: "BOOLEAN", Default: "false", Doc: "Accepted for Kafka Connect: the content of rows is never logged."},
		{Name: "errors.deadletterqueue.topic.name", Type: "STRING", Doc: "The topic for rows that a sink can't write."},
		{Name: "errors.deadletterqueue.topic.replication.factor", Type: "INT", Default: "3", Doc: "Accepted for Kafka Connect: the embedded log has one copy."},
		{Name: "errors.deadletterqueue.context.headers.enable", Type: "BOOLEAN", Default: "false", Doc: "Accepted for Kafka Connect: they always carry origin and reason in headers."},
		{Name: "exactly.once.support", Type: "STRING", Default: "requested", OneOf: []string{"requested", "required"}, Doc: "Accepted for Kafka Connect: events always get into the log exactly once."},
		{Name: "transaction.boundary", Type: "STRING", Default: "poll", OneOf: []string{"poll", "interval", "connector"}, Doc: "Accepted for Kafka Connect."},
		{Name: "transaction.boundary.interval.ms", Type: "LONG", Doc: "Accepted for Kafka Connect."},
		{Name: "offsets.storage.topic", Type: "STRING", Doc: "Accepted for Kafka Connect."},
	}
}

// CommonPatterns returns the families of properties that every connector takes. A star stands for any text.
func CommonPatterns() []string {
	return []string{
		"transforms.*", "predicates.*", "key.converter.*", "value.converter.*", "header.converter.*", "topic.creation.*",
		"producer.override.*", "consumer.override.*", "admin.override.*",
	}
}

// Unknown returns a problem, with a suggestion if one is near, for each property that is neither in known nor among
// the common ones nor of a family in patterns, in which a star stands for any text that is not empty.
func Unknown(props map[string]string, known []Key, patterns ...string) []Problem {
	names := map[string]bool{}
	for _, k := range append(CommonKeys(), known...) {
		names[k.Name] = true
	}
	patterns = append(CommonPatterns(), patterns...)
	words := slices.Sorted(maps.Keys(names))
	var problems []Problem
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if names[name] || slices.ContainsFunc(patterns, func(p string) bool { return matchFamily(p, name) }) {
			continue
		}
		message := "unknown property"
		if len(name) <= 256 {
			message += didYouMean(name, words)
		}
		problems = append(problems, Problem{Key: name, Message: message})
	}
	return problems
}

func matchFamily(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		if len(rest) == 0 {
			return false
		}
		i := strings.Index(rest[1:], p)
		if i < 0 {
			return false
		}
		rest = rest[1+i+len(p):]
	}
	return len(rest) > len(last) && strings.HasSuffix(rest, last)
}

// A Description is what [File.Check] needs to know of a connector's kind.
type Description struct {
	Keys     []Key     // the plugin's properties
	Patterns []string  // families of properties, see [Unknown]
	Problems []Problem // what the plugin's Check, and the checks of transforms and converters, found
}

// Check judges the properties of all connectors and returns what is wrong (at most 200 mistakes), in the order of lines. describe tells what
// is known of a connector; false as its second result means that the class itself is unknown and its properties can't
// be judged, for which Problems should say so. Unknown properties are warnings, errors if strict; one among the
// defaults is unknown if no connector knows it.
func (f *File) Check(strict bool, describe func(c Connector) (Description, bool)) []Diagnostic {
	severity := Warning
	if strict {
		severity = Error
	}
	var diags []Diagnostic
	unjudged := map[string]property{}
	for _, d := range f.defaults {
		unjudged[d.key] = d
	}
	var all []Key
	add := func(d Diagnostic) {
		if len(diags) < maxMistakes {
			diags = append(diags, d)
		}
	}
	for i := range f.Connectors {
		c := &f.Connectors[i]
		d, known := describe(*c)
		for _, p := range d.Problems {
			add(f.Locate(c, p, Error))
		}
		if !known {
			clear(unjudged)
			continue
		}
		all = append(all, d.Keys...)
		for _, p := range Unknown(c.own(), d.Keys, d.Patterns...) {
			add(f.Locate(c, p, severity))
		}
		unknown := Unknown(c.Config, d.Keys, d.Patterns...)
		for key := range unjudged {
			if !slices.ContainsFunc(unknown, func(p Problem) bool { return p.Key == key }) {
				delete(unjudged, key)
			}
		}
	}
	if len(f.Connectors) > 0 {
		for _, d := range unjudged {
			for _, p := range Unknown(map[string]string{d.key: d.value}, all) {
				add(f.at(d.at, p, severity))
			}
		}
	}
	SortDiagnostics(diags)
	return diags
}

// Locate makes a diagnostic of a problem with a property of a connector of this file.
func (f *File) Locate(c *Connector, p Problem, s Severity) Diagnostic {
	if _, own := c.places[p.Key]; !own && !f.hasDefault(p.Key) {
		p.Message = fmt.Sprintf("%s (connector %s)", p.Message, c.Name)
	}
	return f.at(f.locate(c, p.Key), p, s)
}

// LocateLog makes a diagnostic of a problem with a property of the log.
func (f *File) LocateLog(p Problem, s Severity) Diagnostic {
	at := f.Log.places[p.Key]
	p.Key = "log." + p.Key
	return f.at(at, p, s)
}

func (f *File) hasDefault(key string) bool {
	return slices.ContainsFunc(f.defaults, func(d property) bool { return d.key == key })
}

// locate returns where a property of c is: at its own line, in the defaults, or else at the connector's head.
func (f *File) locate(c *Connector, key string) place {
	if at, ok := c.places[key]; ok {
		return at
	}
	for _, d := range f.defaults {
		if d.key == key {
			return d.at
		}
	}
	return c.at
}

func (f *File) at(at place, p Problem, s Severity) Diagnostic {
	message, suggestion := p.Message, ""
	if i := strings.LastIndex(message, ": did you mean "); i >= 0 && strings.HasSuffix(message, "?") {
		message, suggestion = message[:i], strings.TrimSuffix(message[i+len(": did you mean "):], "?")
	}
	return f.diagnostic(at, p.Key, message, suggestion, s)
}

func (f *File) diagnostic(at place, key, message, suggestion string, s Severity) Diagnostic {
	return Diagnostic{File: f.Path, Line: at.line, Column: at.column, Severity: s, Key: key, Message: message,
		Suggestion: suggestion, Excerpt: safeLine(f.lines, at.line)}
}
