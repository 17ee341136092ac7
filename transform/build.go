package transform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/config"
)

// Build makes the chain that a connector's configuration asks for by transforms, transforms.X.type and transforms.X.*, and
// predicates, predicates.P.type and predicates.P.*.
// It returns every mistake there is; with one, the chain is nil. Placeholders must be resolved.
func Build(props map[string]string, plugins []Plugin) (Chain, []config.Problem) {
	steps, problems := parse(props, plugins)
	if len(problems) > 0 {
		return nil, problems
	}
	chain := make(Chain, 0, len(steps))
	for _, s := range steps {
		t, err := s.plugin.New(s.props)
		if err != nil {
			problems = append(problems, config.Problem{Key: s.prefix + "type", Message: err.Error()})
			continue
		}
		if s.predicate != nil {
			t = &conditional{t, s.predicate, s.negate}
		}
		chain = append(chain, t)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return chain, nil
}

// Check is Build without making anything; values with unresolved placeholders are not judged.
func Check(props map[string]string, plugins []Plugin) []config.Problem {
	_, problems := parse(props, plugins)
	return problems
}

// A step is one transform of the list with its own properties.
type step struct {
	plugin Plugin
	prefix string // transforms.X.
	props  map[string]string

	predicate predicate // nil: every event
	negate    bool
}

func parse(props map[string]string, plugins []Plugin) ([]step, []config.Problem) {
	var problems []config.Problem
	add := func(key, message string) { problems = append(problems, config.Problem{Key: key, Message: message}) }
	predicates, found := parsePredicates(props)
	problems = append(problems, found...)
	var steps []step
	var names []string
	for name := range strings.SplitSeq(props["transforms"], ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if slices.Contains(names, name) {
			add("transforms", name+" is in the list twice")
			continue
		}
		names = append(names, name)
		prefix := "transforms." + name + "."
		plugin, problem := find(props, prefix, plugins)
		if problem.Message != "" {
			problems = append(problems, problem)
			continue
		}
		s := step{plugin: plugin, prefix: prefix, props: own(props, prefix)}
		if name := strings.TrimSpace(s.props["predicate"]); name != "" && !config.HasPlaceholder(name) {
			p, ok := predicates[name]
			if !ok {
				add(prefix+"predicate", name+" is not in the list of predicates")
			}
			s.predicate = p
		}
		var err error
		if s.negate, err = negated(s.props); err != nil {
			add(prefix+"negate", err.Error())
		}
		for _, p := range s.check() {
			add(prefix+p.Key, p.Message)
		}
		steps = append(steps, s)
	}
	return steps, problems
}

// parsePredicates returns the predicates by name; one that can't be judged yet is nil.
func parsePredicates(props map[string]string) (map[string]predicate, []config.Problem) {
	var problems []config.Problem
	list := map[string]predicate{}
	for name := range strings.SplitSeq(props["predicates"], ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		prefix := "predicates." + name + "."
		own := own(props, prefix)
		p, bad := newPredicate(strings.TrimSpace(props[prefix+"type"]), own)
		for _, b := range bad {
			problems = append(problems, config.Problem{Key: prefix + b.Key, Message: b.Message})
		}
		if _, twice := list[name]; twice {
			problems = append(problems, config.Problem{Key: "predicates", Message: name + " is in the list twice"})
		}
		list[name] = p
	}
	return list, problems
}

func negated(props map[string]string) (bool, error) {
	switch text := strings.TrimSpace(props["negate"]); {
	case strings.EqualFold(text, "true"):
		return true, nil
	case text == "" || strings.EqualFold(text, "false") || config.HasPlaceholder(text):
		return false, nil
	default:
		return false, fmt.Errorf("must be true or false, not %q", text)
	}
}

// find returns the plugin that transforms.X.type names, by its alias, its class or the class's simple name.
func find(props map[string]string, prefix string, plugins []Plugin) (Plugin, config.Problem) {
	class := strings.TrimSpace(props[prefix+"type"])
	if class == "" {
		return Plugin{}, config.Problem{Key: prefix + "type", Message: "is required: the transform's alias or class name"}
	}
	var names []string
	for _, p := range plugins {
		names = append(names, p.Name)
		if class == p.Name {
			return p, config.Problem{}
		}
		for _, c := range p.Classes {
			simple := c[strings.LastIndexByte(c, '.')+1:]
			if class == c || class == simple {
				return p, config.Problem{}
			}
			names = append(names, c, simple)
		}
	}
	message := "unknown transform " + class
	if near := config.Nearest(class, names); near != "" {
		message += ": did you mean " + near + "?"
	} else {
		aliases := make([]string, len(plugins))
		for i, p := range plugins {
			aliases[i] = p.Name
		}
		message += ": there are " + strings.Join(aliases, ", ")
	}
	return Plugin{}, config.Problem{Key: prefix + "type", Message: message}
}

// own returns the properties below prefix, without the prefix and without type.
func own(props map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	for k, v := range props {
		if name, ok := strings.CutPrefix(k, prefix); ok && name != "type" {
			out[name] = v
		}
	}
	return out
}

// check returns the mistakes in a transform's own properties. One that the transform does not know is a mistake, for
// a row that was not changed as its owner meant can't be taken back.
func (s step) check() []config.Problem {
	var problems []config.Problem
	known := []string{}
	for _, k := range s.plugin.Keys {
		known = append(known, k.Name)
	}
	names := make([]string, 0, len(s.props))
	for name := range s.props {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case slices.Contains(known, name):
		case name == "predicate":
		case name == "negate" && s.props["predicate"] == "":
			problems = append(problems, config.Problem{Key: name, Message: "is of use together with predicate only"})
		case name == "negate":
		default:
			message := "unknown property of transform " + s.plugin.Name
			if near := config.Nearest(name, known); near != "" {
				message += ": did you mean " + near + "?"
			}
			problems = append(problems, config.Problem{Key: name, Message: message})
		}
	}
	if s.plugin.Check != nil {
		problems = append(problems, s.plugin.Check(s.props)...)
	}
	return problems
}
