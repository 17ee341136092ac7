package postgres

import (
	"encoding/json"
	"strconv"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
)

// position is where a stream stands. LSN is the end of the last transaction that was delivered whole, or a later place up
// to which the server had nothing for us; Ordinal counts the changes of the next transaction that were delivered too, as
// the server sent them (a key change or a truncate of many tables is one). The other members identify: LSNCommit is the
// end of the last transaction, TxID and Time (microseconds since the Unix epoch) the transaction of the last event,
// System and Timeline the server and its history. Beside them stands what the publication sent, see membership. Members that others
// add are ignored.
type position struct {
	LSN       uint64 `json:"lsn"`
	Ordinal   uint32 `json:"ordinal"`
	LSNCommit uint64 `json:"lsn_commit"`
	TxID      uint32 `json:"txId"`
	Time      int64  `json:"ts_usec"`
	System    string `json:"system"`
	Timeline  int32  `json:"timeline"`
}

// encode writes the position as a JSON object in memory of its own, with more members that begin with a comma.
func (p position) encode(more []byte) change.Position {
	b := make([]byte, 0, 160+len(more))
	b = strconv.AppendUint(append(b, `{"lsn":`...), p.LSN, 10)
	b = strconv.AppendUint(append(b, `,"ordinal":`...), uint64(p.Ordinal), 10)
	b = strconv.AppendUint(append(b, `,"lsn_commit":`...), p.LSNCommit, 10)
	b = strconv.AppendUint(append(b, `,"txId":`...), uint64(p.TxID), 10)
	b = strconv.AppendInt(append(b, `,"ts_usec":`...), p.Time, 10)
	b = append(append(b, `,"system":"`...), p.System...)
	b = strconv.AppendInt(append(b, `","timeline":`...), int64(p.Timeline), 10)
	return append(append(b, more...), '}')
}

// parsePosition reads a position that encode wrote. An empty one gives the zero position.
func parsePosition(text change.Position) (position, error) {
	var p position
	if len(text) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fault.Permanentf("POSITION_INVALID", "set the connector's offsets to a position that it has shown, or reset them",
			"the stored position %.200q is not one of PostgreSQL: %w", text, err)
	}
	if p.LSN == 0 {
		return p, fault.Permanentf("POSITION_INVALID", "set the connector's offsets to a position that it has shown, or reset them",
			"the stored position %.200q has no lsn", text)
	}
	return p, nil
}
