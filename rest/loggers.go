package rest

import (
	"log/slog"
	"net/http"
	"strings"
)

type loggerInfo struct {
	Level    string `json:"level"`
	Modified *int64 `json:"last_modified"` // milliseconds since the Unix epoch; null: never
}

// off is above every level there is.
const off = slog.LevelError + 4

// root describes the one logger there is.
func (s *Server) root() loggerInfo {
	i := loggerInfo{}
	if ms := s.leveled.Load(); ms != 0 {
		i.Modified = &ms
	}
	switch l := s.opt.Level.Level(); {
	case l >= off:
		i.Level = "OFF"
	case l >= slog.LevelError:
		i.Level = "ERROR"
	case l >= slog.LevelWarn:
		i.Level = "WARN"
	case l >= slog.LevelInfo:
		i.Level = "INFO"
	default:
		i.Level = "DEBUG"
	}
	return i
}

func (s *Server) loggers(q *request) {
	q.answer(http.StatusOK, map[string]loggerInfo{"root": s.root()})
}

func (s *Server) logger(q *request) {
	if q.name() != "root" {
		fail(q.w, http.StatusNotFound, "Logger "+q.name()+" not found.")
		return
	}
	q.answer(http.StatusOK, s.root())
}

func (s *Server) setLogger(q *request) {
	if q.name() != "root" {
		fail(q.w, http.StatusNotFound, "Logger "+q.name()+" not found.")
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
	level, known := map[string]slog.Level{"TRACE": slog.LevelDebug, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo,
		"WARN": slog.LevelWarn, "ERROR": slog.LevelError, "FATAL": slog.LevelError, "OFF": off}[strings.ToUpper(*body.Level)]
	if !known {
		fail(q.w, http.StatusNotFound, "invalid log level '"+*body.Level+"'.")
		return
	}
	s.opt.Level.Set(level)
	s.leveled.Store(s.opt.Now().UnixMilli())
	if q.r.URL.Query().Get("scope") == "cluster" {
		q.done(http.StatusNoContent)
		return
	}
	q.answer(http.StatusOK, []string{"root"})
}
