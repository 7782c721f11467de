package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What a method can answer besides nil; test with errors.Is. The error itself names the act and the object. Anything
// else is a fault of the disk or a cancelled context.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflicts with what is stored")
	ErrUsed        = errors.New("already used")
	ErrExpired     = errors.New("expired")
	ErrRevoked     = errors.New("revoked")
	ErrUnknownZone = errors.New("unknown zone")
	ErrInvalid     = errors.New("invalid value")

	// ErrFull, ErrReadOnly and ErrBusy are states of the disk, not of the data: the same call can succeed later. An
	// emergency must go on without its record when it meets one of them.
	ErrFull     = errors.New("disk is full")
	ErrReadOnly = errors.New("database is read-only")
	ErrBusy     = errors.New("database is locked by another program")

	// ErrNewer refuses a database that a later version of the program has migrated.
	ErrNewer = errors.New("database was made by a newer version of this program")
)

// classify adds the sentinel that a driver's error stands for; other errors pass through.
func classify(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	var kind error
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		kind = ErrConflict
	case sqlite3.SQLITE_CONSTRAINT_CHECK, sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.SQLITE_CONSTRAINT_DATATYPE:
		kind = ErrInvalid
	case sqlite3.SQLITE_IOERR_SHMSIZE: // no room to grow the index of the log
		kind = ErrFull
	default:
		switch e.Code() & 0xff { // the primary code is the low byte of an extended one
		case sqlite3.SQLITE_FULL:
			kind = ErrFull
		case sqlite3.SQLITE_READONLY:
			kind = ErrReadOnly
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			kind = ErrBusy
		default:
			return err
		}
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// wrap names the act on an error and classifies it; nil stays nil.
func wrap(act string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", act, classify(err))
}
