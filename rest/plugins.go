package rest

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/config"
	"github.com/tailrace/tailrace/worker"
)

type pluginInfo struct {
	Class   string `json:"class"`
	Type    string `json:"type"`
	Version string `json:"version"`
}

func (s *Server) plugins(q *request) {
	all := q.r.URL.Query().Get("connectorsOnly") == "false"
	out := []pluginInfo{}
	for _, p := range s.w.Plugins() {
		if all || p.Type != "transformation" {
			out = append(out, pluginInfo{p.Class, p.Type, p.Version})
		}
	}
	q.answer(http.StatusOK, out)
}

// keys returns the properties of a plugin in the path.
func (s *Server) keys(name string) ([]config.Key, bool) {
	if keys, ok := s.w.Keys(name); ok {
		return keys, true
	}
	p, ok := named(s.w, name)
	if !ok || p.Type == "transformation" {
		return p.Keys, ok
	}
	return s.w.Keys(p.Name)
}

func (s *Server) pluginConfig(q *request) {
	keys, ok := s.keys(q.name())
	if !ok {
		fail(q.w, http.StatusNotFound, "Unknown plugin "+q.name()+".")
		return
	}
	out := []keyInfo{}
	for i, k := range keys {
		out = append(out, describe(k, i))
	}
	q.answer(http.StatusOK, out)
}

type keyInfo struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Required   bool     `json:"required"`
	Default    *string  `json:"default_value"`
	Importance string   `json:"importance"`
	Doc        string   `json:"documentation"`
	Group      string   `json:"group"`
	Order      int      `json:"order_in_group"`
	Width      string   `json:"width"`
	Display    string   `json:"display_name"`
	Dependents []string `json:"dependents"`
}

func describe(k config.Key, order int) keyInfo {
	i := keyInfo{Name: k.Name, Type: k.Type, Required: k.Required, Importance: "MEDIUM", Doc: k.Doc, Group: "Common",
		Width: "MEDIUM", Display: k.Name, Dependents: []string{}, Order: order + 1}
	switch {
	case k.Required:
		i.Importance = "HIGH"
	case k.Default != "" || k.Type == "LIST":
		i.Default = &k.Default
	}
	return i
}

type valueInfo struct {
	Name        string   `json:"name"`
	Value       *string  `json:"value"`
	Recommended []string `json:"recommended_values"`
	Errors      []string `json:"errors"`
	Visible     bool     `json:"visible"`
}

type configInfo struct {
	Definition keyInfo   `json:"definition"`
	Value      valueInfo `json:"value"`
}

type validation struct {
	Name   string       `json:"name"`
	Errors int          `json:"error_count"` // values with errors
	Groups []string     `json:"groups"`
	Values []configInfo `json:"configs"`
}

// validate judges a configuration and answers 200 also when it is wrong. It changes nothing, neither here nor on the source's server.
func (s *Server) validate(q *request) {
	var body map[string]scalar
	if !q.body(&body) {
		return
	}
	props, nulls := texts(body)
	class := props["connector.class"]
	if class == "" {
		fail(q.w, http.StatusBadRequest, s.noClass(props))
		return
	}
	if s.differ(q.name(), class) {
		fail(q.w, http.StatusBadRequest, "Included connector type "+class+" does not match request type "+q.name())
		return
	}
	v, err := s.w.Validate(q.r.Context(), class, props)
	if err != nil {
		fail(q.w, http.StatusBadRequest, "Failed to find any class that implements Connector and which name matches "+class)
		return
	}
	q.answer(http.StatusOK, validated(class, props, v, nulls))
}

// differ reports whether two names are those of two plugins.
func (s *Server) differ(a, b string) bool {
	x, ok := named(s.w, a)
	y, too := named(s.w, b)
	return ok && too && x.Class != y.Class
}

// named finds a plugin by its alias, its class, or the class's simple name with or without "Connector".
func named(w *worker.Worker, name string) (worker.PluginInfo, bool) {
	for _, p := range w.Plugins() {
		simple := p.Class[strings.LastIndexByte(p.Class, '.')+1:]
		if slices.Contains([]string{p.Name, p.Class, simple, strings.TrimSuffix(simple, "Connector")}, name) {
			return p, true
		}
	}
	return worker.PluginInfo{}, false
}

func validated(class string, props map[string]string, v worker.Validation, more []config.Problem) validation {
	shown := config.Redact(props, v.Keys)
	errs := map[string][]string{}
	for _, p := range slices.Concat(v.Problems, more) {
		errs[p.Key] = append(errs[p.Key], mistake(p, shown))
	}
	keys := slices.Clone(v.Keys)
	if _, ok := props["name"]; !ok {
		errs["name"] = append(errs["name"], mistake(config.Problem{Key: "name", Message: "is required"}, shown))
	}
	for _, k := range slices.Sorted(maps.Keys(errs)) { // also mistakes in what is no property of the plugin
		if !slices.ContainsFunc(keys, func(d config.Key) bool { return d.Name == k }) {
			keys = append(keys, config.Key{Name: k, Type: "STRING"})
		}
	}
	out := validation{Name: class, Errors: len(errs), Groups: []string{"Common"}, Values: []configInfo{}}
	for i, k := range keys {
		d := describe(k, i)
		val := valueInfo{Name: k.Name, Value: d.Default, Recommended: k.OneOf, Errors: errs[k.Name], Visible: true}
		if val.Recommended == nil {
			val.Recommended = []string{}
		}
		if val.Errors == nil {
			val.Errors = []string{}
		}
		if t, ok := shown[k.Name]; ok {
			val.Value = &t
		}
		out.Values = append(out.Values, configInfo{d, val})
	}
	return out
}
