package mysql

// Gauges implements source.Gauger:
//
//	queue_bytes  events received and not read yet
//	file_number  of the binary log that is read, and
//	file_offset  bytes of it that were read
func (s *Source) Gauges() map[string]float64 {
	g := map[string]float64{}
	st := s.stream.Load()
	if st == nil {
		return g
	}
	d := st.delivered.Load()
	g["queue_bytes"] = float64(st.queue.Size())
	g["file_number"] = float64(d >> (64 - place))
	g["file_offset"] = float64(d & (1<<(64-place) - 1))
	return g
}
