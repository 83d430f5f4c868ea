package proxyabi

// rouse wakes a half that is parked. Any goroutine may call.
func (h *half) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}
