package library

import "time"

// Decoder makes the library run another program than ffmpeg, for no longer than wait, on sound of at most most.
func (l *Library) Decoder(program string, wait, most time.Duration) {
	l.ffmpeg, l.wait, l.most = program, wait, most
}
