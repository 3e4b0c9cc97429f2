//! Images: a template's build becomes a chain of layers, a sealed tree and a bootable disk.
//!
//! ```text
//! builder ─base→ layer ─provisioners→ layers ─seal→ layer ─disk→ raw, qcow2 ─→ registry entry
//! ```
//!
//! `build` is a build of any builder, `qemu` that of machines, `post` what is done with a result, `fetch` gets large files. Of images, `plan` says what a build reads and does, `bake` goes from state to state and makes what is missing, `base`,
//! `provision`, `seal` and `disk` are the steps, `journal` remembers the calls of playbooks, `rootfs` is a stack of
//! layers mounted for a step.
//!
//! Invariants: everything that comes from the image runs in a sandbox; the host only looks at the tree through tools
//! that do not follow its links. Mounts exist in this process's own namespace and vanish with it.

mod archive;
mod bake;
mod base;
mod boot_files;
mod build;
mod digest;
mod disk;
mod epoch;
mod fetch;
mod journal;
pub mod look;
mod machine;
mod oci;
mod plan;
mod post;
mod provision;
mod qemu;
mod rootfs;
pub mod seal;
mod state;
mod tree;

pub use bake::{BakeOptions, TOOLS, first_missed};
pub use build::{Artifact, BuildOptions, Built, build, makes_trees};
pub use disk::FileSystem;
pub use plan::{Plan, bytes, plan};
pub use provision::install_roles;

/// What goes wrong, in a sentence that says where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// The same with what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<bakery_host::Error> for Error {
    fn from(error: bakery_host::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<bakery_qemu::Error> for Error {
    fn from(error: bakery_qemu::Error) -> Self {
        Self { message: error.message, hint: error.hint }
    }
}

impl From<bakery_packer::Error> for Error {
    fn from(error: bakery_packer::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<bakery_ansible::Error> for Error {
    fn from(error: bakery_ansible::Error) -> Self {
        Self::new(error.to_string())
    }
}
