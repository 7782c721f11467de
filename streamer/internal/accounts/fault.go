package accounts

import (
	"fmt"
	"time"
)

// Fault is an error that an official is shown.
type Fault struct{ text, message string }

func (f *Fault) Error() string { return f.text }

// Message is the sentence for the official, in Vietnamese.
func (f *Fault) Message() string { return f.message }

// What accounts answer; test with errors.Is. Errors that are none of these come from the database.
var (
	// ErrCredentials does not tell which of the two is wrong, nor that a person is disabled.
	ErrCredentials = &Fault{"wrong user name or password", "Tên đăng nhập hoặc mật khẩu không đúng."}
	ErrSignedOut   = &Fault{"not signed in", "Phiên đăng nhập đã kết thúc. Hãy đăng nhập lại."}
	ErrToken       = &Fault{"API token is unknown, expired or revoked", "Mã truy cập không đúng, đã hết hạn hoặc đã bị thu hồi."}
	ErrBusy        = &Fault{"too many sign-ins at once", "Hệ thống đang bận. Hãy thử lại sau ít giây."}

	ErrName      = &Fault{"user name is not 1 to 64 letters, digits and signs without spaces", "Tên đăng nhập dài từ 1 đến 64 ký tự, gồm chữ, số và dấu, không có dấu cách."}
	ErrNameTaken = &Fault{"user name is taken", "Tên đăng nhập này đã có người dùng."}
	ErrRole      = &Fault{"unknown role", "Vai trò không có trong hệ thống."}
	ErrZone      = &Fault{"unknown zone", "Địa bàn không có trong hệ thống."}

	ErrPasswordShort  = &Fault{fmt.Sprintf("password is too short: want at least %d characters", minPassword), fmt.Sprintf("Mật khẩu phải có ít nhất %d ký tự.", minPassword)}
	ErrPasswordLong   = &Fault{fmt.Sprintf("password is too long: want at most %d characters", maxPassword), fmt.Sprintf("Mật khẩu dài quá %d ký tự.", maxPassword)}
	ErrPasswordText   = &Fault{"password holds control characters", "Mật khẩu có ký tự điều khiển không dùng được."}
	ErrPasswordCommon = &Fault{"password is easy to guess", "Mật khẩu này dễ đoán. Hãy chọn mật khẩu khác, ví dụ bốn từ không liên quan đến nhau."}
	ErrPasswordDigits = &Fault{"password has no letters", "Mật khẩu phải có cả chữ cái; đừng dùng số điện thoại hay số căn cước."}
	ErrPasswordName   = &Fault{"password is made of the user name", "Mật khẩu không được giống tên đăng nhập."}
)

// Throttled refuses an attempt to sign in that comes too soon after others that failed. The password was not looked at.
type Throttled struct {
	RetryAfter time.Duration // whole seconds, at least one
}

func (t *Throttled) Error() string {
	return fmt.Sprintf("too many failed sign-ins, retry after %v", t.RetryAfter)
}

// Message is the sentence for the official, in Vietnamese.
func (t *Throttled) Message() string {
	return fmt.Sprintf("Đăng nhập sai nhiều lần. Hãy thử lại sau %d giây.", int(t.RetryAfter.Seconds()))
}
