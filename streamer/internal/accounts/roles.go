package accounts

import "dongthanh/internal/zone"

// Role is what a person or a machine is for (INTERFACES §2).
type Role string

// The roles. Nobody both grants roles and speaks (facts/reliability.md §2.4): whoever takes over an administrator's
// account cannot go on air with it, and whoever takes over an officer's cannot make more officers.
const (
	Admin      Role = "admin"      // people, nodes, zones; cannot speak
	Officer    Role = "officer"    // cán bộ: speaks
	Editor     Role = "editor"     // biên tập viên: prepares sound
	Approver   Role = "approver"   // người duyệt: approves what editors prepare
	Technician Role = "technician" // kỹ thuật viên: nodes, no sound
	Auditor    Role = "auditor"    // kiểm tra: reads the logs
)

// Roles returns all roles.
func Roles() []Role { return []Role{Admin, Officer, Editor, Approver, Technician, Auditor} }

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return grants[r] != 0 }

// Action is something that a Principal asks to do in a zone.
type Action uint16

// The actions.
const (
	View           Action = 1 << iota // zones, nodes, sessions
	SpeakNormal                       // go on air with a normal bulletin
	SpeakPriority                     // … a priority one
	SpeakEmergency                    // … an emergency: persons only
	Stop                              // stop a session
	Upload                            // add sound to the library
	Approve                           // approve what was prepared
	ManageNodes                       // enrolment tokens, revocation
	ManageZones                       // add and name zones
	ManageUsers                       // people, roles and API tokens: persons only
	Audit                             // read the logs
	endActions
)

// grants is the whole table of rights; it is never written. Stopping is given to whoever answers for what is heard,
// since silence must never wait for the right person. An officer may add the hamlets of the own commune.
var grants = map[Role]Action{
	Admin:      View | Stop | ManageNodes | ManageZones | ManageUsers | Audit,
	Officer:    View | Stop | SpeakNormal | SpeakPriority | SpeakEmergency | Upload | ManageZones,
	Editor:     View | Upload,
	Approver:   View | Stop | Upload | Approve,
	Technician: View | ManageNodes,
	Auditor:    View | Audit,
}

// personal are the actions that no token can grant: a token lies in a file and nobody stands behind it at night. An
// emergency by machine is refused by contract (INTERFACES §4), and a token that makes tokens would outlive its
// revocation.
const personal = SpeakEmergency | ManageUsers

// Can reports whether p may do what a asks for in z: the role grants every action in a, and z is p's zone or lies
// beneath it.
func (p Principal) Can(a Action, z zone.Zone) bool {
	granted := grants[p.Role]
	if p.Machine {
		granted &^= personal
	}
	return a != 0 && a&^granted == 0 && p.Zone.Contains(z)
}
