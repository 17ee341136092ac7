package disk

// tidy is the compactor: it looks around after each checkpoint until the log is closed.
func (l *Log) tidy() error {
	for {
		select {
		case <-l.stop:
			return nil
		case <-l.tidyWake:
		}
	}
}
