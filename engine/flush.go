package engine

// FlushStage lets what is staged leave now, whoever staged it, so that memory given to
// Conn.WriteRef in this event may be used again.
func (l *Loop) FlushStage() {
	if l.stage.owner != nil {
		l.unstage(l.stage.owner)
	}
}
