package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestOffsetsNeedStopped: Kafka Connect's own answer, as seen on a 4.3.0 worker for PATCH and DELETE of a connector that is
// RUNNING or PAUSED, is 400 with this message, not 409, although the state conflicts: clients repeat a 409, which they take
// for a rebalance, and would never be told.
func TestOffsetsNeedStopped(t *testing.T) {
	const want = "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/src/stop' endpoint"
	const body = `{"offsets":[{"partition":{"server":"p"},"offset":{"lsn":5}}]}`
	a := newAPI(t, Access{})
	a.call("PUT", "/connectors/src/config", `{"connector.class":"quiet","topic.prefix":"p"}`)
	for _, state := range []string{"resume", "pause", "stop"} {
		t.Run("case83_"+state, func(t *testing.T) {
			if w := a.call("PUT", "/connectors/src/"+state, ""); w.Code/100 != 2 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			for _, method := range []string{"PATCH", "DELETE"} {
				w := a.call(method, "/connectors/src/offsets", map[string]string{"PATCH": body}[method])
				if state == "stop" && w.Code != 200 || state != "stop" && (w.Code != 400 || !strings.Contains(w.Body.String(), want)) {
					t.Errorf("%s after %s: %d %s", method, state, w.Code, w.Body)
				}
			}
		})
	}
}

// TestRequestTimesOut: what the worker has not finished in time is answered as Kafka Connect does.
func TestRequestTimesOut(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	q := &request{w, httptest.NewRequestWithContext(ctx, "PUT", "/connectors/c/pause", nil), []string{"c"}}
	q.failed(fmt.Errorf("the tasks have not ended yet: %w", ctx.Err()), "")
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"error_code":500,"message":"Request timed out. The worker`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
