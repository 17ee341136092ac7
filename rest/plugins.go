package rest

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/tailrace/tailrace/config"
)

type pluginInfo struct {
	Class   string `json:"class"`
	Type    string `json:"type"`
	Version string `json:"version"`
}

// plugins answers everything below /connector-plugins.
func (s *Server) plugins(q *request) {
	switch {
	case len(q.path) == 1:
		if !q.allow(http.MethodGet) {
			return
		}
		all := q.r.URL.Query().Get("connectorsOnly") == "false"
		out := []pluginInfo{}
		for _, p := range s.w.Plugins() {
			if all || p.Type != "transformation" {
				out = append(out, pluginInfo{p.Class, p.Type, p.Version})
			}
		}
		q.answer(http.StatusOK, out)
	case len(q.path) == 3 && q.path[2] == "config":
		if !q.allow(http.MethodGet) {
			return
		}
		keys, ok := s.w.Keys(q.path[1])
		if !ok {
			fail(q.w, http.StatusNotFound, "Unknown plugin "+q.path[1]+".")
			return
		}
		out := []keyInfo{}
		for i, k := range keys {
			out = append(out, describe(k, i))
		}
		q.answer(http.StatusOK, out)
	case len(q.path) == 4 && q.path[2] == "config" && q.path[3] == "validate":
		s.validate(q)
	default:
		q.notFound()
	}
}

type keyInfo struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Required   bool     `json:"required"`
	Default    *string  `json:"default_value"`
	Importance string   `json:"importance"`
	Doc        string   `json:"documentation"`
	Group      string   `json:"group"`
	Width      string   `json:"width"`
	Display    string   `json:"display_name"`
	Dependents []string `json:"dependents"`
	Order      int      `json:"order_in_group"`
}

func describe(k config.Key, order int) keyInfo {
	i := keyInfo{Name: k.Name, Type: k.Type, Required: k.Required, Importance: "MEDIUM", Doc: k.Doc, Group: "Common",
		Width: "MEDIUM", Display: k.Name, Dependents: []string{}, Order: order + 1}
	if k.Required {
		i.Importance = "HIGH"
	} else {
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

func (s *Server) validate(q *request) {
	if !q.allow(http.MethodPut) {
		return
	}
	var body map[string]scalar
	if !q.body(&body) {
		return
	}
	props := texts(body)
	class := props["connector.class"]
	if class == "" {
		fail(q.w, http.StatusBadRequest, "Included connector type (null) does not match request type ("+q.path[1]+")")
		return
	}
	v, err := s.w.Validate(q.r.Context(), class, props)
	if err != nil {
		fail(q.w, http.StatusBadRequest, "Failed to find any class that implements Connector and which name matches "+class)
		return
	}
	shown := config.Redact(props, v.Keys)
	out := struct {
		Name   string       `json:"name"`
		Errors int          `json:"error_count"`
		Groups []string     `json:"groups"`
		Values []configInfo `json:"configs"`
	}{Name: class, Groups: []string{"Common"}, Values: []configInfo{}}
	errs := map[string][]string{}
	for _, p := range v.Problems {
		errs[p.Key] = append(errs[p.Key], p.Message)
	}
	out.Errors = len(errs)
	keys := v.Keys
	for k := range errs {
		if !slices.ContainsFunc(keys, func(d config.Key) bool { return d.Name == k }) {
			keys = append(keys, config.Key{Name: k, Type: "STRING"})
		}
	}
	for i, k := range keys {
		val := valueInfo{Name: k.Name, Recommended: k.OneOf, Errors: errs[k.Name], Visible: true}
		if val.Recommended == nil {
			val.Recommended = []string{}
		}
		if val.Errors == nil {
			val.Errors = []string{}
		}
		if t, ok := shown[k.Name]; ok {
			val.Value = &t
		} else if !k.Required {
			val.Value = &k.Default
		}
		out.Values = append(out.Values, configInfo{describe(k, i), val})
	}
	q.answer(http.StatusOK, out)
}

type loggerInfo struct {
	Level    string `json:"level"`
	Modified *int64 `json:"last_modified"`
}

// loggers answers /admin/loggers: there is one logger, root.
func (s *Server) loggers(q *request) {
	if len(q.path) < 2 || len(q.path) > 3 || q.path[1] != "loggers" {
		q.notFound()
		return
	}
	if len(q.path) == 2 {
		if q.allow(http.MethodGet) {
			q.answer(http.StatusOK, map[string]loggerInfo{"root": {Level: s.opt.Level.Level().String()}})
		}
		return
	}
	if !q.allow(http.MethodGet, http.MethodPut) {
		return
	}
	if q.path[2] != "root" {
		fail(q.w, http.StatusNotFound, "Logger "+q.path[2]+" not found.")
		return
	}
	if q.r.Method == http.MethodGet {
		q.answer(http.StatusOK, loggerInfo{Level: s.opt.Level.Level().String()})
		return
	}
	var body struct {
		Level *string `json:"level"`
	}
	if !q.body(&body) {
		return
	}
	if body.Level == nil {
		fail(q.w, http.StatusBadRequest, "Desired 'level' parameter was not specified in request.")
		return
	}
	level, known := map[string]slog.Level{"TRACE": slog.LevelDebug, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn,
		"ERROR": slog.LevelError, "FATAL": slog.LevelError, "OFF": slog.LevelError + 4}[strings.ToUpper(*body.Level)]
	if !known {
		fail(q.w, http.StatusNotFound, "invalid log level "+quoted(*body.Level)+".")
		return
	}
	s.opt.Level.Set(level)
	if q.r.URL.Query().Get("scope") == "cluster" {
		q.w.WriteHeader(http.StatusNoContent)
		return
	}
	q.answer(http.StatusOK, []string{"root"})
}
