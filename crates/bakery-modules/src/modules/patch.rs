//! `patch`: changes to files by the program of that name (ansible.posix `patch.py`).

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Applies a patch unless it is applied, or takes it back.
#[derive(ModuleArgs)]
#[args(one_of = "dest,basedir")]
struct Args {
    /// The patch; on the controller unless `remote_src` is on.
    #[arg(required, alias = "patchfile")]
    src: String,
    /// The file that is changed; those that the patch names if not given.
    #[arg(alias = "originalfile")]
    dest: Option<String>,
    /// The folder that names in the patch start from.
    basedir: Option<String>,
    /// How many leading folders of the names are left out.
    #[arg(default = "0")]
    strip: i64,
    /// Whether the patch is on the target.
    remote_src: bool,
    /// Whether numbered copies of the old files are kept.
    backup: bool,
    /// Whether files are read as they are.
    binary: bool,
    /// Whether white space does not matter.
    ignore_whitespace: bool,
    /// Whether it shall be applied.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The patch's content, from the controller.
    #[arg(name = "_content", secret)]
    content: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let scratch = tempfile::NamedTempFile::new().map_err(|e| Failure::new(e.to_string()))?;
    let src = match &args.content {
        Some(content) => {
            bakery_host::fs::write_atomic_mode(scratch.path(), crate::host::received(content)?, 0o600)?;
            scratch.path().to_path_buf()
        }
        None => host.path(&args.src),
    };
    if bakery_host::fs::open(&src).is_err() {
        return Err(Failure::new(format!("src {} doesn't exist or not readable", args.src)));
    }
    let dest = args.dest.as_ref().map(|dest| host.path(dest));
    if let Some(dest) = &dest
        && rustix::fs::access(dest, rustix::fs::Access::WRITE_OK).is_err()
    {
        return Err(Failure::new(format!("dest {} doesn't exist or not writable", dest.display())));
    }
    let basedir = match (&args.basedir, &dest) {
        (Some(folder), _) => host.path(folder),
        (None, Some(dest)) => dest.parent().unwrap_or(dest).to_path_buf(),
        (None, None) => return Err("one of the following is required: dest, basedir".into()),
    };
    if !basedir.exists() {
        return Err(Failure::new(format!("basedir {} doesn't exist", basedir.display())));
    }
    let program = host.program("patch").map_err(|_| Failure::new("patch command not found"))?;
    let present = args.state == "present";
    let patch = |reverse: bool, further: &[&str]| {
        let mut argv = vec![program.clone(), "--quiet".into(), "--forward".into()];
        argv.extend(further.iter().map(|word| (*word).to_owned()));
        argv.push(format!("--strip={}", args.strip));
        argv.push(format!("--directory={}", basedir.display()));
        argv.push(format!("--input={}", src.display()));
        argv.extend(args.binary.then(|| "--binary".into()));
        argv.extend(args.ignore_whitespace.then(|| "--ignore-whitespace".into()));
        argv.extend(dest.as_ref().map(|dest| dest.display().to_string()));
        argv.extend(reverse.then(|| "--reverse".into()));
        host.try_run(&argv)
    };
    // What can be taken back is applied.
    if patch(present, &["--dry-run"])?.success() {
        return Ok(Outcome::unchanged());
    }
    let mut options = vec!["--batch", "--reject-file=-"];
    if host.check {
        options.push("--dry-run");
    }
    if args.backup {
        options.extend(["--backup", "--version-control=numbered"]);
    }
    let output = patch(!present, &options)?;
    if !output.success() {
        let said = if output.stderr.is_empty() { output.text() } else { output.error_text() };
        return Err(Failure::new(said));
    }
    Ok(Outcome::changed(true))
}

module!("patch", "ansible.posix", Args, run);
