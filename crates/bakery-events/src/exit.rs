//! Exit codes. Those of playbook runs are Ansible's (`ansible/errors/__init__.py`, `ExitCode`).

/// All went well.
pub const OK: i32 = 0;
/// Something failed; for playbooks, a role or playbook that is not there.
pub const ERROR: i32 = 1;
/// A host failed, or the command line could not be understood.
pub const HOST_FAILED: i32 = 2;
/// A host could not be reached.
pub const HOST_UNREACHABLE: i32 = 4;
/// A playbook could not be read.
pub const PARSE_ERROR: i32 = 4;
/// Options that do not fit together.
pub const BAD_OPTIONS: i32 = 5;
/// Ended by the user.
pub const INTERRUPTED: i32 = 99;
/// An error that should not happen.
pub const UNEXPECTED: i32 = 250;
/// A plan has changes to make (`plan -detailed-exitcode`), as in Terraform.
pub const PLAN_HAS_CHANGES: i32 = 2;
