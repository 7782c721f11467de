package ingest

import (
	"fmt"

	"github.com/pion/logging"

	dtlog "dongthanh/internal/logging"
)

// pionLog takes what pion has to say. Anyone who can reach the port can make it complain, once a packet if he likes:
// its errors become one line a second at most, and the rest, down to the closing of each connection, is dropped.
type pionLog struct{ errors *dtlog.Dumper }

// NewLogger implements logging.LoggerFactory.
func (l pionLog) NewLogger(scope string) logging.LeveledLogger {
	return scopeLog{scope: scope, errors: l.errors}
}

// scopeLog is the logger of one part of pion.
type scopeLog struct {
	scope  string
	errors *dtlog.Dumper
}

func (l scopeLog) Error(msg string) { l.errors.Add(fmt.Errorf("%s: %s", l.scope, msg)) }

func (l scopeLog) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }

func (scopeLog) Trace(string)          {}
func (scopeLog) Tracef(string, ...any) {}
func (scopeLog) Debug(string)          {}
func (scopeLog) Debugf(string, ...any) {}
func (scopeLog) Info(string)           {}
func (scopeLog) Infof(string, ...any)  {}
func (scopeLog) Warn(string)           {}
func (scopeLog) Warnf(string, ...any)  {}
